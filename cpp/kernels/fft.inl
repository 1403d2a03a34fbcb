// fft.inl: discrete Fourier transforms along the middle axis. fft: x [A,m,B,2] -> y [A,n,B,2]; rfft: x [A,m,B] ->
// y [A,n/2+1,B,2]; irfft back. Input beyond its end counts as zero, input too long is cut. Promises: the bits of a line
// depend on n, on A = 1 or more, and on B; no thread count changes them.
//
// Two ways through the butterflies of fft_pass.inl, by shape:
//   lanes   L neighbouring lines (B >= kColumnsFrom), or L short rows after a transposition, all in step;
//   line    one line as a matrix [n1][n2]: columns in step, times e^(-2 pi i k1 i2 / n), turned, rows in step. D. H.
//           Bailey, FFTs in external or hierarchical memory, J. Supercomputing 4, 1990.
// Primes above 13: L. I. Bluestein, A linear filtering approach to the computation of the DFT, 1970.

constexpr i64 kColumnsFrom = 4;  // lines side by side from which they are computed in step

// H<T> where the widest vector would leave a quarter of its lanes empty or more.
template <typename T>
static inline bool use_half(i64 n) {
    constexpr i64 v = V<T>::L, h = H<T>::L;
    return h < v && 4 * ((n + h - 1) / h * h) <= 3 * ((n + v - 1) / v * v);
}

template <typename T>
static inline i64 rounded(i64 n) {
    return (n + V<T>::L - 1) / V<T>::L * V<T>::L;
}

// Elements of one lane buffer for transforms of up to n points.
template <typename T>
static inline i64 lane_buffer(i64 n) {
    return 2 * rounded<T>(n) * V<T>::L;
}

// Scratch of one smooth line: three lane buffers per worker, and the turned matrix.
template <typename T>
static inline i64 line_buffers(const FftPlan& p) {
    return 3 * lane_buffer<T>(p.n1 > p.n2 ? p.n1 : p.n2);
}
template <typename T>
static inline i64 line_matrix(const FftPlan& p) {
    return p.n2 == 1 ? 0 : 2 * rounded<T>(p.n1) * p.n2;
}

// --- rows to lanes and back: buf [len][L] from and to rows [L][len]; lanes from `rows` on stay as they are.
template <class VT>
static void gather_rows(const typename VT::T* x, i64 stride, int rows, i64 len, typename VT::T* buf) {
    using T = typename VT::T;
    constexpr int L = VT::L, Q = kQuad<VT>;
    i64 e = 0;
    if (rows == L) {
        for (; e + Q <= len; e += Q) {
            typename VT::R t[Q];
            load_transposed(x + e, stride, t);
            for (int q = 0; q < Q; ++q) VT::store(buf + (e + q) * L, t[q]);
        }
    }
    for (; e < len; ++e) {
        T* at = buf + e * L;
        for (int r = 0; r < rows; ++r) at[r] = x[r * stride + e];
        for (int r = rows; r < L; ++r) at[r] = T(0);
    }
}
template <class VT>
static void scatter_rows(const typename VT::T* buf, i64 len, typename VT::T* y, i64 stride, int rows) {
    constexpr int L = VT::L, Q = kQuad<VT>;
    i64 e = 0;
    for (; e + L <= len; e += L) {
        for (int r = 0; r < rows; r += Q) {
            typename VT::R t[Q];
            load_transposed(buf + e * L + r, L, t);
            for (int q = 0; q < Q && r + q < rows; ++q) VT::store(y + (r + q) * stride + e, t[q]);
        }
    }
    for (; e < len; ++e)
        for (int r = 0; r < rows; ++r) y[r * stride + e] = buf[e * L + r];
}

