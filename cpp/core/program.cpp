// program.cpp: see program.hpp.
#include "core/program.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>
#include <stdexcept>
#include <unordered_map>

#include "core/check.hpp"
#include "core/describe.hpp"
#include "core/parallel.hpp"
#include "core/pool.hpp"
#include "core/views.hpp"

namespace rb {
namespace {

constexpr i64 kAlign = 64;
constexpr i64 kChainFrom = 4096;   // elements from which fusing pays
constexpr i64 kChainBlock = 2048;  // elements per block: a few arrays of it fit the first cache

// Buffers sorted by address, to find the one an address lies in.
class Index {
  public:
    explicit Index(const std::vector<Recorder::Buffer>& buffers) {
        for (size_t i = 0; i < buffers.size(); ++i)
            entries_.push_back({buffers[i].data, buffers[i].bytes, static_cast<i64>(i)});
        std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) { return a.data < b.data; });
    }
    // Number of the buffer, or -1. An address one past a buffer's end belongs to nobody.
    i64 find(const void* address) const {
        const char* p = static_cast<const char*>(address);
        auto it = std::upper_bound(entries_.begin(), entries_.end(), p,
                                   [](const char* q, const Entry& e) { return q < e.data; });
        if (it == entries_.begin()) return -1;
        --it;
        return p < it->data + std::max<i64>(it->bytes, 1) ? it->id : -1;
    }

  private:
    struct Entry {
        const char* data;
        i64 bytes, id;
    };
    std::vector<Entry> entries_;
};

template <typename T>
T& at(char* args, const Field& f) {
    return *reinterpret_cast<T*>(args + f.offset);
}
template <typename T>
const T& at(const char* args, const Field& f) {
    return *reinterpret_cast<const T*>(args + f.offset);
}

std::string where(size_t index, const OpInfo& info, const char* field) {
    return std::string(info.name) + " (call " + std::to_string(index) + ")" +
           (field ? std::string(", ") + field : std::string());
}

constexpr const char* kOutside =
    ": its contents were computed outside the ops and changed (use rb.ops on the step's inputs instead of NumPy)";

bool same_shape(const View& a, const View& b) {
    if (a.ndim != b.ndim || a.dtype != b.dtype) return false;
    for (i32 i = 0; i < a.ndim; ++i) {
        if (a.shape[i] != b.shape[i] || a.stride[i] != b.stride[i]) return false;
    }
    return true;
}

}  // namespace

void Recorder::note_buffer(const void* data, i64 bytes) {
    buffers.push_back({static_cast<const char*>(data), bytes});
}

void Recorder::note_call(OpId op, const void* args) {
    const size_t offset = (blob.size() + 63) / 64 * 64, bytes = static_cast<size_t>(op_info[op].args_bytes);
    blob.resize(offset + bytes);
    std::memcpy(blob.data() + offset, args, bytes);
    calls.push_back({op, offset, dynamic});
}

namespace {

u64 sum_of(const View& v) {
    constexpr std::ptrdiff_t kLanes = 8;  // independent of each other: a multiplication waits for the one before
    constexpr u64 kPrime = 0x100000001B3u;
    const char *p, *end;
    u64 lanes[kLanes], h = 0x9E3779B97F4A7C15u;
    if (!byte_span(v, &p, &end)) return h;
    for (std::ptrdiff_t i = 0; i < kLanes; ++i) lanes[i] = h + static_cast<u64>(i);
    for (; end - p >= 8 * kLanes; p += 8 * kLanes) {
        for (std::ptrdiff_t i = 0; i < kLanes; ++i) {
            u64 word;
            std::memcpy(&word, p + 8 * i, 8);
            lanes[i] = (lanes[i] ^ word ^ (word >> 32)) * kPrime;
        }
    }
    for (const u64 lane : lanes) h = (h ^ lane ^ (lane >> 32)) * kPrime;
    for (; p < end; p += 4) {
        u32 word = 0;
        std::memcpy(&word, p, static_cast<size_t>(std::min<std::ptrdiff_t>(4, end - p)));
        h = (h ^ word) * kPrime;
    }
    return h;
}

bool overlap(const View& a, const View& b) {
    const char *a0, *a1, *b0, *b1;
    return byte_span(a, &a0, &a1) && byte_span(b, &b0, &b1) && a0 < b1 && b0 < a1;
}

template <typename F>
void each_view(OpId op, const void* args, F&& f) {
    const OpInfo& info = op_info[op];
    for (i32 k = 0; k < info.count; ++k) {
        if (info.fields[k].kind != Kind::view) continue;
        const View& v = at<View>(static_cast<const char*>(args), info.fields[k]);
        if (v.ndim >= 0) f(info.fields[k], v);
    }
}

}  // namespace

