// fft_ops.inl: the ops fft, rfft, irfft on the transforms of fft.inl: which way a shape goes, and real data.

enum FftKind : int { fft_complex, fft_forward_real, fft_backward_real };
enum FftWay : int { fft_by_columns, fft_by_rows, fft_by_line };

template <typename T>
struct FftJob {
    const T *x, *table, *real_table;  // real_table: see fft_real_twiddles
    T* y;
    i64 A, B, m, n;  // lines A x B; m elements in (numbers or complex numbers), n: length of the transform
    i64 in, out;     // elements of x that count, and of y
    FftKind kind;
    T scale;
    bool half;  // real transform of even length: a complex one of n/2
    FftPlan p;
    FftWay way;
    i64 groups;      // of lines
    i64 per_worker;  // elements of scratch; one line alone takes LineWork beside it
};

constexpr i64 kRowsUpTo = 256;         // rows longer than this go one by one
constexpr i64 kColumnsUpTo = 1 << 13;  // longer columns are copied out: their lane buffers would leave the caches

template <typename T>
static FftJob<T> fft_job(FftKind kind, i64 A, i64 B, i64 m, i64 n) {
    FftJob<T> j{};
    j.kind = kind;
    j.A = A, j.B = B, j.m = m, j.n = n;
    const i64 bins = n / 2 + 1, want = kind == fft_backward_real ? bins : n;
    j.in = m < want ? m : want;
    j.out = kind == fft_forward_real ? bins : n;
    j.half = kind != fft_complex && n % 2 == 0;
    j.p = fft_plan(j.half ? n / 2 : n);
    const i64 L = V<T>::L;
    j.way = fft_by_line;
    if (j.p.smooth && B >= kColumnsFrom && n <= kColumnsUpTo) {
        j.way = fft_by_columns;
        j.groups = A * ((B + L - 1) / L);
    } else if (j.p.smooth && B == 1 && (j.p.n2 == 1 || (A >= L / 2 && n <= kRowsUpTo))) {
        j.way = fft_by_rows;
        j.groups = (A + L - 1) / L;
    } else {
        j.groups = A * B;
    }
    j.per_worker = j.way == fft_by_line ? 3 * (2 * n + 2 * L) : 4 * 2 * (n + 2) * L;
    j.per_worker = (j.per_worker + 15) / 16 * 16;
    return j;
}

template <typename T>
static i64 fft_scratch(const FftJob<T>& j, const Ctx& ctx) {
    if (j.groups == 0) return 0;
    i64 elements = j.per_worker * workers_for(ctx, j.groups);
    if (j.way == fft_by_line) {
        const LineWork<T> lw(j.p);  // the whole team takes part in one line alone
        elements += j.groups == 1 ? lw.size(ctx.threads) : lw.size(1) * workers_for(ctx, j.groups);
    }
    return elements * i64(sizeof(T));
}

// --- L lines in step: complex lines of fft_complex go straight through, the others by the buffers c and d.
template <class VT, bool Inverse>
static void fft_columns(const FftJob<typename VT::T>& j, i64 a, i64 b, int lanes, typename VT::T* work) {
    using T = typename VT::T;
    const Source<VT, Inverse> in{j.x + (a * j.m * j.B + b) * 2, 2 * j.B, j.in, lanes};
    const Target<VT, Inverse> out{j.y + (a * j.n * j.B + b) * 2, 2 * j.B, lanes, VT::set(j.scale)};
    T* second = work + 2 * j.n * VT::L;
    lanes_fft<VT>(j.p.whole, j.table + j.p.lanes, in, out, work, second);
}

template <class VT, bool Inverse>
static void fft_rows(const FftJob<typename VT::T>& j, i64 row, int rows, typename VT::T* work) {
    using T = typename VT::T;
    constexpr i64 L = VT::L;
    T *c = work, *first = c + 2 * j.n * L, *second = first + 2 * j.n * L;
    gather_rows<VT>(j.x + row * 2 * j.m, 2 * j.m, rows, 2 * j.in, c);
    memset(c + 2 * j.in * L, 0, size_t(2 * (j.n - j.in) * L) * sizeof(T));
    const Lanes<VT, Inverse> ends{c, VT::set(j.scale)};
    lanes_fft<VT>(j.p.whole, j.table + j.p.lanes, ends, ends, first, second);
    scatter_rows<VT>(c, 2 * j.n, j.y + row * 2 * j.n, 2 * j.n, rows);
}