// --- a line of smooth length
// Columns i2 .. i2 + L of the matrix, transformed, twiddled and turned into t [n1/L2][n2][re, im][L2].
template <class V1, class V2, bool Inverse>
static void line_columns(const FftPlan& p, const typename V1::T* table, const typename V1::T* x, typename V1::T* t,
                         i64 block, typename V1::T* work) {
    using T = typename V1::T;
    constexpr int L1 = V1::L, L2 = V2::L, Q = kQuad<V2>;
    const i64 i2 = block * L1, size = lane_buffer<T>(p.n1 > p.n2 ? p.n1 : p.n2);
    const int lanes = int(p.n2 - i2 < L1 ? p.n2 - i2 : L1);
    T *a = work, *b = a + size, *c = b + size;
    const Source<V1, Inverse> in{x + 2 * i2, 2 * p.n2, p.n1, lanes};
    const Twiddled<V1> out{c, table + p.outer + i2, table + p.outer + p.length + i2, p.n2, lanes};
    lanes_fft<V1>(p.rows, table + p.row_twiddles, in, out, a, b);
    for (i64 k = 0; k < p.n1; k += L2) {
        for (int part = 0; part < 2; ++part) {
            const T* from = c + k * 2 * L1 + part * L1;
            T* to = t + (k * p.n2 + i2 * L2) * 2 + part * L2;
            int q = 0;
            if constexpr (kHasLines<V2> && L1 == L2) {
                if (lanes == L1) {
                    typename V2::R v[L2];
                    load_transposed_lines(from, 2 * L1, v);
#pragma GCC unroll 16
                    for (int e = 0; e < L2; ++e) V2::store(to + e * 2 * L2, v[e]);
                    continue;
                }
            }
            for (; q < lanes; q += Q) {
                typename V2::R v[Q];
                load_transposed(from + q, 2 * L1, v);
                for (int e = 0; e < Q && q + e < lanes; ++e) V2::store(to + (q + e) * 2 * L2, v[e]);
            }
        }
    }
}

// Rows k .. k + L of the turned matrix, transformed into y.
template <class V2, bool Inverse>
static void line_rows(const FftPlan& p, const typename V2::T* table, typename V2::T* t, typename V2::T* y,
                      typename V2::T scale, i64 block, typename V2::T* work) {
    using T = typename V2::T;
    const i64 k = block * V2::L, size = lane_buffer<T>(p.n1 > p.n2 ? p.n1 : p.n2);
    const int lanes = int(p.n1 - k < V2::L ? p.n1 - k : V2::L);
    const Target<V2, Inverse> out{y + 2 * k, 2 * p.n1, lanes, V2::set(scale)};
    lanes_fft<V2>(p.columns, table + p.column_twiddles, Buffer<V2>{t + k * p.n2 * 2}, out, work, work + size);
}

template <class V1, class V2, bool Inverse>
static void split_line(const FftPlan& p, const typename V1::T* table, const typename V1::T* x, typename V1::T* y,
                       typename V1::T scale, typename V1::T* t, typename V1::T* buffers, bool team) {
    const i64 first = (p.n2 + V1::L - 1) / V1::L, second = (p.n1 + V2::L - 1) / V2::L;
    const i64 size = line_buffers<typename V1::T>(p);
    if (!team) {
        for (i64 b = 0; b < first; ++b) line_columns<V1, V2, Inverse>(p, table, x, t, b, buffers);
        for (i64 b = 0; b < second; ++b) line_rows<V2, Inverse>(p, table, t, y, scale, b, buffers);
        return;
    }
    parallel(first, 8.0 * double(p.n1) * V1::L / 4, [&](i64 begin, i64 end) {
        for (i64 b = begin; b < end; ++b)
            line_columns<V1, V2, Inverse>(p, table, x, t, b, buffers + worker_index() * size);
    });
    parallel(second, 8.0 * double(p.n2) * V2::L / 4, [&](i64 begin, i64 end) {
        for (i64 b = begin; b < end; ++b)
            line_rows<V2, Inverse>(p, table, t, y, scale, b, buffers + worker_index() * size);
    });
}