void Recorder::check_before(OpId op, const void* args) {
    each_view(op, args, [&](const Field& f, const View& v) {
        if (f.role == Role::out || !trouble.empty()) return;
        for (const Sum& s : sums_) {
            if (overlap(s.view, v) && sum_of(s.view) != s.value) {
                trouble = where(calls.size(), op_info[op], f.name) + ": it was written outside the ops after " +
                          s.name + " had used it, which a replay would not repeat (compute with rb.ops, not NumPy)";
                return;
            }
        }
    });
}

void Recorder::check_after(OpId op, const void* args) {
    each_view(op, args, [&](const Field& f, const View& v) {
        const char* name = op_info[op].name;
        if (f.role == Role::in) {
            for (Sum& s : sums_) {
                if (s.view.data == v.data && same_shape(s.view, v)) return;
            }
        } else {
            sums_.erase(std::remove_if(sums_.begin(), sums_.end(), [&](const Sum& s) { return overlap(s.view, v); }),
                        sums_.end());
        }
        sums_.push_back({v, sum_of(v), name});
    });
}

void Recorder::check_end() {
    for (const Sum& s : sums_) {
        if (!trouble.empty() || sum_of(s.view) == s.value) continue;
        trouble = std::string("an array that ") + s.name +
                  " had used was written outside the ops, which a replay would not repeat (compute with rb.ops, "
                  "not NumPy)";
    }
}

void Recorder::watch(const Recorder& before) {
    for (const Sum& s : before.sums_) {
        if (!before.born(s.view.data)) sums_.push_back({s.view, sum_of(s.view), s.name});
    }
}

bool Recorder::born(const void* address) const {
    const char* p = static_cast<const char*>(address);
    for (const Buffer& b : buffers) {
        if (p >= b.data && p < b.data + std::max<i64>(b.bytes, 1)) return true;
    }
    return false;
}

