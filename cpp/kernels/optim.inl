// optim.inl: optimiser updates in one pass over memory, in place: p, g, m, v [n] flat. Promise: an element depends on
// its own p, g, m, v only. Norms are summed in double, in blocks cut by shape.

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

template <typename T>
static void nesterov_range(T* __restrict p, const T* __restrict g, T* __restrict v, i64 begin, i64 end, T lr, T mu,
                           T behind, T ahead, T decay) {
    for (i64 i = begin; i < end; ++i) {
        const T next = rb_fma(mu, v[i], -lr * rb_fma(decay, p[i], g[i]));
        p[i] = rb_fma(ahead, next, rb_fma(-behind, v[i], p[i]) + next);
        v[i] = next;
    }
}
template <typename T>
static void nesterov_update_run(const void* args, Ctx&) {
    const nesterov_update_args& a = *static_cast<const nesterov_update_args*>(args);
    T *p = static_cast<T*>(a.p.data), *v = static_cast<T*>(a.v.data);
    const T* g = static_cast<const T*>(a.g.data);
    const T lr = T(a.lr), mu = T(a.momentum), behind = T(a.behind), ahead = T(a.ahead), decay = T(a.weight_decay);
    for_each_chunk(numel(a.p), 0.4,
                   [&](i64 begin, i64 end) { nesterov_range(p, g, v, begin, end, lr, mu, behind, ahead, decay); });
}

template <bool inside, typename T>
static inline T rb_root(T v, T eps) {
    return inside ? rb_sqrt(v + eps) : rb_sqrt(v) + eps;
}

template <typename T, bool inside>
static void adagrad_range(T* __restrict p, const T* __restrict g, T* __restrict s, i64 begin, i64 end, T lr, T decay,
                          T eps) {
    for (i64 i = begin; i < end; ++i) {
        const T d = rb_fma(decay, p[i], g[i]);
        const T sum = rb_fma(d, d, s[i]);
        s[i] = sum;
        p[i] = rb_fma(-lr, d / rb_root<inside>(sum, eps), p[i]);
    }
}
template <typename T>
static void adagrad_update_run(const void* args, Ctx&) {
    const adagrad_update_args& a = *static_cast<const adagrad_update_args*>(args);
    T *p = static_cast<T*>(a.p.data), *s = static_cast<T*>(a.s.data);
    const T* g = static_cast<const T*>(a.g.data);
    const T lr = T(a.lr), decay = T(a.weight_decay), eps = T(a.eps);
    const auto range = a.inside ? adagrad_range<T, true> : adagrad_range<T, false>;
    for_each_chunk(numel(a.p), 0.5, [&](i64 begin, i64 end) { range(p, g, s, begin, end, lr, decay, eps); });
}

template <typename T>
struct RmspropFactors {
    T lr, rho, rest, momentum, decay, eps;  // rest = 1 - rho
};
template <typename T, bool inside, bool centred, bool moving>
static void rmsprop_range(T* __restrict p, const T* __restrict g, T* __restrict v, T* __restrict mean, T* __restrict m,
                          i64 begin, i64 end, const RmspropFactors<T> f) {
    for (i64 i = begin; i < end; ++i) {
        const T d = rb_fma(f.decay, p[i], g[i]);
        T vi = rb_fma(f.rho, v[i], f.rest * d * d);
        v[i] = vi;
        if (centred) {
            const T mi = rb_fma(f.rho, mean[i], f.rest * d);
            mean[i] = mi;
            vi = rb_relu(rb_fma(-mi, mi, vi));
        }
        T move = d / rb_root<inside>(vi, f.eps);
        if (moving) {
            move = rb_fma(f.momentum, m[i], move);
            m[i] = move;
        }
        p[i] = rb_fma(-f.lr, move, p[i]);
    }
}
template <typename T>
static void rmsprop_update_run(const void* args, Ctx&) {
    const rmsprop_update_args& a = *static_cast<const rmsprop_update_args*>(args);
    T *p = static_cast<T*>(a.p.data), *v = static_cast<T*>(a.v.data);
    const bool centred = a.mean.ndim >= 0, moving = a.m.ndim >= 0;
    T *mean = centred ? static_cast<T*>(a.mean.data) : nullptr, *m = moving ? static_cast<T*>(a.m.data) : nullptr;
    const T* g = static_cast<const T*>(a.g.data);
    const RmspropFactors<T> f = {T(a.lr), T(a.rho), T(1.0 - a.rho), T(a.momentum), T(a.weight_decay), T(a.eps)};
    using Range = void (*)(T*, const T*, T*, T*, T*, i64, i64, RmspropFactors<T>);
    constexpr Range kRanges[8] = {rmsprop_range<T, false, false, false>, rmsprop_range<T, false, false, true>,
                                  rmsprop_range<T, false, true, false>,  rmsprop_range<T, false, true, true>,
                                  rmsprop_range<T, true, false, false>,  rmsprop_range<T, true, false, true>,
                                  rmsprop_range<T, true, true, false>,   rmsprop_range<T, true, true, true>};
    const Range range = kRanges[4 * int(a.inside) + 2 * int(centred) + int(moving)];
    for_each_chunk(numel(a.p), 0.7, [&](i64 begin, i64 end) { range(p, g, v, mean, m, begin, end, f); });
}