// Lines of numbers -> c: pairs (x[2i], x[2i+1]) or, for odd n, (x[i], 0).
template <class VT>
static void load_real_lanes(const FftJob<typename VT::T>& j, i64 a, i64 b, int lanes, typename VT::T* c,
                            typename VT::T* d) {
    using T = typename VT::T;
    constexpr i64 L = VT::L;
    T* to = j.half ? c : d;  // [n][L]
    if (j.way == fft_by_rows) {
        gather_rows<VT>(j.x + a * j.m, j.m, lanes, j.in, to);
    } else {
        const T* from = j.x + a * j.m * j.B + b;
        for (i64 i = 0; i < j.in; ++i) VT::store(to + i * L, VT::load_n(from + i * j.B, lanes));
    }
    memset(to + j.in * L, 0, size_t((j.n - j.in) * L) * sizeof(T));
    if (!j.half)
        for (i64 i = 0; i < j.n; ++i) Buffer<VT>{c}.put(i, VT::load(d + i * L), VT::zero());
}

template <class VT>
static void forward_real_lanes(const FftJob<typename VT::T>& j, i64 a, i64 b, int lanes, typename VT::T* work) {
    using T = typename VT::T;
    using R = typename VT::R;
    const i64 size = 2 * (j.n + 2) * VT::L;
    T *c = work, *d = c + size, *first = d + size, *second = first + size;
    load_real_lanes<VT>(j, a, b, lanes, c, d);
    const Lanes<VT, false> ends{c, VT::set(j.scale)};
    lanes_fft<VT>(j.p.whole, j.table + j.p.lanes, ends, ends, first, second);
    if (j.half) {
        real_lanes<VT, true>(c, d, j.n / 2, j.real_table);
        T* swap = c;
        c = d, d = swap;
    }
    if (j.way == fft_by_rows) return scatter_rows<VT>(c, 2 * j.out, j.y + a * 2 * j.out, 2 * j.out, lanes);
    const Target<VT, false> out{j.y + (a * j.out * j.B + b) * 2, 2 * j.B, lanes, VT::set(T(1))};
    for (i64 k = 0; k < j.out; ++k) {
        R re, im;
        Buffer<VT>::load(c, k, re, im);
        out.put(k, re, im);
    }
}

template <class VT>
static void backward_real_lanes(const FftJob<typename VT::T>& j, i64 a, i64 b, int lanes, typename VT::T* work) {
    using T = typename VT::T;
    using R = typename VT::R;
    constexpr i64 L = VT::L;
    const i64 size = 2 * (j.n + 2) * L, bins = j.n / 2 + 1;
    T *c = work, *d = c + size, *first = d + size, *second = first + size;
    R re, im;
    if (j.way == fft_by_rows) {
        gather_rows<VT>(j.x + a * 2 * j.m, 2 * j.m, lanes, 2 * j.in, c);
        memset(c + 2 * j.in * L, 0, size_t(2 * (bins - j.in) * L) * sizeof(T));
    } else {
        const Source<VT, false> in{j.x + (a * j.m * j.B + b) * 2, 2 * j.B, j.in, lanes};
        for (i64 k = 0; k < bins; ++k) {
            in.get(k, re, im);
            Buffer<VT>{c}.put(k, re, im);
        }
    }
    if (j.half) {
        real_lanes<VT, false>(c, d, j.n / 2, j.real_table);
    } else {
        Buffer<VT>::load(c, 0, re, im);
        Buffer<VT>{d}.put(0, re, VT::zero());
        for (i64 k = 1; k < bins; ++k) {
            Buffer<VT>::load(c, k, re, im);
            Buffer<VT>{d}.put(k, re, im);
            Buffer<VT>{d}.put(j.n - k, re, -im);
        }
    }
    const Lanes<VT, true> ends{d, VT::set(j.scale)};
    lanes_fft<VT>(j.p.whole, j.table + j.p.lanes, ends, ends, first, second);
    const i64 step = j.half ? L : 2 * L;  // from one number of a line to the next
    if (j.way == fft_by_rows) {
        if (!j.half)
            for (i64 i = 1; i < j.n; ++i) VT::store(d + i * L, VT::load(d + i * step));
        return scatter_rows<VT>(d, j.n, j.y + a * j.n, j.n, lanes);
    }
    T* to = j.y + a * j.n * j.B + b;
    for (i64 i = 0; i < j.n; ++i) VT::store_n(to + i * j.B, VT::load(d + i * step), lanes);
}