std::string compare_records(const Recorder& a, const Recorder& b, const std::vector<std::pair<View, View>>& results,
                            bool* constants) {
    if (constants) *constants = false;
    if (a.calls.size() != b.calls.size()) {
        return "the step made " + std::to_string(a.calls.size()) + " kernel calls once and " +
               std::to_string(b.calls.size()) + " the next time";
    }
    const Index ia(a.buffers), ib(b.buffers);
    std::unordered_map<i64, i64> partner;
    std::vector<bool> filled(b.buffers.size());  // buffers that hold data from outside the ops
    for (size_t i = 0; i < a.calls.size(); ++i) {
        const OpInfo& info = op_info[a.calls[i].op];
        if (a.calls[i].op != b.calls[i].op) {
            return "call " + std::to_string(i) + " was " + info.name + " once and " + op_info[b.calls[i].op].name +
                   " the next time";
        }
        const char *pa = a.blob.data() + a.calls[i].args, *pb = b.blob.data() + b.calls[i].args;
        for (i32 k = 0; k < info.count; ++k) {
            const Field& f = info.fields[k];
            if (f.kind == Kind::view) {
                const View &va = at<View>(pa, f), &vb = at<View>(pb, f);
                if (!same_shape(va, vb)) return where(i, info, f.name) + ": its shape changed";
                const char *a0, *a1, *b0, *b1;
                if (!byte_span(va, &a0, &a1) || !byte_span(vb, &b0, &b1)) continue;
                const i64 na = ia.find(va.data), nb = ib.find(vb.data);
                if (nb < 0 && ia.find(vb.data) >= 0)
                    return where(i, info, f.name) +
                           ": it was computed by the step before (a gradient or state that is carried over: call "
                           "zero_grad() inside the step)";
                if (na >= 0 && nb >= 0) {
                    const auto [it, fresh] = partner.emplace(na, nb);
                    const i64 da = static_cast<const char*>(va.data) - a.buffers[na].data;
                    const i64 db = static_cast<const char*>(vb.data) - b.buffers[nb].data;
                    if ((!fresh && it->second != nb) || da != db)
                        return where(i, info, f.name) + ": it came from another call";
                    if (fresh && f.role == Role::in) {
                        filled[static_cast<size_t>(nb)] = true;
                        if (constants) *constants = true;
                        if (std::memcmp(a0, b0, static_cast<size_t>(a1 - a0)) != 0)
                            return where(i, info, f.name) + kOutside;
                    } else if (f.role != Role::in && filled[static_cast<size_t>(nb)]) {
                        return where(i, info, f.name) +
                               ": the call writes into an array that was filled outside the ops";
                    }
                } else if (va.data != vb.data) {
                    if (na >= 0 || nb >= 0 || f.role != Role::in)
                        return where(i, info, f.name) + ": its array is made anew outside the ops in every step";
                    if (constants) *constants = true;
                    if (std::memcmp(a0, b0, static_cast<size_t>(a1 - a0)) != 0) {
                        return where(i, info, f.name) + kOutside;
                    }
                }
            } else if (f.kind == Kind::seed) {
                const Seed &sa = at<Seed>(pa, f), &sb = at<Seed>(pb, f);
                if (sa.counter - a.stream_counter != sb.counter - b.stream_counter)
                    return where(i, info, f.name) + ": its random position moved";
            } else if (f.kind == Kind::integer && !a.calls[i].dynamic) {
                if (at<i64>(pa, f) != at<i64>(pb, f))
                    return where(i, info, f.name) + ": the number changed from step to step";
            } else if (f.kind == Kind::real && !a.calls[i].dynamic) {
                if (std::memcmp(pa + f.offset, pb + f.offset, sizeof(double)) != 0)
                    return where(i, info, f.name) + ": the number changed from step to step";
            }
        }
    }
    for (size_t i = 0; i < results.size(); ++i) {
        const auto& [va, vb] = results[i];
        std::string name = "result ";
        name += std::to_string(i);
        if (!same_shape(va, vb)) return name + ": its shape changed";
        const char *a0, *a1, *b0, *b1;
        if (!byte_span(va, &a0, &a1) || !byte_span(vb, &b0, &b1)) continue;
        const i64 na = ia.find(va.data), nb = ib.find(vb.data);
        if (na < 0 || nb < 0) {
            if (va.data == vb.data && na == nb) continue;  // an array that lives on, or an input
            return name + ": it was computed outside the ops";
        }
        const auto it = partner.find(na);
        if (it == partner.end()) {  // no call uses it
            if (std::memcmp(a0, b0, static_cast<size_t>(a1 - a0)) != 0) return name + kOutside;
            if (constants) *constants = true;
        } else if (it->second != nb) {
            return name + ": it came from another call";
        }
    }
    return {};
}

