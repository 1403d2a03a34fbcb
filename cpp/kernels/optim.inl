// optim.inl: optimiser updates in one pass over memory, in place: p, g, m, v [n] flat. Promise: an element depends on
// its own p, g, m, v only.

template <typename T>
static void sgd_update_run(const void* args, Ctx&) {
    const sgd_update_args& a = *static_cast<const sgd_update_args*>(args);
    T* __restrict p = static_cast<T*>(a.p.data);
    const T* __restrict g = static_cast<const T*>(a.g.data);
    T* __restrict m = static_cast<T*>(a.m.data);
    const T lr = T(a.lr), decay = T(a.weight_decay), mu = T(a.momentum), keep = T(1.0 - a.dampening);
    const i64 n = numel(a.p);
    if (a.momentum == 0.0) {
        for_each_chunk(n, 0.25, [&](i64 begin, i64 end) {
            for (i64 i = begin; i < end; ++i) p[i] = rb_fma(-lr, rb_fma(decay, p[i], g[i]), p[i]);
        });
        return;
    }
    auto update = [&](auto first, auto nesterov) {
        for_each_chunk(n, 0.4, [&](i64 begin, i64 end) {
            for (i64 i = begin; i < end; ++i) {
                const T d = rb_fma(decay, p[i], g[i]);
                const T next = first ? d : rb_fma(mu, m[i], keep * d);
                m[i] = next;
                p[i] = rb_fma(-lr, nesterov ? rb_fma(mu, next, d) : next, p[i]);
            }
        });
    };
    struct Yes {
        constexpr operator bool() const { return true; }
    };
    struct No {
        constexpr operator bool() const { return false; }
    };
    if (a.first && a.nesterov) return update(Yes(), Yes());
    if (a.first) return update(Yes(), No());
    if (a.nesterov) return update(No(), Yes());
    update(No(), No());
}

template <typename T>
static void adam_update_run(const void* args, Ctx&) {
    const adam_update_args& a = *static_cast<const adam_update_args*>(args);
    T* __restrict p = static_cast<T*>(a.p.data);
    const T* __restrict g = static_cast<const T*>(a.g.data);
    T* __restrict m = static_cast<T*>(a.m.data);
    T* __restrict v = static_cast<T*>(a.v.data);
    const double correction1 = 1.0 - __builtin_pow(a.beta1, double(a.step));
    const double correction2 = 1.0 - __builtin_pow(a.beta2, double(a.step));
    const T beta2 = T(a.beta2), rest1 = T(1.0 - a.beta1), rest2 = T(1.0 - a.beta2), eps = T(a.eps);
    const T shrink = a.decoupled ? T(1.0 - a.lr * a.weight_decay) : T(1);  // AdamW: p *= shrink
    const T decay = a.decoupled ? T(0) : T(a.weight_decay);                // Adam: g += decay * p
    const T step = T(a.lr / correction1), root = T(1.0 / __builtin_sqrt(correction2));
    for_each_chunk(numel(a.p), 0.6, [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) {
            const T d = rb_fma(decay, p[i], g[i]);
            const T mi = rb_fma(rest1, d - m[i], m[i]);
            const T vi = rb_fma(beta2, v[i], rest2 * d * d);
            m[i] = mi;
            v[i] = vi;
            p[i] = rb_fma(-step, mi / rb_fma(rb_sqrt(vi), root, eps), p[i] * shrink);
        }
    });
}

constexpr void add_optim(Table& t) {
    add_simd<sgd_update_run<float>, sgd_update_run<double>>(t, op_sgd_update);
    add_simd<adam_update_run<float>, adam_update_run<double>>(t, op_adam_update);
}