// --- one line: copied to `in` when it has gaps or is short; `spare` and `out` are as long.
template <typename T>
static const T* take_line(const T* x, i64 stride, i64 width, i64 have, i64 want, i64 length, T* in) {
    if (stride == width && have == want) return x;
    for (i64 i = 0; i < have; ++i)
        for (i64 e = 0; e < width; ++e) in[i * width + e] = x[i * stride + e];
    memset(in + have * width, 0, size_t((length - have) * width) * sizeof(T));
    return in;
}
template <typename T>
static void give_line(const T* out, T* y, i64 stride, i64 width, i64 n) {
    if (out == y) return;
    for (i64 i = 0; i < n; ++i)
        for (i64 e = 0; e < width; ++e) y[i * stride + e] = out[i * width + e];
}

template <typename T, bool Inverse>
static void fft_line(const FftJob<T>& j, i64 line, T* ends, T* work, bool team) {
    const i64 a = line / j.B, b = line % j.B, B = j.B, n = j.n, size = 2 * n + 2 * V<T>::L, bins = n / 2 + 1;
    T *in = ends, *out = in + size, *spare = out + size;
    if (j.kind == fft_complex) {
        const T* x = take_line(j.x + (a * j.m * B + b) * 2, 2 * B, i64(2), j.in, n, n, in);
        T* y = j.y + (a * n * B + b) * 2;
        T* to = B == 1 ? y : out;
        any_line<T, Inverse>(j.p, j.table, x, to, j.scale, work, team);
        give_line(to, y, 2 * B, 2, n);
    } else if (j.kind == fft_forward_real) {
        const T* x = take_line(j.x + a * j.m * B + b, B, i64(1), j.in, n, n, in);
        T* y = j.y + (a * bins * B + b) * 2;
        T* to = B == 1 && j.half ? y : out;
        if (j.half) {
            any_line<T, false>(j.p, j.table, x, to, j.scale, work, team);
            real_line<T, true>(to, to, n / 2, j.real_table);
        } else {
            for (i64 i = 0; i < n; ++i) spare[2 * i] = x[i], spare[2 * i + 1] = T(0);
            any_line<T, false>(j.p, j.table, spare, to, j.scale, work, team);
        }
        give_line(to, y, 2 * B, 2, bins);
    } else {
        const T* x = take_line(j.x + (a * j.m * B + b) * 2, 2 * B, i64(2), j.in, bins, bins, in);
        T* y = j.y + a * n * B + b;
        if (j.half) {
            T* to = B == 1 ? y : out;
            real_line<T, false>(x, spare, n / 2, j.real_table);
            any_line<T, true>(j.p, j.table, spare, to, j.scale, work, team);
            give_line(to, y, B, 1, n);
        } else {
            spare[0] = x[0], spare[1] = T(0);
            for (i64 k = 1; k < bins; ++k) {
                spare[2 * k] = spare[2 * (n - k)] = x[2 * k];
                spare[2 * k + 1] = x[2 * k + 1];
                spare[2 * (n - k) + 1] = -x[2 * k + 1];
            }
            any_line<T, true>(j.p, j.table, spare, out, j.scale, work, team);
            for (i64 i = 0; i < n; ++i) y[i * B] = out[2 * i];
        }
    }
}