template <typename T>
static void adadelta_range(T* __restrict p, const T* __restrict g, T* __restrict v, T* __restrict d, i64 begin, i64 end,
                           T lr, T rho, T rest, T decay, T eps) {
    for (i64 i = begin; i < end; ++i) {
        const T gi = rb_fma(decay, p[i], g[i]);
        const T vi = rb_fma(rho, v[i], rest * gi * gi);
        const T move = rb_sqrt(d[i] + eps) / rb_sqrt(vi + eps) * gi;
        v[i] = vi;
        d[i] = rb_fma(rho, d[i], rest * move * move);
        p[i] = rb_fma(-lr, move, p[i]);
    }
}
template <typename T>
static void adadelta_update_run(const void* args, Ctx&) {
    const adadelta_update_args& a = *static_cast<const adadelta_update_args*>(args);
    T *p = static_cast<T*>(a.p.data), *v = static_cast<T*>(a.v.data), *d = static_cast<T*>(a.d.data);
    const T* g = static_cast<const T*>(a.g.data);
    const T lr = T(a.lr), rho = T(a.rho), rest = T(1.0 - a.rho), decay = T(a.weight_decay), eps = T(a.eps);
    for_each_chunk(numel(a.p), 0.9,
                   [&](i64 begin, i64 end) { adadelta_range(p, g, v, d, begin, end, lr, rho, rest, decay, eps); });
}

template <typename T>
struct DeltaBarDeltaFactors {
    T scale, kappa, shrink, theta, rest, decay;  // shrink = 1 - phi, rest = 1 - theta
};
template <typename T>
static void delta_bar_delta_range(T* __restrict p, const T* __restrict g, T* __restrict rate, T* __restrict bar,
                                  i64 begin, i64 end, const DeltaBarDeltaFactors<T> f) {
    for (i64 i = begin; i < end; ++i) {
        const T d = rb_fma(f.decay, p[i], g[i]);
        // signs, not the product: small gradients must not underflow to "no agreement"
        const T sign = (bar[i] > T(0)   ? T(1)
                        : bar[i] < T(0) ? T(-1)
                                        : T(0)) *
                       (d > T(0)   ? T(1)
                        : d < T(0) ? T(-1)
                                   : T(0));
        const T up = rate[i] + f.kappa, down = rate[i] * f.shrink;
        const T next = sign > T(0) ? up : sign < T(0) ? down : rate[i];
        rate[i] = next;
        bar[i] = rb_fma(f.theta, bar[i], f.rest * d);
        p[i] = rb_fma(-f.scale * next, d, p[i]);
    }
}
template <typename T>
static void delta_bar_delta_update_run(const void* args, Ctx&) {
    const delta_bar_delta_update_args& a = *static_cast<const delta_bar_delta_update_args*>(args);
    T *p = static_cast<T*>(a.p.data), *rate = static_cast<T*>(a.rate.data), *bar = static_cast<T*>(a.bar.data);
    const T* g = static_cast<const T*>(a.g.data);
    const DeltaBarDeltaFactors<T> f = {T(a.scale), T(a.kappa),       T(1.0 - a.phi),
                                       T(a.theta), T(1.0 - a.theta), T(a.weight_decay)};
    for_each_chunk(numel(a.p), 0.7, [&](i64 begin, i64 end) { delta_bar_delta_range(p, g, rate, bar, begin, end, f); });
}

// --- norms and clipping

// Sum of squares and largest magnitude of x [n], in double: lane l takes elements l, l + kNormLanes, ...
struct Norms {
    double sum, top;
};
constexpr i64 kNormLanes = 32, kNormChunk = 8192;
template <typename T>
static Norms norms_of(const T* __restrict x, i64 n) {
    double sum[kNormLanes], top[kNormLanes];
    for (i64 l = 0; l < kNormLanes; ++l) sum[l] = top[l] = 0.0;
    i64 i = 0;
    for (; i + kNormLanes <= n; i += kNormLanes) {
        for (i64 l = 0; l < kNormLanes; ++l) {
            const double v = double(x[i + l]);
            sum[l] = rb_fma(v, v, sum[l]);
            top[l] = rb_max(rb_abs(v), top[l]);
        }
    }
    for (i64 l = 0; l < n - i; ++l) {
        const double v = double(x[i + l]);
        sum[l] = rb_fma(v, v, sum[l]);
        top[l] = rb_max(rb_abs(v), top[l]);
    }
    return {fold<AddOp>(sum, kNormLanes), fold<MaxOp>(top, kNormLanes)};
}

static i64 norm_update_work(const void* args, const Ctx&) {
    const i64 n = numel(static_cast<const norm_update_args*>(args)->x);
    return n > kNormChunk ? (n + kNormChunk - 1) / kNormChunk * i64(sizeof(Norms)) : 0;
}