// y [n] = scale * transform of x [n], both contiguous. t: the turned matrix; buffers: line_buffers, one per worker if
// the team takes part.
template <typename T, bool Inverse>
static void smooth_line(const FftPlan& p, const T* table, const T* x, T* y, T scale, T* t, T* buffers, bool team) {
    if (p.n2 == 1) {
        const Source<H<T>, Inverse> in{x, 2, p.length, 1};
        const Target<H<T>, Inverse> out{y, 2, 1, H<T>::set(scale)};
        const i64 size = lane_buffer<T>(p.n1);
        lanes_fft<H<T>>(p.whole, table + p.lanes, in, out, buffers, buffers + size);
        return;
    }
    const bool h1 = use_half<T>(p.n2), h2 = use_half<T>(p.n1);
    if (h1 && h2) {
        split_line<H<T>, H<T>, Inverse>(p, table, x, y, scale, t, buffers, team);
    } else if (h1) {
        split_line<H<T>, V<T>, Inverse>(p, table, x, y, scale, t, buffers, team);
    } else if (h2) {
        split_line<V<T>, H<T>, Inverse>(p, table, x, y, scale, t, buffers, team);
    } else {
        split_line<V<T>, V<T>, Inverse>(p, table, x, y, scale, t, buffers, team);
    }
}

// --- any length
// y = x * w, complex numbers [n]; swapped (re and im of) x or y; times scale.
template <typename T, bool SwapIn, bool SwapOut>
static void multiply_line(const T* x, const T* w, T* y, i64 n, T scale) {
    using VT = V<T>;
    using R = typename VT::R;
    constexpr int L = VT::L;
    for (i64 k = 0; k < n; k += L) {
        const int lanes = int(n - k < L ? n - k : L);
        R a, b, c, s;
        Source<VT, SwapIn>{x + 2 * k, 0, 1, lanes}.get(0, a, b);
        Source<VT, false>{w + 2 * k, 0, 1, lanes}.get(0, c, s);
        const R bs = b * s, as = a * s;
        Target<VT, SwapOut>{y + 2 * k, 0, lanes, VT::set(scale)}.put(0, VT::fma(a, c, -bs), VT::fma(b, c, as));
    }
}

// Where a line keeps its things: in T elements, for one line at a time.
template <typename T>
struct LineWork {
    i64 matrix, buffers, ends;  // ends: 2 (Bluestein) padded lines
    explicit LineWork(const FftPlan& p)
        : matrix(line_matrix<T>(p)), buffers(line_buffers<T>(p)), ends(p.smooth ? 0 : 4 * p.length) {}
    i64 size(i64 workers) const { return matrix + ends + buffers * workers; }
};

template <typename T, bool Inverse>
static void any_line(const FftPlan& p, const T* table, const T* x, T* y, T scale, T* work, bool team) {
    const LineWork<T> lw(p);
    T *t = work, *u = t + lw.matrix, *buffers = u + lw.ends;
    if (p.smooth) return smooth_line<T, Inverse>(p, table, x, y, scale, t, buffers, team);
    T* v = u + 2 * p.length;
    multiply_line<T, Inverse, false>(x, table + p.chirp, u, p.n, T(1));
    memset(u + 2 * p.n, 0, size_t(2 * (p.length - p.n)) * sizeof(T));
    smooth_line<T, false>(p, table, u, v, T(1), t, buffers, team);
    multiply_line<T, false, false>(v, table + p.filter, v, p.length, T(1));
    smooth_line<T, true>(p, table, v, u, T(1), t, buffers, team);
    multiply_line<T, false, Inverse>(u, table + p.chirp, y, p.n, scale);
}