std::string check_record(const Recorder& r, const std::vector<View>& inputs, u64 advance) {
    std::string found;
    for (size_t i = 0; i < r.calls.size() && found.empty(); ++i) {
        const OpInfo& info = op_info[r.calls[i].op];
        const char* args = r.blob.data() + r.calls[i].args;
        each_view(r.calls[i].op, args, [&](const Field& f, const View& v) {
            for (const View& input : inputs) {
                if (f.role != Role::in && overlap(v, input) && found.empty())
                    found = where(i, info, f.name) + ": the step writes into one of its arguments, which are copies";
            }
        });
        for (i32 k = 0; k < info.count && found.empty(); ++k) {
            if (info.fields[k].kind == Kind::seed &&
                at<Seed>(args, info.fields[k]).counter - r.stream_counter >= advance)
                found = where(i, info, info.fields[k].name) +
                        ": the random stream was moved inside the step (seeding belongs outside)";
        }
    }
    return found;
}

Program::Program(const Recorder& record, const std::vector<const void*>& kept)
    : blob_(record.blob), buffers_(record.buffers) {
    std::vector<View> written;  // integer outputs of the calls so far
    for (const Recorder::Call& c : record.calls) {
        const OpInfo& info = op_info[c.op];
        const char* args = blob_.data() + c.args;
        bool checks = false, computed = false;
        for (i32 k = 0; k < info.count; ++k) {
            const Field& f = info.fields[k];
            if (f.kind == Kind::seed)
                seeds_.push_back(
                    {c.args + static_cast<size_t>(f.offset), at<Seed>(args, f).counter - record.stream_counter});
            if (f.kind != Kind::view || (f.elem != Elem::int64 && f.elem != Elem::int32)) continue;
            const View& v = at<View>(args, f);
            if (f.role != Role::in) {
                written.push_back(v);
                continue;
            }
            checks = true;
            for (const View& w : written) computed = computed || overlap(v, w);
        }
        const i32 dtype = reinterpret_cast<const View*>(args)->dtype;
        calls_.push_back({c.op, c.args, Choice{nullptr, level_ref}, dtype == f32, checks, computed});
    }
    place_.resize(calls_.size());
    for (size_t i = 0; i < place_.size(); ++i) place_[i] = i;
    for (size_t i = 0; i < place_.size(); ++i) {
        if (record.calls[i].dynamic) advance(i);
    }
    plan(kept);
    choose(num_threads());
}

// Moves an optimiser's update up to where its gradient is complete and nobody reads the old parameter any more: both
// are still in the cache, and the gradient's memory is free for the rest of the step. Calls that may fail stay before
// every update; a run of elementwise calls stays together.
void Program::advance(size_t update) {
    const auto between = [](OpId op) { return op >= op_add && op <= op_sigmoid_dx; };
    const size_t from = place_[update];
    const Call moved = calls_[from];
    size_t to = from;
    for (; to > 0; --to) {
        const Call& before = calls_[to - 1];
        bool clash = before.computed;
        each_view(before.op, blob_.data() + before.args, [&](const Field& f, const View& v) {
            each_view(moved.op, blob_.data() + moved.args, [&](const Field& g, const View& w) {
                clash = clash || ((f.role != Role::in || g.role != Role::in) && overlap(v, w));
            });
        });
        if (clash) break;
    }
    while (to < from && to > 0 && between(calls_[to - 1].op) && between(calls_[to].op)) ++to;
    std::rotate(calls_.begin() + static_cast<std::ptrdiff_t>(to), calls_.begin() + static_cast<std::ptrdiff_t>(from),
                calls_.begin() + static_cast<std::ptrdiff_t>(from) + 1);
    for (size_t& at : place_) at += at >= to && at < from;
    place_[update] = to;
}

Program::~Program() {
    pool_put(arena_);
    pool_put(work_);
}

