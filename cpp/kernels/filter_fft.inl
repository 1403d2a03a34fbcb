// filter_fft.inl: filter2d by Fourier transforms of overlapping tiles (overlap-save). A tile [TH,TW] of the extended
// image gives (TH-R+1) x (TW-S+1) results: rows transformed, then columns, L in step, each transformed, multiplied by
// the kernel's spectrum and transformed back while it is in the first caches, then rows back. T. G. Stockham,
// High-speed convolution and correlation, AFIPS 1966. Promise: results are off by rounding in proportion to the tile's
// largest values, not to each pixel's; a NaN or infinity spreads over its tile.

template <typename T>
struct FftFilter {
    FilterTiles<T> t;
    FftPlan rows, columns;  // of TW/2 complex numbers and of TH
    i64 TH, TW, bins;
    i64 group;                      // rows transformed at once: L in step, or 1
    i64 width, row;                 // elements of a row of the tile, and of its spectrum
    i64 tile, pixels, ends, lanes;  // scratch of a worker: spectrum, `group` rows, a row of all channels, buffers
    i64 own, spectrum;              // all of that; the kernel's spectrum, shared
};

constexpr i64 kRowsTogether = 1024;  // up to this width, rows go in step: their buffers stay in the second-level cache

template <typename T>
static FftFilter<T> fft_filter(const filter2d_fft_args& a) {
    FftFilter<T> f{};
    const i64 R = a.w.shape[0], S = a.w.shape[1];
    f.TH = a.tile_h, f.TW = a.tile_w;
    f.bins = f.TW / 2 + 1;
    f.rows = fft_plan(f.TW / 2);
    f.columns = fft_plan(f.TH);
    f.row = 2 * rounded<T>(f.bins);
    FilterTiles<T>& t = f.t;
    t.N = a.x.shape[0], t.H = a.x.shape[1], t.W = a.x.shape[2], t.C = a.x.shape[3];
    t.P = a.y.shape[1], t.Q = a.y.shape[2], t.R = R, t.S = S;
    t.strip = f.TH - R + 1, t.width = f.TW - S + 1;
    t.strips = (t.P + t.strip - 1) / t.strip;
    t.widths = (t.Q + t.width - 1) / t.width;
    constexpr i64 L = V<T>::L;
    f.group = f.rows.smooth && f.TW <= kRowsTogether && f.TH >= L / 2 ? L : 1;
    f.width = rounded<T>(f.TW);
    f.tile = (f.TH + L) * f.row;  // groups read L rows, whatever the last ones hold
    f.pixels = f.group * f.width;
    f.ends = rounded<T>(f.TW * t.C);
    const i64 columns = 3 * 2 * f.TH * L, rows = 4 * (f.TW + 2) * L,
              line = f.width + 2 * L + LineWork<T>(f.rows).size(1);
    const i64 most = f.group > 1 ? rows : line;
    f.lanes = columns > most ? columns : most;
    f.own = f.tile + f.pixels + f.ends + f.lanes;
    f.spectrum = f.TH * f.row;
    return f;
}

// One group of columns from bin g on: there, times `spectrum` [TH][re, im][L], and back; or only there (the kernel's).
template <class VT>
static void filter_columns(const FftFilter<typename VT::T>& f, const typename VT::T* table, typename VT::T* tile, i64 g,
                           i64 used, typename VT::T* spectrum, bool kernel, typename VT::T* lanes) {
    using T = typename VT::T;
    constexpr int L = VT::L;
    const FftStages& st = f.columns.whole;
    const T* w = table + f.columns.lanes;
    T *c = lanes, *first = c + 2 * f.TH * L, *second = first + 2 * f.TH * L;
    const Source<VT, false> in{tile + 2 * g, f.row, used, L};
    if (kernel) {
        const T scale = T(1) / (T(f.TH) * T(f.TW));
        return lanes_fft<VT>(st, w, in, Lanes<VT, false>{spectrum, VT::set(scale)}, first, second);
    }
    lanes_fft<VT>(st, w, in, Twiddled<VT>{c, spectrum, spectrum + L, 2 * L, L}, first, second);
    const Target<VT, true> out{tile + 2 * g, f.row, L, VT::set(T(1))};
    lanes_fft<VT>(st, w, Lanes<VT, true>{c, VT::set(T(1))}, out, first, second);
}

