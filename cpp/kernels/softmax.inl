// softmax.inl: softmax, log-softmax and cross-entropy with their gradients over the last axis of [M,C]. Promise: the
// row maximum is subtracted first (no overflow), sums are in the fixed order of reduce.inl, each row is independent of
// every other. Short rows are processed a buffer at a time, so that exp runs on full vectors whatever C is.

constexpr i64 kSoftmaxBuffer = 2048;  // elements of whole short rows handled together
constexpr i64 kSoftmaxAlone = 64;     // from here on a row fills enough vectors of its own

// For rows of C elements: begin .. end in groups of rows that fit the buffer (one row where C is larger).
static inline i64 softmax_rows_per_step(i64 C) {
    return C > 0 && C <= kSoftmaxBuffer / 4 ? kSoftmaxBuffer / C : 1;
}

// The sum of exp(x - top) of a row x [C], in the order of reduce.inl; the terms go to y [C], if it is there.
template <typename T>
static T exp_row(const T* __restrict x, T* __restrict y, i64 C, T top) {
    constexpr i64 kBlock = 32 * kLanes<T>;
    T line[kBlock], total = T(0);
    for (i64 i = 0; i < C; i += kBlock) {
        const i64 n = C - i < kBlock ? C - i : kBlock;
        const T* __restrict in = x + i;
        T* __restrict out = y ? y + i : line;
        for (i64 c = 0; c < n; ++c) out[c] = rb_exp(in[c] - top);
        const T part = reduce_block<AddOp>(out, n);
        total = i ? total + part : part;
    }
    return total;
}

// y [rows,C] = exp(x - max of row); top [rows], total [rows] = the maximum and the sum of a row of y.
template <typename T>
static void exp_rows(const T* __restrict x, T* __restrict y, i64 rows, i64 C, T* __restrict top, T* __restrict total) {
    for (i64 r = 0; r < rows; ++r) top[r] = reduce_contiguous<MaxOp>(x + r * C, C);
    if (C >= kSoftmaxAlone) {
        for (i64 r = 0; r < rows; ++r) total[r] = exp_row(x + r * C, y + r * C, C, top[r]);
        return;
    }
    for (i64 r = 0; r < rows; ++r) {
        const T t = top[r];
        for (i64 c = 0; c < C; ++c) y[r * C + c] = x[r * C + c] - t;
    }
    for (i64 i = 0; i < rows * C; ++i) y[i] = rb_exp(y[i]);
    for (i64 r = 0; r < rows; ++r) total[r] = reduce_contiguous<AddOp>(y + r * C, C);
}

// Runs body(first row, rows) over [0, M).
template <typename F>
static void for_each_row_step(i64 M, i64 C, double cost, const F& body) {
    const i64 step = softmax_rows_per_step(C);
    parallel((M + step - 1) / step, cost * double(C) * double(M < step ? M : step), [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) body(u * step, M - u * step < step ? M - u * step : step);
    });
}

// y [rows,C] *= 1/total of the row
template <typename T>
static void divide_rows(T* __restrict y, i64 rows, i64 C, const T* __restrict total) {
    for (i64 r = 0; r < rows; ++r) {
        const T inverse = T(1) / total[r];
        for (i64 c = 0; c < C; ++c) y[r * C + c] *= inverse;
    }
}

template <typename T>
static void softmax_run(const void* args, Ctx&) {
    const softmax_args& a = *static_cast<const softmax_args*>(args);
    const T* x = static_cast<const T*>(a.x.data);
    T* y = static_cast<T*>(a.y.data);
    const i64 M = a.x.shape[0], C = a.x.shape[1];
    for_each_row_step(M, C, 1.0, [&](i64 m, i64 rows) {
        T top[kSoftmaxBuffer], total[kSoftmaxBuffer];
        exp_rows(x + m * C, y + m * C, rows, C, top, total);
        divide_rows(y + m * C, rows, C, total);
    });
}