void Program::plan(const std::vector<const void*>& kept) {
    struct Life {
        i64 first = -1, last = -1;
        bool read_first = false;  // holds data from outside the ops: stays where it is
    };
    const Index index(buffers_);
    const auto moved = [&](void* address) -> void* {
        const i64 id = index.find(address);
        if (id < 0 || offsets_[static_cast<size_t>(id)] < 0) return address;
        return arena_ + offsets_[static_cast<size_t>(id)] +
               (static_cast<char*>(address) - buffers_[static_cast<size_t>(id)].data);
    };
    std::vector<Life> life(buffers_.size());
    for (size_t i = 0; i < calls_.size(); ++i) {
        const OpInfo& info = op_info[calls_[i].op];
        for (i32 k = 0; k < info.count; ++k) {
            const Field& f = info.fields[k];
            if (f.kind != Kind::view) continue;
            const View& v = at<View>(blob_.data() + calls_[i].args, f);
            const i64 id = v.ndim < 0 ? -1 : index.find(v.data);
            if (id < 0) continue;
            Life& l = life[static_cast<size_t>(id)];
            if (l.first < 0) {
                l.first = static_cast<i64>(i);
                l.read_first = f.role == Role::in;
            } else if (l.first == static_cast<i64>(i) && f.role == Role::in) {
                l.read_first = true;
            }
            l.last = static_cast<i64>(i);
        }
    }
    for (const void* address : kept) {
        const i64 id = index.find(address);
        if (id < 0) continue;
        Life& l = life[static_cast<size_t>(id)];
        if (l.first < 0) {  // no call writes it: a constant
            l.first = 0;
            l.read_first = true;
        }
        l.last = static_cast<i64>(calls_.size());
    }
    std::vector<size_t> order;
    for (size_t i = 0; i < buffers_.size(); ++i) {
        if (life[i].first >= 0 && !life[i].read_first) order.push_back(i);
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return buffers_[a].bytes > buffers_[b].bytes; });
    offsets_.assign(buffers_.size(), -1);
    std::vector<size_t> placed;
    for (size_t id : order) {
        const i64 bytes = (std::max<i64>(buffers_[id].bytes, 1) + kAlign - 1) / kAlign * kAlign;
        buffer_bytes_ += bytes;
        std::vector<std::pair<i64, i64>> busy;
        for (size_t other : placed) {
            if (life[other].first <= life[id].last && life[id].first <= life[other].last) {
                busy.emplace_back(
                    offsets_[other],
                    offsets_[other] + (std::max<i64>(buffers_[other].bytes, 1) + kAlign - 1) / kAlign * kAlign);
            }
        }
        std::sort(busy.begin(), busy.end());
        i64 offset = 0;
        for (const auto& [begin, end] : busy) {
            if (offset + bytes <= begin) break;
            offset = std::max(offset, end);
        }
        offsets_[id] = offset;
        placed.push_back(id);
        arena_bytes_ = std::max(arena_bytes_, offset + bytes);
    }
    arena_ = static_cast<char*>(pool_get(arena_bytes_));
    if (!arena_) throw std::bad_alloc();
    for (Call& c : calls_) {
        const OpInfo& info = op_info[c.op];
        for (i32 k = 0; k < info.count; ++k) {
            if (info.fields[k].kind != Kind::view) continue;
            View& v = at<View>(blob_.data() + c.args, info.fields[k]);
            if (v.ndim < 0) continue;
            v.data = moved(v.data);
            const char *begin = nullptr, *end = nullptr;
            if (info.fields[k].role != Role::in && !in_arena(v.data) && byte_span(v, &begin, &end))
                written_.emplace_back(begin, end);
        }
    }
}

// Picks implementations and books the largest workspace for this number of threads.
void Program::choose(i32 threads) {
    threads_ = 0;  // until all is in place
    Ctx ctx{threads, 0, 0, 0};
    cache_sizes(&ctx.l1_bytes, &ctx.l2_bytes, &ctx.l3_bytes);
    i64 most = 0;
    for (Call& c : calls_) {
        char* args = blob_.data() + c.args;
        c.choice = select(c.op, reinterpret_cast<const View*>(args)->dtype, args);
        const OpInfo& info = op_info[c.op];
        if (info.work_offset < 0 || !c.choice.impl->work) continue;
        Work* work = reinterpret_cast<Work*>(args + info.work_offset);
        work->bytes = c.choice.impl->work(args, ctx);
        most = std::max(most, work->bytes);
    }
    void* fresh = most > 0 ? pool_get(most) : nullptr;
    if (most > 0 && !fresh) throw std::bad_alloc();
    pool_put(work_);
    work_ = fresh;
    work_bytes_ = most;
    for (Call& c : calls_) {
        const OpInfo& info = op_info[c.op];
        if (info.work_offset < 0) continue;
        Work* work = reinterpret_cast<Work*>(blob_.data() + c.args + info.work_offset);
        work->data = work->bytes > 0 ? work_ : nullptr;
    }
    threads_ = threads;
    find_chains();
    find_chained();
}

