// copy.inl: copy (both sides strided, x broadcast to y), fill, cast; and the loop nest shared with elementwise.inl.
// Promise: values move unchanged; the order of the copies never matters.

// A loop nest over y's index space: n operands (operand 0 is y), axes of length 1 dropped, neighbours merged where
// every operand allows it. ndim >= 1; axis ndim-1 is innermost.
constexpr int kOperands = 4;
struct Nest {
    int n, ndim;
    i64 shape[kMaxDims];
    i64 stride[kOperands][kMaxDims];  // in elements; 0 along broadcast axes
    i64 total;                        // product of shape
};

// by_output: order the axes by falling |stride| of y first (copy and fill, whose y may be permuted).
static inline void make_nest(Nest& nest, const View* const* v, int n, bool by_output) {
    const View& y = *v[0];
    i64 shape[kMaxDims], stride[kOperands][kMaxDims];
    int nd = 0;
    nest.n = n;
    nest.total = 1;
    for (int d = 0; d < y.ndim; ++d) {
        nest.total *= y.shape[d];
        if (y.shape[d] == 1) continue;
        shape[nd] = y.shape[d];
        for (int o = 0; o < n; ++o) {
            int e = d - (y.ndim - v[o]->ndim);
            stride[o][nd] = e >= 0 && v[o]->shape[e] != 1 ? v[o]->stride[e] : 0;
        }
        ++nd;
    }
    if (by_output) {  // insertion sort, stable
        for (int i = 1; i < nd; ++i) {
            for (int j = i; j > 0; --j) {
                i64 p = stride[0][j - 1], q = stride[0][j];
                if ((p < 0 ? -p : p) >= (q < 0 ? -q : q)) break;
                i64 s = shape[j];
                shape[j] = shape[j - 1];
                shape[j - 1] = s;
                for (int o = 0; o < n; ++o) {
                    i64 t = stride[o][j];
                    stride[o][j] = stride[o][j - 1];
                    stride[o][j - 1] = t;
                }
            }
        }
    }
    int k = 0;  // merged axes so far
    for (int d = 0; d < nd; ++d) {
        bool merge = k > 0;
        for (int o = 0; o < n && merge; ++o) merge = nest.stride[o][k - 1] == shape[d] * stride[o][d];
        if (merge) {
            nest.shape[k - 1] *= shape[d];
        } else {
            nest.shape[k++] = shape[d];
        }
        for (int o = 0; o < n; ++o) nest.stride[o][k - 1] = stride[o][d];
    }
    if (k == 0) {
        nest.shape[0] = 1;
        for (int o = 0; o < n; ++o) nest.stride[o][0] = 1;
        k = 1;
    }
    nest.ndim = k;
}

constexpr i64 kInnerChunk = 4096;  // elements of the inner axis handed out at once

// Runs body(off, len) over all rows: off[o] is the element offset of operand o at the row's first element, len <=
// kInnerChunk its length along the inner axis. cost: nanoseconds per element.
template <typename F>
void for_each_row(const Nest& nest, double cost, const F& body) {
    if (nest.total == 0) return;
    const int in = nest.ndim - 1;
    const i64 len = nest.shape[in], pieces = (len + kInnerChunk - 1) / kInnerChunk;
    const i64 rows = nest.total / len;
    const double unit = cost * double(len < kInnerChunk ? len : kInnerChunk) + 3.0;
    parallel(rows * pieces, unit, [&](i64 begin, i64 end) {
        i64 index[kMaxDims], off[kOperands] = {};  // multi-index of the row over the outer axes
        i64 row = begin / pieces, piece = begin % pieces;
        for (int d = in - 1; d >= 0; --d) {
            index[d] = row % nest.shape[d];
            row /= nest.shape[d];
            for (int o = 0; o < nest.n; ++o) off[o] += index[d] * nest.stride[o][d];
        }
        for (i64 u = begin; u < end; ++u) {
            i64 first = piece * kInnerChunk, n = len - first < kInnerChunk ? len - first : kInnerChunk;
            i64 at[kOperands];
            for (int o = 0; o < kOperands; ++o) at[o] = o < nest.n ? off[o] + first * nest.stride[o][in] : 0;
            body(at, n);
            if (++piece < pieces) continue;
            piece = 0;
            for (int d = in - 1; d >= 0; --d) {
                for (int o = 0; o < nest.n; ++o) off[o] += nest.stride[o][d];
                if (++index[d] < nest.shape[d]) break;
                for (int o = 0; o < nest.n; ++o) off[o] -= index[d] * nest.stride[o][d];
                index[d] = 0;
            }
        }
    });
}

// Runs body(begin, end) over [0, n) in chunks of whole 1024 elements. cost: nanoseconds per element.
template <typename F>
void for_each_chunk(i64 n, double cost, const F& body) {
    constexpr i64 kChunk = 1024;
    parallel((n + kChunk - 1) / kChunk, cost * double(n < kChunk ? n : kChunk), [&](i64 begin, i64 end) {
        i64 last = end * kChunk;
        body(begin * kChunk, last < n ? last : n);
    });
}

static inline i64 numel(const View& v) {
    i64 n = 1;
    for (int d = 0; d < v.ndim; ++d) n *= v.shape[d];
    return n;
}