template <typename T>
static void softmax_xent_run(const void* args, Ctx&) {
    const softmax_xent_args& a = *static_cast<const softmax_xent_args*>(args);
    const T* x = static_cast<const T*>(a.x.data);
    const i64* labels = static_cast<const i64*>(a.labels.data);
    T *loss = static_cast<T*>(a.loss.data), *probs = static_cast<T*>(a.probs.data);
    const i64 M = a.x.shape[0], C = a.x.shape[1];
    for_each_row_step(M, C, 1.0, [&](i64 m, i64 rows) {
        T top[kSoftmaxBuffer], total[kSoftmaxBuffer];
        exp_rows(x + m * C, probs + m * C, rows, C, top, total);
        divide_rows(probs + m * C, rows, C, total);
        for (i64 r = 0; r < rows; ++r) total[r] = rb_log(total[r]);
        for (i64 r = 0; r < rows; ++r) loss[m + r] = total[r] - (x[(m + r) * C + labels[m + r]] - top[r]);
    });
}

template <typename T>
static void log_softmax_run(const void* args, Ctx&) {
    const log_softmax_args& a = *static_cast<const log_softmax_args*>(args);
    const T* x = static_cast<const T*>(a.x.data);
    T* y = static_cast<T*>(a.y.data);
    const i64 M = a.x.shape[0], C = a.x.shape[1];
    for_each_row_step(M, C, 1.2, [&](i64 m, i64 rows) {
        T top[kSoftmaxBuffer], total[kSoftmaxBuffer];
        if (C >= kSoftmaxAlone) {
            for (i64 r = 0; r < rows; ++r) {
                const T* row = x + (m + r) * C;
                top[r] = reduce_contiguous<MaxOp>(row, C);
                total[r] = exp_row<T>(row, nullptr, C, top[r]);
            }
        } else {
            exp_rows(x + m * C, y + m * C, rows, C, top, total);
        }
        for (i64 r = 0; r < rows; ++r) total[r] = rb_log(total[r]);
        for (i64 r = 0; r < rows; ++r) {
            const T* __restrict in = x + (m + r) * C;
            T* __restrict out = y + (m + r) * C;
            for (i64 c = 0; c < C; ++c) out[c] = (in[c] - top[r]) - total[r];
        }
    });
}

template <typename T>
static void softmax_dx_run(const void* args, Ctx&) {
    const softmax_dx_args& a = *static_cast<const softmax_dx_args*>(args);
    const T *y = static_cast<const T*>(a.y.data), *dy = static_cast<const T*>(a.dy.data);
    T* dx = static_cast<T*>(a.dx.data);
    const i64 M = a.y.shape[0], C = a.y.shape[1];
    parallel(M, 4.0 + 0.4 * double(C), [&](i64 begin, i64 end) {
        for (i64 m = begin; m < end; ++m) {
            const T* __restrict p = y + m * C, * __restrict d = dy + m * C;
            T* __restrict out = dx + m * C;
            for (i64 c = 0; c < C; ++c) out[c] = p[c] * d[c];
            const T s = reduce_contiguous<AddOp>(out, C);
            for (i64 c = 0; c < C; ++c) out[c] = p[c] * (d[c] - s);
        }
    });
}

template <typename T>
static void log_softmax_dx_run(const void* args, Ctx&) {
    const log_softmax_dx_args& a = *static_cast<const log_softmax_dx_args*>(args);
    const T *y = static_cast<const T*>(a.y.data), *dy = static_cast<const T*>(a.dy.data);
    T* dx = static_cast<T*>(a.dx.data);
    const i64 M = a.y.shape[0], C = a.y.shape[1];
    for_each_row_step(M, C, 1.0, [&](i64 m, i64 rows) {
        for (i64 i = m * C; i < (m + rows) * C; ++i) dx[i] = rb_exp(y[i]);
        for (i64 r = m; r < m + rows; ++r) {
            const T* __restrict d = dy + r * C;
            T* __restrict out = dx + r * C;
            const T s = reduce_contiguous<AddOp>(d, C);
            for (i64 c = 0; c < C; ++c) out[c] = rb_fma(-out[c], s, d[c]);
        }
    });
}

template <typename T>
static void softmax_xent_dx_run(const void* args, Ctx&) {
    const softmax_xent_dx_args& a = *static_cast<const softmax_xent_dx_args*>(args);
    const T *probs = static_cast<const T*>(a.probs.data), *g = static_cast<const T*>(a.g.data);
    const i64* labels = static_cast<const i64*>(a.labels.data);
    T* dx = static_cast<T*>(a.dx.data);
    const i64 M = a.probs.shape[0], C = a.probs.shape[1];
    parallel(M, 4.0 + 0.2 * double(C), [&](i64 begin, i64 end) {
        for (i64 m = begin; m < end; ++m) {
            const T* __restrict p = probs + m * C;
            T* __restrict out = dx + m * C;
            const T scale = g[m];
            for (i64 c = 0; c < C; ++c) out[c] = p[c] * scale;
            out[labels[m]] = (p[labels[m]] - T(1)) * scale;
        }
    });
}