// Groups neighbouring elementwise calls. Running them block by block is the same as one after the other when element i
// of every result depends on elements i alone, when an array that takes over another's memory starts where it did, and
// when no array takes over that of a single number, which every block reads.
void Program::find_chains() {
    struct Range {
        const char *begin, *end;
    };
    for (Input& input : inputs_) input.chained.clear();
    chains_.clear();
    for (size_t i = 0; i < calls_.size();) {
        Chain chain{i, 0, 0, {}};
        std::vector<Range> ranges, numbers;
        for (; i + chain.count < calls_.size(); ++chain.count) {
            const Call& c = calls_[i + chain.count];
            const OpInfo& info = op_info[c.op];
            if (c.op < op_add || c.op > op_sigmoid_dx || c.flush != calls_[i].flush) break;
            std::vector<Range> own, own_numbers;
            bool fits = true;
            i64 elements = 0;
            for (i32 k = 0; k < info.count && fits; ++k) {
                if (info.fields[k].kind != Kind::view) continue;
                const View& v = at<View>(blob_.data() + c.args, info.fields[k]);
                i64 n = 1, expect = 1;
                for (i32 d = v.ndim - 1; d >= 0; --d) {
                    if (v.shape[d] != 1 && v.stride[d] != expect) fits = false;
                    expect *= v.shape[d];
                    n *= v.shape[d];
                }
                const char* begin = static_cast<const char*>(v.data);
                if (n == 1 && info.fields[k].role == Role::in) {
                    own_numbers.push_back({begin, begin + kItemSize[v.dtype]});
                    continue;
                }
                if (elements == 0) elements = n;
                fits = fits && n == elements && n >= kChainFrom;
                own.push_back({begin, begin + n * kItemSize[v.dtype]});
            }
            fits = fits && (chain.count == 0 || elements == chain.elements);
            for (const Range& a : own) {
                for (const Range& b : ranges)
                    fits = fits && (a.begin == b.begin || a.end <= b.begin || b.end <= a.begin);
            }
            const auto apart = [](const std::vector<Range>& some, const std::vector<Range>& others) {
                for (const Range& a : some) {
                    for (const Range& b : others) {
                        if (a.begin < b.end && b.begin < a.end) return false;
                    }
                }
                return true;
            };
            fits = fits && apart(own, numbers) && apart(own, own_numbers) && apart(ranges, own_numbers);
            if (!fits) break;
            chain.elements = elements;
            ranges.insert(ranges.end(), own.begin(), own.end());
            numbers.insert(numbers.end(), own_numbers.begin(), own_numbers.end());
        }
        if (chain.count >= 2) {
            chain.flat.resize(chain.count * kMaxArgsBytes);
            for (size_t j = 0; j < chain.count; ++j) {
                const Call& c = calls_[i + j];
                const OpInfo& info = op_info[c.op];
                char* args = chain.flat.data() + j * kMaxArgsBytes;
                std::memcpy(args, blob_.data() + c.args, static_cast<size_t>(info.args_bytes));
                for (i32 k = 0; k < info.count; ++k) {
                    if (info.fields[k].kind != Kind::view) continue;
                    View& v = at<View>(args, info.fields[k]);
                    i64 n = 1;
                    for (i32 d = 0; d < v.ndim; ++d) n *= v.shape[d];
                    v.ndim = n == 1 ? 0 : 1;
                    v.shape[0] = n;
                    v.stride[0] = 1;
                }
            }
            chains_.push_back(std::move(chain));
            i += chains_.back().count;
        } else {
            ++i;
        }
    }
}