template <typename T>
static void filter_all_columns(const FftFilter<T>& f, const T* table, T* tile, i64 used, T* spectrum, bool kernel,
                               T* lanes) {
    constexpr i64 L = V<T>::L;
    i64 g = 0;
    for (; g + H<T>::L < f.bins; g += L)
        filter_columns<V<T>>(f, table, tile, g, used, spectrum + 2 * g * f.TH, kernel, lanes);
    if (g < f.bins) filter_columns<H<T>>(f, table, tile, g, used, spectrum + 2 * g * f.TH, kernel, lanes);
}

// `count` <= group rows of pixels [TW] -> rows of the tile's spectrum. Rows of the group beyond them must exist.
template <typename T>
static void rows_there(const FftFilter<T>& f, const T* table, const T* pixels, i64 count, T* to, T* work) {
    using VT = V<T>;
    if (f.group == 1) {
        any_line<T, false>(f.rows, table, pixels, to, T(1), work, false);
        real_line<T, true>(to, to, f.TW / 2, table + f.rows.size);
    } else {
        const i64 size = (f.TW + 2) * VT::L;
        T *c = work, *d = c + size, *first = d + size, *second = first + size;
        const Lanes<VT, false> ends{c, VT::set(T(1))};
        gather_rows<VT>(pixels, f.width, VT::L, f.TW, c);
        lanes_fft<VT>(f.rows.whole, table + f.rows.lanes, ends, ends, first, second);
        real_lanes<VT, true>(c, d, f.TW / 2, table + f.rows.size);
        scatter_rows<VT>(d, 2 * f.bins, to, f.row, int(count));
    }
    for (i64 i = 0; i < count; ++i)
        for (i64 e = 2 * f.bins; e < f.row; ++e) to[i * f.row + e] = T(0);
}

// And back.
template <typename T>
static void rows_back(const FftFilter<T>& f, const T* table, const T* from, i64 count, T* pixels, T* work) {
    using VT = V<T>;
    if (f.group == 1) {
        T* line = work + f.width + 2 * VT::L;
        real_line<T, false>(from, work, f.TW / 2, table + f.rows.size);
        return any_line<T, true>(f.rows, table, work, pixels, T(1), line, false);
    }
    const i64 size = (f.TW + 2) * VT::L;
    T *c = work, *d = c + size, *first = d + size, *second = first + size;
    const Lanes<VT, true> ends{d, VT::set(T(1))};
    gather_rows<VT>(from, f.row, VT::L, 2 * f.bins, c);
    real_lanes<VT, false>(c, d, f.TW / 2, table + f.rows.size);
    lanes_fft<VT>(f.rows.whole, table + f.rows.lanes, ends, ends, first, second);
    scatter_rows<VT>(d, f.TW, pixels, f.width, int(count));
}

template <typename T>
static i64 filter2d_fft_work(const void* args, const Ctx& ctx) {
    const FftFilter<T> f = fft_filter<T>(*static_cast<const filter2d_fft_args*>(args));
    return (f.spectrum + tile_scratch(f.t, ctx, f.own)) * i64(sizeof(T));
}