// --- halves of a real transform. Z [h] is the transform of the even samples plus i times that of the odd ones, X
// [h + 1] that of all, h = n/2; with a = Z[k], b = Z[h-k], w = c + i s = e^(-2 pi i k / n):
//   X[k], X[h-k] = E + w O, conj(E - w O)    E = (a + conj b)/2, O = -i (a - conj b)/2
// and back, twice Z: Z[k], Z[h-k] = E' + P, conj(E' - P)    E' = a + conj b, P = i conj(w) (a - conj b), from X.
template <bool Forward, typename R>
RB_INLINE void real_pair(R& ar, R& ai, R& br, R& bi, R c, R s, R half) {
    const R er = ar + br, ei = ai - bi, dr = ar - br, di = ai + bi;
    if constexpr (Forward) {
        const R pr = c * di + s * dr, pi = s * di - c * dr;
        ar = half * (er + pr), ai = half * (ei + pi);
        br = half * (er - pr), bi = half * (pi - ei);
    } else {
        const R pr = s * dr - c * di, pi = s * di + c * dr;
        ar = er + pr, ai = ei + pi;
        br = er - pr, bi = pi - ei;
    }
}

// Forward: z, x [h + 1] may be the same memory. Backward reads x [h + 1], writes z [h]. w: see fft_real_twiddles.
template <typename T, bool Forward>
static void real_line(const T* from, T* to, i64 h, const T* w) {
    using VT = V<T>;
    using R = typename VT::R;
    constexpr int L = VT::L;
    const i64 count = h / 2 + 1;  // = n/4 + 1
    const T *wr = w, *wi = w + count;
    if (Forward) {
        const T a = from[0], b = from[1];
        to[0] = a + b, to[1] = T(0);
        to[2 * h] = a - b, to[2 * h + 1] = T(0);
    } else {
        const T a = from[0], b = from[2 * h];
        to[0] = a + b, to[1] = a - b;
    }
    i64 k = 1;
    for (; k + L - 1 < h - k - L + 1; k += L) {
        const T *pa = from + 2 * k, *pb = from + 2 * (h - k - L + 1);
        R ar, ai, br, bi, u, v;
        split_pairs(VT::load(pa), VT::load(pa + L), ar, ai);
        split_pairs(VT::load(pb), VT::load(pb + L), br, bi);
        br = reversed(br), bi = reversed(bi);
        real_pair<Forward>(ar, ai, br, bi, VT::load(wr + k), VT::load(wi + k), VT::set(T(0.5)));
        T *qa = to + 2 * k, *qb = to + 2 * (h - k - L + 1);
        join_pairs(ar, ai, u, v);
        VT::store(qa, u), VT::store(qa + L, v);
        join_pairs(reversed(br), reversed(bi), u, v);
        VT::store(qb, u), VT::store(qb + L, v);
    }
    for (; k <= h - k; ++k) {
        T ar = from[2 * k], ai = from[2 * k + 1], br = from[2 * (h - k)], bi = from[2 * (h - k) + 1];
        real_pair<Forward>(ar, ai, br, bi, wr[k], wi[k], T(0.5));
        to[2 * (h - k)] = br, to[2 * (h - k) + 1] = bi;
        to[2 * k] = ar, to[2 * k + 1] = ai;
    }
}

// The same for L lanes: buffers [h + 1][re, im][L].
template <class VT, bool Forward>
static void real_lanes(const typename VT::T* from, typename VT::T* to, i64 h, const typename VT::T* w) {
    using R = typename VT::R;
    using T = typename VT::T;
    const Buffer<VT> out{to};
    R a, b, c, d;
    Buffer<VT>::load(from, 0, a, b);
    if (Forward) {
        out.put(0, a + b, VT::zero());
        out.put(h, a - b, VT::zero());
    } else {
        Buffer<VT>::load(from, h, c, d);
        out.put(0, a + c, a - c);
    }
    for (i64 k = 1; k <= h - k; ++k) {
        Buffer<VT>::load(from, k, a, b);
        Buffer<VT>::load(from, h - k, c, d);
        real_pair<Forward>(a, b, c, d, VT::set(w[k]), VT::set(w[h / 2 + 1 + k]), VT::set(T(0.5)));
        out.put(h - k, c, d);
        out.put(k, a, b);
    }
}
