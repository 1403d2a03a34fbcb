// optim.inl: optimiser updates in one pass over memory, in place: p, g, m, v [n] flat. Promise: an element depends on
// its own p, g, m, v only.

// Elements [begin, end). Everything by value: stores to p must not make the compiler reload the parameters.
template <typename T, bool first, bool nesterov>
static void sgd_momentum_range(T* __restrict p, const T* __restrict g, T* __restrict m, i64 begin, i64 end, T lr,
                               T decay, T mu, T keep) {
    for (i64 i = begin; i < end; ++i) {
        const T d = rb_fma(decay, p[i], g[i]);
        const T next = first ? d : rb_fma(mu, m[i], keep * d);
        m[i] = next;
        p[i] = rb_fma(-lr, nesterov ? rb_fma(mu, next, d) : next, p[i]);
    }
}
template <typename T>
static void sgd_range(T* __restrict p, const T* __restrict g, i64 begin, i64 end, T lr, T decay) {
    for (i64 i = begin; i < end; ++i) p[i] = rb_fma(-lr, rb_fma(decay, p[i], g[i]), p[i]);
}

template <typename T>
static void sgd_update_run(const void* args, Ctx&) {
    const sgd_update_args& a = *static_cast<const sgd_update_args*>(args);
    T *p = static_cast<T*>(a.p.data), *m = static_cast<T*>(a.m.data);
    const T* g = static_cast<const T*>(a.g.data);
    const T lr = T(a.lr), decay = T(a.weight_decay), mu = T(a.momentum), keep = T(1.0 - a.dampening);
    const i64 n = numel(a.p);
    if (a.momentum == 0.0) {
        for_each_chunk(n, 0.25, [&](i64 begin, i64 end) { sgd_range(p, g, begin, end, lr, decay); });
        return;
    }
    const auto range = a.first
                           ? (a.nesterov ? sgd_momentum_range<T, true, true> : sgd_momentum_range<T, true, false>)
                           : (a.nesterov ? sgd_momentum_range<T, false, true> : sgd_momentum_range<T, false, false>);
    for_each_chunk(n, 0.4, [&](i64 begin, i64 end) { range(p, g, m, begin, end, lr, decay, mu, keep); });
}

template <typename T>
struct AdamFactors {
    T beta2, rest1, rest2;  // 1 - beta1, 1 - beta2
    T eps, shrink, decay;   // AdamW: p *= shrink; Adam: g += decay * p
    T step, root;           // lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t)
};
template <typename T>
static void adam_range(T* __restrict p, const T* __restrict g, T* __restrict m, T* __restrict v, i64 begin, i64 end,
                       const AdamFactors<T> f) {
    for (i64 i = begin; i < end; ++i) {
        const T d = rb_fma(f.decay, p[i], g[i]);
        const T mi = rb_fma(f.rest1, d - m[i], m[i]);
        const T vi = rb_fma(f.beta2, v[i], f.rest2 * d * d);
        m[i] = mi;
        v[i] = vi;
        p[i] = rb_fma(-f.step, mi / rb_fma(rb_sqrt(vi), f.root, f.eps), p[i] * f.shrink);
    }
}

template <typename T>
static void adam_update_run(const void* args, Ctx&) {
    const adam_update_args& a = *static_cast<const adam_update_args*>(args);
    T *p = static_cast<T*>(a.p.data), *m = static_cast<T*>(a.m.data), *v = static_cast<T*>(a.v.data);
    const T* g = static_cast<const T*>(a.g.data);
    const double correction1 = 1.0 - __builtin_pow(a.beta1, double(a.step));
    const double correction2 = 1.0 - __builtin_pow(a.beta2, double(a.step));
    const AdamFactors<T> f = {T(a.beta2),
                              T(1.0 - a.beta1),
                              T(1.0 - a.beta2),
                              T(a.eps),
                              a.decoupled ? T(1.0 - a.lr * a.weight_decay) : T(1),
                              a.decoupled ? T(0) : T(a.weight_decay),
                              T(a.lr / correction1),
                              T(1.0 / __builtin_sqrt(correction2))};
    for_each_chunk(numel(a.p), 0.6, [&](i64 begin, i64 end) { adam_range(p, g, m, v, begin, end, f); });
}

constexpr void add_optim(Table& t) {
    add_simd<sgd_update_run<float>, sgd_update_run<double>>(t, op_sgd_update);
    add_simd<adam_update_run<float>, adam_update_run<double>>(t, op_adam_update);
}