struct SquaredPair {
    template <typename T>
    static inline T at(T x, T t, T* d) {
        *d = x - t;
        return *d * *d;
    }
};
struct LogisticPair {
    template <typename T>
    static inline T at(T x, T t, T* d) {
        const T e = rb_exp(-rb_abs(x));
        *d = (x < T(0) ? e : T(1)) / (T(1) + e) - t;
        return (rb_relu(x) - x * t) + rb_log1p(e);
    }
};

// The terms of a block at a time, added as `sum` would add them.
template <typename Pair, typename T>
static void pair_loss_of(const pair_loss_args& a, double cost) {
    constexpr i64 kBlock = 32 * kLanes<T>;
    const T *x = static_cast<const T*>(a.x.data), *t = static_cast<const T*>(a.t.data);
    T* d = static_cast<T*>(a.d.data);
    const i64 n = a.x.shape[0], chunk = row_chunk<T>(n), chunks = (n + chunk - 1) / chunk;
    T partial[kMaxChunks];
    parallel(chunks, cost * double(n < chunk ? n : chunk), [&](i64 begin, i64 end) {
        T terms[kBlock];
        for (i64 c = begin; c < end; ++c) {
            const i64 last = n < (c + 1) * chunk ? n : (c + 1) * chunk;
            for (i64 i = c * chunk; i < last; i += kBlock) {
                const i64 m = last - i < kBlock ? last - i : kBlock;
                const T *in = x + i, *target = t + i;
                T* __restrict slope = d + i;
                for (i64 k = 0; k < m; ++k) terms[k] = Pair::at(in[k], target[k], &slope[k]);
                const T s = reduce_block<AddOp>(terms, m);
                partial[c] = i == c * chunk ? s : partial[c] + s;
            }
        }
    });
    *static_cast<T*>(a.loss.data) = fold_any<AddOp>(partial, chunks) * T(a.scale);
}
template <typename T>
static void pair_loss_run(const void* args, Ctx&) {
    const pair_loss_args& a = *static_cast<const pair_loss_args*>(args);
    if (a.kind == pair_square) {
        pair_loss_of<SquaredPair, T>(a, 0.15);
    } else {
        pair_loss_of<LogisticPair, T>(a, 1.0);
    }
}

template <typename T>
static void one_hot_run(const void* args, Ctx&) {
    const one_hot_args& a = *static_cast<const one_hot_args*>(args);
    const i64* labels = static_cast<const i64*>(a.labels.data);
    T* y = static_cast<T*>(a.y.data);
    const i64 M = a.y.shape[0], C = a.y.shape[1];
    parallel(M, 2.0 + 0.1 * double(C), [&](i64 begin, i64 end) {
        for (i64 m = begin; m < end; ++m) {
            T* __restrict row = y + m * C;
            for (i64 c = 0; c < C; ++c) row[c] = T(0);
            row[labels[m]] = T(1);
        }
    });
}

constexpr void add_softmax(Table& t) {
    add_simd<pair_loss_run<float>, pair_loss_run<double>>(t, op_pair_loss);
    add_simd<one_hot_run<float>, one_hot_run<double>>(t, op_one_hot);
    add_simd<softmax_run<float>, softmax_run<double>>(t, op_softmax);
    add_simd<softmax_dx_run<float>, softmax_dx_run<double>>(t, op_softmax_dx);
    add_simd<log_softmax_run<float>, log_softmax_run<double>>(t, op_log_softmax);
    add_simd<log_softmax_dx_run<float>, log_softmax_dx_run<double>>(t, op_log_softmax_dx);
    add_simd<softmax_xent_run<float>, softmax_xent_run<double>>(t, op_softmax_xent);
    add_simd<softmax_xent_dx_run<float>, softmax_xent_dx_run<double>>(t, op_softmax_xent_dx);
}
