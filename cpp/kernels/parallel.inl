// parallel.inl: parallel_for taking a callable. `body(begin, end)` must treat each index on its own (see ctx.hpp).

template <typename F>
void parallel(i64 n, double cost, const F& body) {
    parallel_for(
        n, cost, [](void* env, i64 begin, i64 end) { (*static_cast<const F*>(env))(begin, end); },
        const_cast<F*>(&body));
}

// Workers that `units` indices can occupy, at least one: scratch is booked for as many (see worker_index).
static inline i64 workers_for(const Ctx& ctx, i64 units) {
    return units < 1 ? 1 : units < ctx.threads ? units : ctx.threads;
}