void Program::run_chain(const Chain& chain, Ctx& ctx) const {
    struct Env {
        const Program* program;
        const Chain* chain;
        Ctx* ctx;
    } env{this, &chain, &ctx};
    const i64 blocks = (chain.elements + kChainBlock - 1) / kChainBlock;
    const auto body = [](void* e, i64 first, i64 last) {
        const Env& v = *static_cast<const Env*>(e);
        alignas(64) char args[kMaxArgsBytes];
        for (i64 block = first; block < last; ++block) {
            const i64 begin = block * kChainBlock, count = std::min(kChainBlock, v.chain->elements - begin);
            for (size_t j = 0; j < v.chain->count; ++j) {
                const Call& c = v.program->calls_[v.chain->first + j];
                const OpInfo& info = op_info[c.op];
                std::memcpy(args, v.chain->flat.data() + j * kMaxArgsBytes, static_cast<size_t>(info.args_bytes));
                for (i32 k = 0; k < info.count; ++k) {
                    if (info.fields[k].kind != Kind::view) continue;
                    View& view = at<View>(args, info.fields[k]);
                    if (view.ndim == 0) continue;
                    view.data = static_cast<char*>(view.data) + begin * kItemSize[view.dtype];
                    view.shape[0] = count;
                }
                c.choice.impl->run(args, *v.ctx);
            }
        }
    };
    parallel_for(blocks, 0.3 * static_cast<double>(kChainBlock) * static_cast<double>(chain.count), body, &env);
}

void Program::run_calls(Ctx& ctx) const {
    auto chain = chains_.begin();
    for (size_t i = 0; i < calls_.size();) {
        const Call& c = calls_[i];
        const bool chained = chain != chains_.end() && chain->first == i;
        if (c.computed) {
            char message[512];
            if (const char* error = check_args(c.op, blob_.data() + c.args, message, sizeof message))
                throw std::invalid_argument(error);
        }
        const auto go = [&] {
            if (chained) {
                run_chain(*chain, ctx);
            } else {
                c.choice.impl->run(blob_.data() + c.args, ctx);
            }
        };
        if (c.flush) {
            const FlushDenormals scope;
            go();
        } else {
            go();
        }
        i += chained ? (chain++)->count : 1;
    }
}

i64 Program::fused_calls() const {
    i64 n = 0;
    for (const Chain& c : chains_) n += static_cast<i64>(c.count);
    return n;
}

const char* Program::check_inputs(char* message, size_t size) const {
    for (const Call& c : calls_) {
        if (!c.checks || c.computed) continue;
        if (const char* error = check_args(c.op, blob_.data() + c.args, message, size)) return error;
    }
    return nullptr;
}

size_t Program::add_input(const void* data, i64 bytes) {
    const char* home = static_cast<const char*>(data);
    Input input{home, bytes, home, {}, {}};
    for (const Call& c : calls_) {
        const OpInfo& info = op_info[c.op];
        for (i32 k = 0; k < info.count; ++k) {
            if (info.fields[k].kind != Kind::view) continue;
            const View& v = at<View>(blob_.data() + c.args, info.fields[k]);
            const char* p = static_cast<const char*>(v.data);
            if (v.ndim >= 0 && p >= home && p < home + bytes)
                input.places.emplace_back(c.args + static_cast<size_t>(info.fields[k].offset), p - home);
        }
    }
    inputs_.push_back(std::move(input));
    find_chained();
    return inputs_.size() - 1;
}

void Program::point(std::vector<char>& blob, Input& input, const char* data) {
    for (const auto& [place, offset] : input.places)
        reinterpret_cast<View*>(blob.data() + place)->data = const_cast<char*>(data) + offset;
    for (const auto& [view, offset] : input.chained) view->data = const_cast<char*>(data) + offset;
}