// One Impl per dtype for kernels that take every shape and need no workspace.
template <KernelFn F32, KernelFn F64>
struct Simd {
    static constexpr Impl impl[kNumFloatDTypes] = {{"simd", F32, nullptr, nullptr, nullptr},
                                                   {"simd", F64, nullptr, nullptr, nullptr}};
};
template <KernelFn F32, KernelFn F64>
constexpr void add_simd(Table& t, OpId op) {
    t.entry[op][f32] = {&Simd<F32, F64>::impl[f32], 1};
    t.entry[op][f64] = {&Simd<F32, F64>::impl[f64], 1};
}

// y [n,m] rows contiguous (row stride ys) = transpose of x, whose axis 0 is contiguous and axis 1 has stride xs.
template <typename T>
static void copy_transposed(const T* x, i64 xs, T* y, i64 ys, i64 n, i64 m) {
    constexpr i64 kTile = 16;
    for (i64 j = 0; j < m; j += kTile) {
        const i64 mj = m - j < kTile ? m - j : kTile;
        i64 i = 0;
        if (mj == kTile) {
            for (; i + kTile <= n; i += kTile) {
                T tile[kTile][kTile];  // [column of x, row of x]
                for (i64 b = 0; b < kTile; ++b) memcpy(tile[b], x + i + (j + b) * xs, sizeof(tile[b]));
                for (i64 a = 0; a < kTile; ++a) {
                    T* __restrict out = y + (i + a) * ys + j;
                    for (i64 b = 0; b < kTile; ++b) out[b] = tile[b][a];
                }
            }
        }
        for (; i < n; ++i) {
            for (i64 b = 0; b < mj; ++b) y[i * ys + j + b] = x[i + (j + b) * xs];
        }
    }
}

template <typename T>
static void copy_row(const T* __restrict x, i64 xs, T* __restrict y, i64 ys, i64 n) {
    if (ys == 1 && xs == 1) {
        memcpy(y, x, size_t(n) * sizeof(T));
    } else if (ys == 1 && xs == 0) {
        const T value = *x;
        for (i64 i = 0; i < n; ++i) y[i] = value;
    } else if (ys == 1) {
        for (i64 i = 0; i < n; ++i) y[i] = x[i * xs];
    } else {
        for (i64 i = 0; i < n; ++i) y[i * ys] = x[i * xs];
    }
}

template <typename T>
static void copy_run(const void* args, Ctx&) {
    const copy_args& a = *static_cast<const copy_args*>(args);
    const T* x = static_cast<const T*>(a.x.data);
    T* y = static_cast<T*>(a.y.data);
    const View* views[2] = {&a.y, &a.x};
    Nest nest;
    make_nest(nest, views, 2, true);
    if (nest.total == 0) return;
    const int in = nest.ndim - 1;
    int across = -1;  // an outer axis along which x is contiguous while it is not along the inner one
    if (nest.stride[0][in] == 1 && nest.stride[1][in] != 1 && nest.stride[1][in] != 0) {
        for (int d = 0; d < in; ++d) {
            if (nest.stride[1][d] == 1) across = d;
        }
    }
    if (across < 0) {
        for_each_row(nest, 0.3, [&](const i64* at, i64 n) {
            copy_row(x + at[1], nest.stride[1][in], y + at[0], nest.stride[0][in], n);
        });
        return;
    }
    // Transpose planes [across, inner], strips of 16 lines at a time, for every index of the remaining axes.
    const i64 n = nest.shape[across], m = nest.shape[in], ys = nest.stride[0][across], xs = nest.stride[1][in];
    constexpr i64 kStrip = 64;
    const i64 strips = (n + kStrip - 1) / kStrip, planes = nest.total / (n * m);
    parallel(planes * strips, 0.6 * double(m) * double(n < kStrip ? n : kStrip), [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) {
            i64 plane = u / strips, i = u % strips * kStrip, xo = i, yo = i * ys;
            for (int d = in - 1; d >= 0; --d) {
                if (d == across) continue;
                xo += plane % nest.shape[d] * nest.stride[1][d];
                yo += plane % nest.shape[d] * nest.stride[0][d];
                plane /= nest.shape[d];
            }
            copy_transposed(x + xo, xs, y + yo, ys, n - i < kStrip ? n - i : kStrip, m);
        }
    });
}

template <typename T>
static void fill_run(const void* args, Ctx&) {
    const fill_args& a = *static_cast<const fill_args*>(args);
    T* y = static_cast<T*>(a.y.data);
    const T value = T(a.value);
    const View* views[1] = {&a.y};
    Nest nest;
    make_nest(nest, views, 1, true);
    const i64 ys = nest.stride[0][nest.ndim - 1];
    for_each_row(nest, 0.1, [&](const i64* at, i64 n) { copy_row(&value, 0, y + at[0], ys, n); });
}

template <typename From, typename To>
static void cast_chunks(const From* __restrict x, To* __restrict y, i64 n) {
    for_each_chunk(n, 0.3, [&](i64 begin, i64 end) {
        for (i64 i = begin; i < end; ++i) y[i] = To(x[i]);
    });
}

template <typename T>
static void cast_run(const void* args, Ctx&) {  // T: dtype of x
    const cast_args& a = *static_cast<const cast_args*>(args);
    const T* x = static_cast<const T*>(a.x.data);
    if (a.y.dtype == f32) {
        cast_chunks(x, static_cast<float*>(a.y.data), numel(a.y));
    } else {
        cast_chunks(x, static_cast<double*>(a.y.data), numel(a.y));
    }
}

constexpr void add_copy(Table& t) {
    add_simd<copy_run<float>, copy_run<double>>(t, op_copy);
    add_simd<fill_run<float>, fill_run<double>>(t, op_fill);
    add_simd<cast_run<float>, cast_run<double>>(t, op_cast);
}
