// run.cpp: selection and execution. State is process-wide and changed only through force_impl.
#include "core/run.hpp"

#include <atomic>
#include <cstdio>   // RB_TRACE
#include <cstdlib>  // getenv
#include <cstring>
#include <mutex>
#include <new>  // bad_alloc
#include <string>

#include "core/describe.hpp"
#include "core/parallel.hpp"  // FlushDenormals, TeamLimit, num_threads
#include "core/pool.hpp"

namespace rb {
namespace {

struct Forced {
    i32 level = -1;  // -1: any
    std::string name;
};

struct State {
    std::atomic<bool> any_forced{false};
    std::mutex mutex;
    Forced forced[kNumOps];
    std::string bad;
    std::string bad_trace;
    bool trace = false;
    std::string bad_winograd;
    bool winograd = true;
    i64 l1 = 0, l2 = 0, l3 = 0;
};

State& state();

// Parses "conv2d:direct,gemm:avx2:packed" into state.
void read_setting(State& s, const char* text);

bool has_impl(OpId op, i32 level, const std::string& name) {
    for (i32 l = 0; l < kNumLevels; ++l) {
        const Table* t = table_of(static_cast<Level>(l));
        if (!t || (level >= 0 && l != level)) continue;
        for (const Entry& e : t->entry[op]) {
            for (i32 i = 0; i < e.count; ++i) {
                if (name.empty() || name == e.impls[i].name) return true;
            }
        }
    }
    return false;
}

bool set_forced(State& s, const std::string& op_name, const std::string& text) {
    const i32 op = find_op(op_name.c_str());
    if (op < 0) return false;
    Forced f;
    if (!text.empty()) {
        std::string head = text.substr(0, text.find(':'));
        for (i32 l = 0; l < kNumLevels; ++l) {
            if (head == level_name(static_cast<Level>(l)) && (text.find(':') != std::string::npos || head != "ref"))
                f.level = l;
        }
        f.name = f.level < 0 ? text : (text.find(':') == std::string::npos ? "" : text.substr(text.find(':') + 1));
        if (f.level > active_level() || !has_impl(static_cast<OpId>(op), f.level, f.name)) return false;
    }
    std::lock_guard<std::mutex> lock(s.mutex);
    s.forced[op] = f;
    bool any = false;
    for (const Forced& g : s.forced) any = any || g.level >= 0 || !g.name.empty();
    s.any_forced.store(any);
    return true;
}

void read_setting(State& s, const char* text) {
    std::string all = text;
    for (size_t begin = 0; begin <= all.size();) {
        size_t end = all.find(',', begin);
        if (end == std::string::npos) end = all.size();
        const std::string item = all.substr(begin, end - begin);
        const size_t colon = item.find(':');
        if (colon == std::string::npos || !set_forced(s, item.substr(0, colon), item.substr(colon + 1))) s.bad = item;
        begin = end + 1;
    }
}

State* make_state() {
    State* s = new State;
    cache_sizes(&s->l1, &s->l2, &s->l3);
    if (const char* e = std::getenv("RB_TRACE"); e && *e) {
        s->trace = std::strcmp(e, "1") == 0;
        const bool known = s->trace || std::strcmp(e, "0") == 0 || std::strcmp(e, "program") == 0;
        if (!known) s->bad_trace = e;
    }
    if (const char* e = std::getenv("RB_WINOGRAD"); e && *e) {
        s->winograd = std::strcmp(e, "0") != 0;
        if (s->winograd && std::strcmp(e, "1") != 0) s->bad_winograd = e;
    }
    if (const char* e = std::getenv("RB_IMPL"); e && *e) read_setting(*s, e);
    return s;
}

State& state() {
    static State* s = make_state();
    return *s;
}

std::atomic<i64> g_ref_calls{0};
thread_local Choice t_last{nullptr, level_ref};

// The algorithm that the caller of an op named, or null.
const char* named_algo(OpId op, const void* args) {
    const i32 at = op_info[op].algo_offset;
    if (at < 0) return nullptr;
    const i64 algo = *reinterpret_cast<const i64*>(static_cast<const char*>(args) + at);
    return algo > algo_auto && algo < kNumAlgos ? kAlgoNames[algo] : nullptr;
}

// The cheapest implementation that accepts the call and whose name begins with `algo`, or null.
const Impl* cheapest_of(const Entry& e, const void* args, const char* algo) {
    const Impl* best = nullptr;
    double best_cost = 0;
    for (i32 i = 0; i < e.count; ++i) {
        const Impl& m = e.impls[i];
        if (std::strncmp(m.name, algo, std::strlen(algo)) != 0 || (m.accepts && !m.accepts(args))) continue;
        const double cost = m.cost ? m.cost(args) : 0.0;
        if (!best || cost < best_cost) {
            best = &m;
            best_cost = cost;
        }
    }
    return best;
}

const Impl* cheapest(const Entry& e, const void* args, const std::string* name) {
    const Impl* best = nullptr;
    double best_cost = 0;
    for (i32 i = 0; i < e.count; ++i) {
        const Impl& m = e.impls[i];
        if (name && !name->empty() && *name != m.name) continue;
        if (m.accepts && !m.accepts(args)) continue;
        if (e.count == 1) return &m;
        const double cost = m.cost ? m.cost(args) : 0.0;
        if (!best || cost < best_cost) {
            best = &m;
            best_cost = cost;
        }
    }
    return best;
}

}  // namespace

const Table* table_of(Level level) {
    switch (level) {
        case level_ref:
            return &ref_table;
        case level_base:
            return &base_table;
#if defined(RB_HAVE_AVX2)
        case level_avx2:
            return &avx2_table;
#endif
#if defined(RB_HAVE_AVX512)
        case level_avx512:
            return &avx512_table;
#endif
        default:
            return nullptr;
    }
}

bool algo_applies(OpId op, i32 dtype, const void* args) {
    const char* algo = named_algo(op, args);
    return !algo || cheapest_of(base_table.entry[op][dtype], args, algo);
}

Choice select(OpId op, i32 dtype, const void* args) {
    State& s = state();
    Forced forced;
    if (s.any_forced.load(std::memory_order_relaxed)) {
        std::lock_guard<std::mutex> lock(s.mutex);
        forced = s.forced[op];
    }
    if (const char* algo = named_algo(op, args)) {
        for (i32 l = active_level(); l > 0; --l) {
            const Table* t = table_of(static_cast<Level>(l));
            if (!t || (forced.level >= 0 && l != forced.level)) continue;
            if (const Impl* m = cheapest_of(t->entry[op][dtype], args, algo)) return {m, static_cast<Level>(l)};
        }
    }
    if (forced.level >= 0 || !forced.name.empty()) {
        for (i32 l = active_level(); l >= 0; --l) {
            const Table* t = table_of(static_cast<Level>(l));
            if (!t || (forced.level >= 0 && l != forced.level)) continue;
            if (const Impl* m = cheapest(t->entry[op][dtype], args, &forced.name)) return {m, static_cast<Level>(l)};
        }
    }
    for (i32 l = active_level(); l > 0; --l) {
        const Table* t = table_of(static_cast<Level>(l));
        if (!t) continue;
        if (const Impl* m = cheapest(t->entry[op][dtype], args, nullptr)) return {m, static_cast<Level>(l)};
    }
    return {&ref_table.entry[op][dtype].impls[0], level_ref};
}

void run(OpId op, void* args) {
    State& s = state();
    const OpInfo& info = op_info[op];
    const i32 dtype = static_cast<const View*>(args)->dtype;  // every op's first field is a float view
    const Choice choice = select(op, dtype, args);
    Ctx ctx{num_threads(), s.l1, s.l2, s.l3};
    const TeamLimit limit(ctx.threads);
    void* scratch = nullptr;
    if (info.work_offset >= 0) {
        Work* work = reinterpret_cast<Work*>(static_cast<char*>(args) + info.work_offset);
        work->data = nullptr;
        work->bytes = choice.impl->work ? choice.impl->work(args, ctx) : 0;
        if (work->bytes > 0) {
            scratch = pool_get(work->bytes);
            if (!scratch) throw std::bad_alloc();
            work->data = scratch;
        }
    }
    if (s.trace) {
        std::fprintf(stderr, "rosenblatt: %s %s -> %s:%s\n", info.name, dtype == f32 ? "f32" : "f64",
                     level_name(choice.level), choice.impl->name);
    }
    if (choice.level == level_ref) g_ref_calls.fetch_add(1, std::memory_order_relaxed);
    t_last = choice;
    if (dtype == f32) {
        const FlushDenormals scope;
        choice.impl->run(args, ctx);
    } else {
        choice.impl->run(args, ctx);
    }
    pool_put(scratch);
}

bool force_impl(const char* op, const char* impl) {
    return set_forced(state(), op, impl ? impl : "");
}

const char* bad_trace_setting() {
    return state().bad_trace.empty() ? nullptr : state().bad_trace.c_str();
}

const char* bad_winograd_setting() {
    return state().bad_winograd.empty() ? nullptr : state().bad_winograd.c_str();
}

bool winograd_enabled() {
    return state().winograd;
}

const char* bad_impl_setting() {
    return state().bad.empty() ? nullptr : state().bad.c_str();
}

const char* last_impl() {
    static thread_local char text[96];
    if (!t_last.impl) return "";
    std::snprintf(text, sizeof text, "%s:%s", level_name(t_last.level), t_last.impl->name);
    return text;
}

i64 ref_calls() {
    return g_ref_calls.load();
}

}  // namespace rb