template <typename T>
static void filter2d_fft_run(const void* args, Ctx&) {
    const filter2d_fft_args& a = *static_cast<const filter2d_fft_args*>(args);
    if (numel(a.y) == 0) return;
    const FftFilter<T> f = fft_filter<T>(a);
    const FilterTiles<T>& t = f.t;
    const T *x = static_cast<const T*>(a.x.data), *w = static_cast<const T*>(a.w.data);
    const T *across = static_cast<const T*>(a.table_w.data), *down = static_cast<const T*>(a.table_h.data);
    T *y = static_cast<T*>(a.y.data), *spectrum = static_cast<T*>(a.work.data), *scratch = spectrum + f.spectrum;
    const i64 R = t.R, S = t.S, C = t.C;
    const i64 G = f.group;
    {  // the flipped kernel's spectrum
        T *tile = scratch, *pixels = tile + f.tile, *work = pixels + f.pixels + f.ends;
        for (i64 r = 0; r < R; r += G) {
            memset(pixels, 0, size_t(f.pixels) * sizeof(T));
            const i64 n = R - r < G ? R - r : G;
            for (i64 i = 0; i < n; ++i)
                for (i64 s = 0; s < S; ++s) pixels[i * f.width + s] = w[(R - 1 - r - i) * S + S - 1 - s];
            rows_there(f, across, pixels, n, tile + r * f.row, work);
        }
        filter_all_columns(f, down, tile, R, spectrum, true, work);
    }
    double bits = 1;
    for (i64 n = f.TH * f.TW; n > 1; n /= 2) bits += 1;
    const double cost = 0.3 * bits * double(f.TH * f.TW * C);
    parallel(t.N * t.strips * t.widths, cost, [&](i64 begin, i64 end) {
        T *tile = scratch + worker_index() * f.own, *pixels = tile + f.tile;
        T *ends = pixels + f.pixels, *work = ends + f.ends;
        memset(pixels, 0, size_t(f.pixels) * sizeof(T));
        for (i64 u = begin; u < end; ++u) {
            const i64 q = u % t.widths * t.width, p = u / t.widths % t.strips * t.strip, n = u / t.widths / t.strips;
            const i64 rows = t.P - p < t.strip ? t.P - p : t.strip, columns = t.Q - q < t.width ? t.Q - q : t.width;
            const i64 used = rows + R - 1, count = columns + S - 1;
            for (i64 c = 0; c < C; ++c) {
                for (i64 i0 = 0; i0 < used; i0 += G) {
                    const i64 some = used - i0 < G ? used - i0 : G;
                    for (i64 i = 0; i < some; ++i) {
                        T *line = pixels + i * f.width, *to = C == 1 ? line : ends;
                        extended_row(x + n * t.H * t.W * C, t.H, t.W, C, p + i0 + i - a.top, q - a.left, count, a.mode,
                                     T(a.cval), to);
                        if (C > 1)
                            for (i64 e = 0; e < count; ++e) line[e] = ends[e * C + c];
                        memset(line + count, 0, size_t(f.TW - count) * sizeof(T));
                    }
                    rows_there(f, across, pixels, some, tile + i0 * f.row, work);
                }
                filter_all_columns(f, down, tile, used, spectrum, false, work);
                for (i64 i0 = 0; i0 < rows; i0 += G) {
                    const i64 some = rows - i0 < G ? rows - i0 : G;
                    rows_back(f, across, tile + (R - 1 + i0) * f.row, some, pixels, work);
                    for (i64 i = 0; i < some; ++i) {
                        const T* line = pixels + i * f.width + S - 1;
                        T* to = y + ((n * t.P + p + i0 + i) * t.Q + q) * C + c;
                        if (C == 1) {
                            memcpy(to, line, size_t(columns) * sizeof(T));
                        } else {
                            for (i64 e = 0; e < columns; ++e) to[e * C] = line[e];
                        }
                    }
                }
            }
        }
    });
}

// --- y = a * b or conj(a) * b, complex numbers as pairs; b [n,2] repeats along a, y [m,n,2]
template <typename T>
static void complex_mul_run(const void* args, Ctx&) {
    const complex_mul_args& a = *static_cast<const complex_mul_args*>(args);
    const T *x = static_cast<const T*>(a.a.data), *w = static_cast<const T*>(a.b.data);
    T* y = static_cast<T*>(a.y.data);
    using VT = V<T>;
    using R = typename VT::R;
    constexpr i64 L = VT::L;
    const i64 m = a.y.shape[0], n = a.y.shape[1], pieces = (n + 1023) / 1024;
    const R sign = VT::set(a.conj ? T(-1) : T(1));
    parallel(m * pieces, 1024.0, [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) {
            const i64 row = u / pieces * n, first = u % pieces * 1024, last = first + 1024 < n ? first + 1024 : n;
            for (i64 k = first; k < last; k += L) {
                const int lanes = int(last - k < L ? last - k : L);
                R p, q, c, s;
                Source<VT, false>{x + 2 * (row + k), 0, 1, lanes}.get(0, p, q);
                Source<VT, false>{w + 2 * k, 0, 1, lanes}.get(0, c, s);
                q = q * sign;
                const R qs = q * s, ps = p * s;
                Target<VT, false>{y + 2 * (row + k), 0, lanes, VT::set(T(1))}.put(0, VT::fma(p, c, -qs),
                                                                                  VT::fma(q, c, ps));
            }
        }
    });
}

constexpr void add_filter(Table& t) {
    add_with_work<filter2d_run<float>, filter2d_run<double>, filter2d_work<float>, filter2d_work<double>>(t,
                                                                                                          op_filter2d);
    add_with_work<filter2d_sep_run<float>, filter2d_sep_run<double>, filter2d_sep_work<float>,
                  filter2d_sep_work<double>>(t, op_filter2d_sep);
    add_with_work<filter2d_fft_run<float>, filter2d_fft_run<double>, filter2d_fft_work<float>,
                  filter2d_fft_work<double>>(t, op_filter2d_fft);
    add_simd<complex_mul_run<float>, complex_mul_run<double>>(t, op_complex_mul);
}