template <typename T>
static void norm_update_run(const void* args, Ctx&) {
    const norm_update_args& a = *static_cast<const norm_update_args*>(args);
    const T* x = static_cast<const T*>(a.x.data);
    T* norms = static_cast<T*>(a.norms.data);
    const i64 n = numel(a.x), chunks = (n + kNormChunk - 1) / kNormChunk;
    Norms all = {0.0, 0.0};
    if (chunks > 1) {
        Norms* part = static_cast<Norms*>(a.work.data);
        parallel(chunks, 0.15 * double(kNormChunk), [&](i64 begin, i64 end) {
            for (i64 c = begin; c < end; ++c) {
                const i64 at = c * kNormChunk;
                part[c] = norms_of(x + at, n - at < kNormChunk ? n - at : kNormChunk);
            }
        });
        for (i64 c = 0; c < chunks; ++c) all = {all.sum + part[c].sum, rb_max(all.top, part[c].top)};
    } else {
        all = norms_of(x, n);
    }
    const double before = a.first ? 0.0 : double(norms[0]), highest = a.first ? 0.0 : double(norms[2]);
    norms[0] = T(rb_sqrt(rb_fma(before, before, all.sum)));
    norms[1] = T(rb_sqrt(all.sum));
    norms[2] = T(rb_max(highest, all.top));
    norms[3] = T(all.top);
}

template <typename T>
static void scale_range(T* __restrict x, i64 begin, i64 end, T factor) {
    for (i64 i = begin; i < end; ++i) x[i] *= factor;
}
template <typename T>
static void norm_scale_update_run(const void* args, Ctx&) {
    const norm_scale_update_args& a = *static_cast<const norm_scale_update_args*>(args);
    T* x = static_cast<T*>(a.x.data);
    const double factor = a.limit / (double(static_cast<const T*>(a.norms.data)[a.which]) + a.eps);
    if (factor >= 1.0) return;
    for_each_chunk(numel(a.x), 0.2, [&](i64 begin, i64 end) { scale_range(x, begin, end, T(factor)); });
}

template <typename T>
static void clip_range(T* __restrict x, i64 begin, i64 end, T low, T high) {
    for (i64 i = begin; i < end; ++i) {
        const T v = x[i] < low ? low : x[i];
        x[i] = v > high ? high : v;
    }
}
template <typename T>
static void clip_update_run(const void* args, Ctx&) {
    const clip_update_args& a = *static_cast<const clip_update_args*>(args);
    T* x = static_cast<T*>(a.x.data);
    const T low = T(a.low), high = T(a.high);
    for_each_chunk(numel(a.x), 0.2, [&](i64 begin, i64 end) { clip_range(x, begin, end, low, high); });
}

template <typename T>
static void row_norm_update_run(const void* args, Ctx&) {
    const row_norm_update_args& a = *static_cast<const row_norm_update_args*>(args);
    T* x = static_cast<T*>(a.x.data);
    const i64 n = numel(a.x) / a.rows;  // 0 only for an empty x, whatever the number of rows
    if (n == 0) return;
    const double low = a.low, high = a.high;
    parallel(a.rows, 0.3 * double(n) + 10.0, [&](i64 begin, i64 end) {
        for (i64 r = begin; r < end; ++r) {
            const double norm = rb_sqrt(norms_of(x + r * n, n).sum);
            if (norm == 0.0 || (norm >= low && norm <= high)) continue;
            scale_range(x + r * n, 0, n, T((norm < low ? low : high) / norm));
        }
    });
}

template <typename T>
constexpr Impl kNormUpdateImpls[] = {{"simd", norm_update_run<T>, norm_update_work, nullptr, nullptr}};

constexpr void add_optim(Table& t) {
    add_simd<sgd_update_run<float>, sgd_update_run<double>>(t, op_sgd_update);
    add_simd<adam_update_run<float>, adam_update_run<double>>(t, op_adam_update);
    add_simd<nesterov_update_run<float>, nesterov_update_run<double>>(t, op_nesterov_update);
    add_simd<adagrad_update_run<float>, adagrad_update_run<double>>(t, op_adagrad_update);
    add_simd<rmsprop_update_run<float>, rmsprop_update_run<double>>(t, op_rmsprop_update);
    add_simd<adadelta_update_run<float>, adadelta_update_run<double>>(t, op_adadelta_update);
    add_simd<delta_bar_delta_update_run<float>, delta_bar_delta_update_run<double>>(t, op_delta_bar_delta_update);
    add_simd<norm_scale_update_run<float>, norm_scale_update_run<double>>(t, op_norm_scale_update);
    add_simd<clip_update_run<float>, clip_update_run<double>>(t, op_clip_update);
    add_simd<row_norm_update_run<float>, row_norm_update_run<double>>(t, op_row_norm_update);
    t.entry[op_norm_update][f32] = Entry{kNormUpdateImpls<float>, 1};
    t.entry[op_norm_update][f64] = Entry{kNormUpdateImpls<double>, 1};
}