template <typename T, bool Inverse>
static void fft_all(const FftJob<T>& j, T* work) {
    constexpr i64 L = V<T>::L;
    double bits = 1;
    for (i64 n = j.n; n > 1; n /= 2) bits += 1;
    const double cost = 0.25 * bits * double(j.n);
    if (j.way == fft_by_line) {
        const LineWork<T> lw(j.p);
        if (j.groups == 1) return fft_line<T, Inverse>(j, 0, work, work + j.per_worker, true);
        const i64 stride = j.per_worker + lw.size(1);
        parallel(j.groups, cost, [&](i64 begin, i64 end) {
            T* own = work + worker_index() * stride;
            for (i64 u = begin; u < end; ++u) fft_line<T, Inverse>(j, u, own, own + j.per_worker, false);
        });
        return;
    }
    const bool columns = j.way == fft_by_columns;
    const i64 width = columns ? j.B : j.A, pieces = (width + L - 1) / L;
    parallel(j.groups, cost * double(L), [&](i64 begin, i64 end) {
        T* own = work + worker_index() * j.per_worker;
        for (i64 u = begin; u < end; ++u) {
            const i64 first = u % pieces * L, a = columns ? u / pieces : first, b = columns ? first : 0;
            const int lanes = int(width - first < L ? width - first : L);
            if (j.kind == fft_forward_real) {
                forward_real_lanes<V<T>>(j, a, b, lanes, own);
            } else if (j.kind == fft_backward_real) {
                backward_real_lanes<V<T>>(j, a, b, lanes, own);
            } else if (columns) {
                fft_columns<V<T>, Inverse>(j, a, b, lanes, own);
            } else {
                fft_rows<V<T>, Inverse>(j, a, lanes, own);
            }
        }
    });
}

// --- the ops
template <typename T>
static FftJob<T> job_of(const fft_args& a) {
    return fft_job<T>(fft_complex, a.x.shape[0], a.x.shape[2], a.x.shape[1], a.y.shape[1]);
}
template <typename T>
static FftJob<T> job_of(const rfft_args& a) {
    return fft_job<T>(fft_forward_real, a.x.shape[0], a.x.shape[2], a.x.shape[1], a.n);
}
template <typename T>
static FftJob<T> job_of(const irfft_args& a) {
    return fft_job<T>(fft_backward_real, a.x.shape[0], a.x.shape[2], a.x.shape[1], a.y.shape[1]);
}

template <typename T, typename Args>
static i64 fft_work(const void* args, const Ctx& ctx) {
    return fft_scratch<T>(job_of<T>(*static_cast<const Args*>(args)), ctx);
}

template <typename T, typename Args>
static void fft_run(const void* args, Ctx&) {
    const Args& a = *static_cast<const Args*>(args);
    FftJob<T> j = job_of<T>(a);
    if (j.A * j.B == 0) return;
    j.x = static_cast<const T*>(a.x.data);
    j.table = static_cast<const T*>(a.table.data);
    j.real_table = j.table + j.p.size;
    j.y = static_cast<T*>(a.y.data);
    j.scale = T(a.scale);
    bool inverse = false;
    if constexpr (__is_same(Args, fft_args)) inverse = a.inverse != 0;
    if (inverse) {
        fft_all<T, true>(j, static_cast<T*>(a.work.data));
    } else {
        fft_all<T, false>(j, static_cast<T*>(a.work.data));
    }
}

template <typename Args>
struct FftImpls {
    static constexpr Impl impl[kNumFloatDTypes] = {
        {"simd", fft_run<float, Args>, fft_work<float, Args>, nullptr, nullptr},
        {"simd", fft_run<double, Args>, fft_work<double, Args>, nullptr, nullptr}};
};

template <typename Args>
constexpr void add_transform(Table& t, OpId op) {
    t.entry[op][f32] = {&FftImpls<Args>::impl[f32], 1};
    t.entry[op][f64] = {&FftImpls<Args>::impl[f64], 1};
}

constexpr void add_fft(Table& t) {
    add_transform<fft_args>(t, op_fft);
    add_transform<rfft_args>(t, op_rfft);
    add_transform<irfft_args>(t, op_irfft);
}