bool Program::read_from(size_t number, const void* data) {
    Input& input = inputs_[number];
    const char* begin = static_cast<const char*>(data);
    if (begin == input.now) return true;
    if (begin != input.home) {
        if (begin < arena_ + arena_bytes_ && arena_ < begin + input.bytes) return false;  // a window on a result
        for (const auto& [first, last] : written_) {
            if (begin < last && first < begin + input.bytes) return false;
        }
    }
    input.now = begin;
    point(blob_, input, begin);
    return true;
}

// The copies of the inputs' views in the chains.
void Program::find_chained() {
    for (Input& input : inputs_) {
        input.chained.clear();
        for (Chain& chain : chains_) {
            for (size_t j = 0; j < chain.count; ++j) {
                const Call& c = calls_[chain.first + j];
                for (const auto& [place, offset] : input.places) {
                    if (place < c.args || place >= c.args + static_cast<size_t>(op_info[c.op].args_bytes)) continue;
                    char* args = chain.flat.data() + j * kMaxArgsBytes;
                    input.chained.emplace_back(reinterpret_cast<View*>(args + (place - c.args)), offset);
                }
            }
        }
    }
}

void Program::run(u64 key, u64 counter) {
    const i32 threads = num_threads();
    if (threads != threads_) {
        // Chains are found for the memory of the record.
        for (Input& input : inputs_) point(blob_, input, input.home);
        choose(threads);
        for (Input& input : inputs_) point(blob_, input, input.now);
    }
    const TeamLimit limit(threads);
    Ctx ctx{threads, 0, 0, 0};
    cache_sizes(&ctx.l1_bytes, &ctx.l2_bytes, &ctx.l3_bytes);
    for (const SeedSlot& s : seeds_) *reinterpret_cast<Seed*>(blob_.data() + s.at) = Seed{key, counter + s.offset};
    run_calls(ctx);
}

void* Program::relocated(const void* address) const {
    const Index index(buffers_);
    const i64 id = index.find(address);
    if (id < 0 || offsets_[static_cast<size_t>(id)] < 0) return const_cast<void*>(address);
    return arena_ + offsets_[static_cast<size_t>(id)] +
           (static_cast<const char*>(address) - buffers_[static_cast<size_t>(id)].data);
}

void* Program::args_of(i64 index) {
    return blob_.data() + calls_[place_[static_cast<size_t>(index)]].args;
}

std::string Program::describe() const {
    std::string text;
    char line[160];
    for (size_t i = 0; i < calls_.size(); ++i) {
        const Call& c = calls_[i];
        const OpInfo& info = op_info[c.op];
        std::snprintf(line, sizeof line, "%4zu  %-18s %s:%s ", i, info.name, level_name(c.choice.level),
                      c.choice.impl->name);
        text += line;
        for (i32 k = 0; k < info.count; ++k) {
            const Field& f = info.fields[k];
            const char* args = blob_.data() + c.args;
            if (f.kind == Kind::view) {
                const View& v = at<View>(args, f);
                if (v.ndim < 0) continue;
                text += std::string(" ") + f.name + (f.role == Role::in ? "[" : "=[");
                for (i32 d = 0; d < v.ndim; ++d) {
                    if (d) text += ",";
                    text += std::to_string(v.shape[d]);
                }
                const char* p = static_cast<const char*>(v.data);
                const bool inside = p >= arena_ && p < arena_ + arena_bytes_;
                text += inside ? "]@" + std::to_string(p - arena_) : std::string("]");
            } else if (f.kind == Kind::integer) {
                text += std::string(" ") + f.name + "=" + std::to_string(at<i64>(args, f));
            } else if (f.kind == Kind::real) {
                std::snprintf(line, sizeof line, " %s=%g", f.name, at<double>(args, f));
                text += line;
            }
        }
        text += "\n";
    }
    return text;
}

}  // namespace rb
