// conv2d_fft.inl: convolution of stride 1 and both its gradients by Fourier transforms of overlapping tiles, NHWC.
//
// Three sets of spectra, of which two are known and one is wanted (^ transformed, * conjugate):
//   conv2d     y^[m,k] = sum_c x^[m,c] w^[k,c]*     x in windows [TH,TW] that overlap by kernel - 1, y in tiles
//   conv2d_dx  dx^[m,c] = sum_k dy^[m,k] w^[k,c]    dy in windows, dx in tiles
//   conv2d_dw  dw^[k,c] = sum_m dy^[m,k]* x^[m,c]   x in windows, dy in tiles that do not overlap
// with m over the tiles of all images (overlap-save; T. G. Stockham, High-speed convolution and correlation, AFIPS
// 1966). Registers run over (tile, channel), for kernels over (channel, channel), so that no transform moves values
// between lanes. Rows are transformed first and kept as [bin][row][re, im][lanes]; then, bin by bin and in cache,
// columns are transformed, multiplied and transformed back. Products over channels are those of tile.inl.
// One channel per group is done a register of channels at a time, as elementwise products.
// Promises: rounding errors are in proportion to the largest values of a tile, not of a window; a NaN or infinity
// spreads over its tile. The bits of a tile depend on the shape alone.

enum class FftForm { forward, backward, weights };

constexpr i64 kFftMostTaps = 384;   // along an axis
constexpr i64 kFftFewestTaps = 25;  // of a kernel, for the automatic choice; 9 of a kernel of one line

template <typename T>
struct ConvFft {
    FftForm form;
    const T* a;     // [N,ah,aw,G*ca] in windows
    T* y;           // [N,yh,yw,G*cy] in tiles; read by `weights`, else written
    T* w;           // [.,R,S,.]; written by `weights`, else read
    const T* bias;  // [G*cy] or null
    i32 act;
    i64 n, groups, ca, cy, ah, aw, yh, yw, r, s;
    i64 top, left;         // where the first window begins
    i64 a_pixel, y_pixel;  // elements from a pixel to the next
};

template <typename T>
struct ConvFftPlan {
    i64 th, tw, bins;           // tile, bins of a row
    i64 strip, width;           // results of a tile
    i64 strips, widths, units;  // tiles of an image each way, of all images
    i64 chunk;                  // tiles transformed together
    i64 a_rows, a_cols, y_rows, y_cols;
    i64 ja, jw, jy;                    // lanes of a chunk's windows and tiles, and of the kernels, in whole registers
    i64 w_block, w_lanes;              // outer channels of the kernels transformed together, and their lanes
    i64 a_planes, w_planes, y_planes;  // kept of each bin: real and imaginary part, and one of them negated
    i64 tables, packed, a_spec, w_spec, y_spec, own;  // elements
    double cost;                                      // nanoseconds
};

constexpr double kNever = 1e300;    // the cost of what is only taken when it is asked for
constexpr i64 kFftCache = 1 << 20;  // bytes of spectra that are worth keeping together

constexpr double kFftPoint = 0.72;     // nanoseconds of a register of points, per bit of the tile's size
constexpr double kFftPointBase = 3.6;  // the same, once
constexpr double kFftSingle = 1.3;     // more for one channel per group, whose spectra are read and written once

template <typename T>
static i64 fft_lanes(i64 n) {
    return round_up(n, V<T>::L);
}

// Nanoseconds with tiles [th,tw].
template <typename T>
static double fft_tile_cost(const ConvFft<T>& f, i64 th, i64 tw) {
    constexpr i64 L = V<T>::L;
    const i64 units = f.n * ceil_div(f.yh, th - f.r + 1) * ceil_div(f.yw, tw - f.s + 1);
    double bits = 0;
    for (i64 t = 1; t < th * tw; t *= 2) bits += 1;
    const double points = double(th * tw), each = points * (kFftPoint * bits + kFftPointBase);
    const double lanes = double(ceil_div(units * f.groups * f.ca, L) + ceil_div(units * f.groups * f.cy, L) +
                                ceil_div(f.groups * f.ca * f.cy, L));
    double products = double(units * ceil_div(f.groups, L)) * 6;
    if (f.ca * f.cy > 1) {
        const bool weights = f.form == FftForm::weights;
        const i64 rows = weights ? f.cy : units, columns = weights ? f.ca : f.cy, run = weights ? units : f.ca;
        products = 4 * double(f.groups * max_i(rows, 4)) * double(run + 8) * row_registers<T>(columns) / 0.8;
    }
    return (each * lanes + 1.2 * products * points / 2 * kRegister) * (f.ca * f.cy == 1 ? kFftSingle : 1.0);
}

template <typename T>
static ConvFftPlan<T> plan_fft(const ConvFft<T>& f) {
    constexpr i64 kLengths[] = {1,   8,   12,  16,  20,  24,  32,  40,  48,  64,  80,  96,
                                120, 128, 160, 192, 240, 256, 320, 384, 480, 512, 640, 768};
    ConvFftPlan<T> p{};
    for (const i64 th : kLengths) {
        if (th < f.r || (th == 1 && f.r > 1)) continue;
        for (const i64 tw : kLengths) {
            if (tw < f.s || tw < 8) continue;
            const double cost = fft_tile_cost(f, th, tw);
            if (!p.th || cost < p.cost) p.th = th, p.tw = tw, p.cost = cost;
            if (tw >= f.yw + f.s - 1) break;
        }
        if (th >= f.yh + f.r - 1) break;
    }
    p.bins = p.tw / 2 + 1;
    p.strip = p.th - f.r + 1, p.width = p.tw - f.s + 1;
    p.strips = ceil_div(f.yh, p.strip), p.widths = ceil_div(f.yw, p.width);
    p.units = f.n * p.strips * p.widths;
    p.y_rows = min_i(p.strip, f.yh), p.y_cols = min_i(p.width, f.yw);
    p.a_rows = p.y_rows + f.r - 1, p.a_cols = p.y_cols + f.s - 1;
    const i64 ga = f.groups * f.ca, gy = f.groups * f.cy, size = sizeof(T);
    p.chunk = p.units;
    if (f.form != FftForm::weights) {
        const i64 unit = 2 * p.bins * (p.a_rows * ga + p.y_rows * gy) * size;
        i64 chunk = max_i(kFftCache / unit, ceil_div(2 * f.ca * f.cy, f.ca + f.cy));
        chunk = max_i(chunk, ceil_div(2 * V<T>::L, min_i(ga, gy)));
        p.chunk = min_i(chunk, p.units);
    }
    p.ja = fft_lanes<T>(p.chunk * ga), p.jy = fft_lanes<T>(p.chunk * gy);
    p.jw = fft_lanes<T>(f.groups * f.ca * f.cy);
    p.a_planes = p.w_planes = p.y_planes = 2;
    ++(f.form == FftForm::weights ? p.a_planes : p.w_planes);
    const bool weights = f.form == FftForm::weights;
    const i64 outer = weights ? f.cy : f.ca, inner = weights ? f.ca : f.cy, line = p.th * p.w_planes * inner * size;
    p.w_block = f.groups > 1 ? outer : min_i(outer, max_i(V<T>::L, kFftCache / 2 / line / V<T>::L * V<T>::L));
    p.w_lanes = f.groups > 1 ? p.jw : fft_lanes<T>(p.w_block * inner);
    p.tables = round_up(fft_table_size(p.tw, true), 16) + round_up(fft_table_size(p.th, false), 16);
    p.packed = f.r * f.s * p.jw;
    p.a_spec = 2 * p.bins * p.a_rows * p.ja;
    p.w_spec = 2 * p.bins * f.r * p.jw;
    p.y_spec = 2 * p.bins * p.y_rows * p.jy;
    const i64 L = V<T>::L, buffers = 2 * 2 * max_i(p.tw / 2 + 1, p.th) * L;
    const i64 rows = (3 * (p.tw + 2)) * L;
    const i64 columns = p.th * (p.a_planes * p.ja + p.w_planes * p.w_lanes + p.y_planes * p.jy) + 3 * kNR<T>;
    p.own = buffers + max_i(rows, columns);
    return p;
}

// Pairs of neighbouring real elements as complex numbers: [length][.], `stride` apart, zeros behind them.
template <class VT>
struct RealPairs {
    using R = typename VT::R;
    const typename VT::T* p;
    i64 stride, length;
    __attribute__((always_inline)) void get(i64 i, R& re, R& im) const {
        re = 2 * i < length ? VT::load(p + 2 * i * stride) : VT::zero();
        im = 2 * i + 1 < length ? VT::load(p + (2 * i + 1) * stride) : VT::zero();
    }
};

// Rows of one bin, real and imaginary parts `plane` apart: rows [first, first + count) exist; others are zero, and are
// dropped when they are written.
template <class VT, bool Inverse>
struct BinRows {
    using R = typename VT::R;
    typename VT::T* p;
    i64 stride, plane, first, count;
    __attribute__((always_inline)) void get(i64 i, R& re, R& im) const {
        if (u64(i - first) >= u64(count)) {
            re = im = VT::zero();
            return;
        }
        const typename VT::T* at = p + (i - first) * stride;
        (Inverse ? im : re) = VT::load(at);
        (Inverse ? re : im) = VT::load(at + plane);
    }
    __attribute__((always_inline)) void put(i64 i, R re, R im) const {
        if (u64(i - first) >= u64(count)) return;
        typename VT::T* at = p + (i - first) * stride;
        VT::store(at, Inverse ? im : re);
        VT::store(at + plane, Inverse ? re : im);
    }
};

// All rows of a bin with a third plane: minus the imaginary part, or minus the real one.
template <class VT>
struct ScaledPlanes {
    using R = typename VT::R;
    typename VT::T* p;
    i64 stride, plane;
    R scale;
    int third;  // 0: none, 1: minus the imaginary part, 2: minus the real part
    __attribute__((always_inline)) void put(i64 i, R re, R im) const {
        typename VT::T* at = p + i * stride;
        re = re * scale, im = im * scale;
        VT::store(at, re);
        VT::store(at + plane, im);
        if (third) VT::store(at + 2 * plane, third == 1 ? -im : -re);
    }
};

// Where the tiles of a set of images lie.
template <typename T>
struct FftImages {
    T* p;
    i64 h, w, c, pixel;  // c channels of each pixel, pixels `pixel` elements apart
    i64 top, left;       // of the first tile
    i64 rows, columns;   // of a tile
};

// Calls body(lane, count, pointer to row h of a tile, its columns inside [from,to)) for runs of lanes of one tile;
// pointer to column 0, from = to where the row lies outside.
template <typename T, typename F>
static void fft_runs(const ConvFftPlan<T>& p, const FftImages<T>& s, i64 unit0, i64 units, i64 h, i64 j0,
                     const F& body) {
    const i64 j1 = min_i(j0 + V<T>::L, units * s.c);
    for (i64 j = j0; j < j1;) {
        const i64 unit = unit0 + j / s.c, ch = j % s.c, count = min_i(s.c - ch, j1 - j);
        const i64 image = unit / (p.strips * p.widths), row = s.top + unit / p.widths % p.strips * p.strip + h;
        const i64 column = s.left + unit % p.widths * p.width;
        i64 from = max_i(0, min_i(-column, s.columns)), to = max_i(from, min_i(s.w - column, s.columns));
        if (row < 0 || row >= s.h) from = to = 0;
        body(int(j - j0), int(count), ch, s.p + ((image * s.h + row) * s.w + column) * s.pixel + ch, from, to);
        j += count;
    }
}

template <typename T>
struct FftWork {
    T *tables, *packed, *a, *w, *y, *own;
    const T *across, *down;  // tables of rows and columns
    FftPlan rows, columns;
};

// One register of lanes of a row: `source` real elements -> bins of spec [bins][rows][2][lanes].
template <class VT>
static void fft_row(const FftWork<typename VT::T>& k, i64 tw, const RealPairs<VT>& source, typename VT::T* spec,
                    i64 bin_stride, i64 plane, typename VT::T* scratch, typename VT::T* first, typename VT::T* second) {
    using T = typename VT::T;
    T *c = scratch, *d = c + (tw + 2) * VT::L;
    lanes_fft<VT>(k.rows.whole, k.across + k.rows.lanes, source, Lanes<VT, false>{c, VT::set(T(1))}, first, second);
    real_lanes<VT, true>(c, d, tw / 2, k.across + k.rows.size);
    for (i64 e = 0; e <= tw / 2; ++e, spec += bin_stride) {
        typename VT::R re, im;
        Buffer<VT>::load(d, e, re, im);
        VT::store(spec, re);
        VT::store(spec + plane, im);
    }
}

// And back: returns the line [tw][L].
template <class VT>
static typename VT::T* fft_row_back(const FftWork<typename VT::T>& k, i64 tw, const typename VT::T* spec,
                                    i64 bin_stride, i64 plane, typename VT::T* scratch, typename VT::T* first,
                                    typename VT::T* second) {
    using T = typename VT::T;
    T *c = scratch, *d = c + (tw + 2) * VT::L;
    for (i64 e = 0; e <= tw / 2; ++e, spec += bin_stride) Buffer<VT>{c}.put(e, VT::load(spec), VT::load(spec + plane));
    real_lanes<VT, false>(c, d, tw / 2, k.across + k.rows.size);
    const Lanes<VT, true> ends{d, VT::set(T(1))};
    lanes_fft<VT>(k.rows.whole, k.across + k.rows.lanes, ends, ends, first, second);
    return d;
}

template <typename T>
static T* worker_scratch(const FftWork<T>& k, const ConvFftPlan<T>& p, T** first, T** second) {
    T* mine = k.own + worker_index() * p.own;
    const i64 buffer = 2 * max_i(p.tw / 2 + 1, p.th) * V<T>::L;
    *first = mine, *second = mine + buffer;
    return mine + 2 * buffer;
}

// Rows of tiles unit0 .. unit0 + units of `s` -> spec [bins][rows][2][lanes].
template <typename T>
static void fft_rows_of_images(const ConvFftPlan<T>& p, const FftWork<T>& k, const FftImages<T>& s, i64 unit0,
                               i64 units, i64 lanes, T* spec) {
    using VT = V<T>;
    constexpr i64 L = VT::L;
    const i64 blocks = ceil_div(units * s.c, L);
    parallel(s.rows * blocks, 2.0 * double(p.tw) * L / 8, [&](i64 begin, i64 end) {
        T *first, *second, *scratch = worker_scratch(k, p, &first, &second);
        T* line = scratch + 2 * (p.tw + 2) * L;
        for (i64 u = begin; u < end; ++u) {
            const i64 h = u / blocks, j0 = u % blocks * L;
            fft_runs(p, s, unit0, units, h, j0, [&](int lane, int count, i64, const T* from, i64 e0, i64 e1) {
                const typename VT::M m = VT::first(count);
                T* to = line + lane;
                for (i64 e = 0; e < e0; ++e) VT::store_m(to + e * L, VT::zero(), m);
                if (count == L) {
                    for (i64 e = e0; e < e1; ++e) VT::store(to + e * L, VT::load(from + e * s.pixel));
                } else if (count == 1) {
                    for (i64 e = e0; e < e1; ++e) to[e * L] = from[e * s.pixel];
                } else {
                    for (i64 e = e0; e < e1; ++e) VT::store_m(to + e * L, VT::load_m(from + e * s.pixel, m), m);
                }
                for (i64 e = e1; e < s.columns; ++e) VT::store_m(to + e * L, VT::zero(), m);
            });
            fft_row<VT>(k, p.tw, RealPairs<VT>{line, L, s.columns}, spec + h * 2 * lanes + j0, s.rows * 2 * lanes,
                        lanes, scratch, first, second);
        }
    });
}

// packed [R*S][lanes], lanes over [group][ca][cy], from w [K,R,S,C].
template <typename T>
static void fft_pack_kernels(const ConvFft<T>& f, const ConvFftPlan<T>& p, T* packed) {
    const i64 taps = f.r * f.s, block = f.ca * f.cy;
    if (f.form == FftForm::forward) {
        parallel(f.groups * taps, double(block) * 0.5, [&](i64 begin, i64 end) {
            for (i64 i = begin; i < end; ++i) {
                const i64 g = i / taps, t = i % taps;
                pack(packed + t * p.jw + g * block, f.cy, f.w + (g * f.cy * taps + t) * f.ca, 1, taps * f.ca, f.ca,
                     f.cy);
            }
        });
        return;
    }
    const i64 runs = f.groups * f.ca;  // output channels of the convolution
    parallel(taps, double(runs * f.cy) * 0.3, [&](i64 begin, i64 end) {
        for (i64 t = begin; t < end; ++t)
            for (i64 k = 0; k < runs; ++k)
                memcpy(packed + t * p.jw + k * f.cy, f.w + (k * taps + t) * f.cy, size_t(f.cy) * sizeof(T));
    });
}

// w [K,R,S,C] from packed [R*S][lanes], lanes over [group][cy][ca].
template <typename T>
static void fft_unpack_kernels(const ConvFft<T>& f, const ConvFftPlan<T>& p, const T* packed) {
    const i64 taps = f.r * f.s;
    parallel(f.groups * f.cy, double(taps * f.ca) * 0.3, [&](i64 begin, i64 end) {
        for (i64 k = begin; k < end; ++k)
            for (i64 t = 0; t < taps; ++t)
                memcpy(f.w + (k * taps + t) * f.ca, packed + t * p.jw + k * f.ca, size_t(f.ca) * sizeof(T));
    });
}

// One frequency of one channel per group: elementwise products.
template <typename T>
static void fft_single_products(const ConvFft<T>& f, const ConvFftPlan<T>& p, T* a, T* w, T* y, i64 units) {
    using VT = V<T>;
    using R = typename VT::R;
    constexpr i64 L = VT::L;
    const i64 c = f.groups;
    if (f.form == FftForm::weights) {
        for (i64 ch = 0; ch < c; ch += L) {
            const typename VT::M m = VT::first(int(min_i(L, c - ch)));
            R re = VT::zero(), im = VT::zero();
            for (i64 u = 0; u < units; ++u) {
                const T *x = a + u * c + ch, *d = y + u * c + ch;
                const R xr = VT::load_m(x, m), xi = VT::load_m(x + p.ja, m);
                const R dr = VT::load_m(d, m), di = VT::load_m(d + p.jy, m);
                re = VT::fma(di, xi, VT::fma(dr, xr, re));
                im = VT::fma(di, -xr, VT::fma(dr, xi, im));
            }
            VT::store_m(w + ch, re, m);
            VT::store_m(w + p.jw + ch, im, m);
        }
        return;
    }
    const T* wi = w + (f.form == FftForm::forward ? 1 : 2) * p.jw;  // conjugate, or not
    const auto multiply = [&](const T* x, R wr, R ws, T* to, typename VT::M m) RB_LAMBDA {
        const R xr = VT::load_m(x, m), xi = VT::load_m(x + p.ja, m);
        const R s = xi * ws, t = xr * ws;
        VT::store_m(to, VT::fma(xr, wr, s), m);
        VT::store_m(to + p.jy, VT::fma(xi, wr, -t), m);
    };
    if (c == 1) {
        const R wr = VT::set(w[0]), ws = VT::set(wi[0]);
        for (i64 j = 0; j < p.ja; j += L) multiply(a + j, wr, ws, y + j, VT::first(L));
        return;
    }
    for (i64 ch = 0; ch < c; ch += L) {
        const typename VT::M m = VT::first(int(min_i(L, c - ch)));
        const R wr = VT::load_m(w + ch, m), ws = VT::load_m(wi + ch, m);
        for (i64 u = 0; u < units; ++u) multiply(a + u * c + ch, wr, ws, y + u * c + ch, m);
    }
}

// One frequency: complex matrix products, as two real ones of twice the length each. w holds the outer channels
// [c0,c1) of the kernels: rows of the product for `weights`, else a part of its sums.
template <typename T>
static void fft_products(const ConvFft<T>& f, const ConvFftPlan<T>& p, const T* a, T* w, i64 w_lanes, T* y, i64 units,
                         i64 c0, i64 c1) {
    const bool weights = f.form == FftForm::weights;
    const i64 rows = weights ? c1 - c0 : units, columns = weights ? f.ca : f.cy, run = weights ? units : c1 - c0;
    const i64 ga = f.groups * f.ca, gy = f.groups * f.cy;
    const i64 rs = weights ? 1 : ga, cs = weights ? gy : 1, ldb = weights ? ga : f.cy, ldc = weights ? f.ca : gy;
    const i64 left = weights ? p.jy : p.ja, right = weights ? p.ja : w_lanes, result = weights ? w_lanes : p.jy;
    // (left plane, right plane) of the two halves of the real and of the imaginary part
    const i64 same = f.form == FftForm::backward ? 2 : 1, other = f.form == FftForm::backward ? 1 : 2;
    const Step steps[2][2] = {
        {{0, 0, run}, {left, same * right, run}},
        {{weights ? 0 : left, weights ? right : 0, run}, {weights ? left : 0, other * right, run}}};
    const i64 pieces = ceil_div(rows, kMR<T>);
    for (i64 g = 0; g < f.groups; ++g) {
        const T* l = weights ? y + g * f.cy + c0 : a + g * f.ca + c0;
        const T* r = weights ? a + g * f.ca : w + g * f.ca * f.cy;
        T* to = weights ? w + g * f.ca * f.cy : y + g * f.cy;
        for (i64 j0 = 0; j0 < columns; j0 += kNR<T>) {
            const i64 nj = min_i(kNR<T>, columns - j0);
            const int width = panel_width<T>(nj);
            for (i64 piece = 0; piece < pieces; ++piece) {
                const i64 i0 = cut(rows, pieces, piece), m = cut(rows, pieces, piece + 1) - i0;
                for (int part = 0; part < 2; ++part) {
                    const TileOut<T> out{to + part * result + i0 * ldc + j0,
                                         ldc,
                                         T(1),
                                         T(weights || c0 == 0 ? 0 : 1),
                                         nullptr,
                                         act_none,
                                         i32(nj),
                                         0,
                                         0};
                    tile_for<T>(m, width)(l + i0 * rs, r + j0, steps[part], 2, rs, cs, ldb, out);
                }
            }
        }
    }
}

// Columns of one bin of a set, `count` lanes of them: spec [rows][2][lanes] -> [th][planes][count].
template <typename T>
static void fft_columns(const FftWork<T>& k, T* spec, i64 rows, i64 lanes, i64 planes, i64 count, T scale, int third,
                        T* to, T* first, T* second) {
    using VT = V<T>;
    for (i64 j = 0; j < count; j += VT::L)
        lanes_fft<VT>(k.columns.whole, k.down + k.columns.lanes,
                      BinRows<VT, false>{spec + j, 2 * lanes, lanes, 0, rows},
                      ScaledPlanes<VT>{to + j, planes * count, count, VT::set(scale), third}, first, second);
}

// And back: rows [from, from + rows) of the columns -> spec.
template <typename T>
static void fft_columns_back(const ConvFftPlan<T>& p, const FftWork<T>& k, T* columns, i64 planes, i64 count, i64 from,
                             i64 rows, T* spec, i64 lanes, T* first, T* second) {
    using VT = V<T>;
    for (i64 j = 0; j < count; j += VT::L)
        lanes_fft<VT>(k.columns.whole, k.down + k.columns.lanes,
                      BinRows<VT, true>{columns + j, planes * count, count, 0, p.th},
                      BinRows<VT, true>{spec + j, 2 * lanes, lanes, from, rows}, first, second);
}

// Bin by bin: columns there, products, columns of the result back; the kernels block by block.
template <typename T>
static void fft_all_columns(const ConvFft<T>& f, const ConvFftPlan<T>& p, const FftWork<T>& k, i64 units) {
    const bool weights = f.form == FftForm::weights;
    const i64 outer = weights ? f.cy : f.ca, inner = weights ? f.ca : f.cy;
    const double cost = 2.0 * double(p.th * (p.ja + p.jw + p.jy));
    parallel(p.bins, cost, [&](i64 begin, i64 end) {
        T *first, *second, *a = worker_scratch(k, p, &first, &second);
        T *w = a + p.th * p.a_planes * p.ja + kNR<T>, *y = w + p.th * p.w_planes * p.w_lanes + kNR<T>;
        const T scale = T(1) / (T(p.th) * T(p.tw));
        for (i64 e = begin; e < end; ++e) {
            T* y_spec = k.y + e * p.y_rows * 2 * p.jy;
            fft_columns(k, k.a + e * p.a_rows * 2 * p.ja, p.a_rows, p.ja, p.a_planes, p.ja, T(1), weights ? 2 : 0, a,
                        first, second);
            if (weights) fft_columns(k, y_spec, p.y_rows, p.jy, p.y_planes, p.jy, scale, 0, y, first, second);
            for (i64 c0 = 0; c0 < outer; c0 += p.w_block) {
                const i64 c1 = min_i(c0 + p.w_block, outer);
                const i64 lanes = c1 - c0 == p.w_block ? p.w_lanes : fft_lanes<T>((c1 - c0) * inner);
                T* w_spec = k.w + e * f.r * 2 * p.jw + c0 * inner;
                if (!weights) fft_columns(k, w_spec, f.r, p.jw, p.w_planes, lanes, scale, 1, w, first, second);
                for (i64 i = 0; i < p.th; ++i) {
                    T *ai = a + i * p.a_planes * p.ja, *wi = w + i * p.w_planes * lanes;
                    T* yi = y + i * p.y_planes * p.jy;
                    if (f.ca * f.cy == 1)
                        fft_single_products(f, p, ai, wi, yi, units);
                    else
                        fft_products(f, p, ai, wi, lanes, yi, units, c0, c1);
                }
                if (weights) fft_columns_back(p, k, w, p.w_planes, lanes, 0, f.r, w_spec, p.jw, first, second);
            }
            if (!weights)
                fft_columns_back(p, k, y, p.y_planes, p.jy, f.form == FftForm::backward ? f.r - 1 : 0, p.y_rows, y_spec,
                                 p.jy, first, second);
        }
    });
}

// Rows of the result's tiles, with bias and activation.
template <typename T>
static void fft_images_of_rows(const ConvFft<T>& f, const ConvFftPlan<T>& p, const FftWork<T>& k, const FftImages<T>& s,
                               i64 unit0, i64 units) {
    using VT = V<T>;
    constexpr i64 L = VT::L;
    const i64 blocks = ceil_div(units * s.c, L), shift = f.form == FftForm::backward ? f.s - 1 : 0;
    parallel(p.y_rows * blocks, 2.0 * double(p.tw) * L / 8, [&](i64 begin, i64 end) {
        T *first, *second, *scratch = worker_scratch(k, p, &first, &second);
        for (i64 u = begin; u < end; ++u) {
            const i64 h = u / blocks, j0 = u % blocks * L;
            const T* line =
                fft_row_back<VT>(k, p.tw, k.y + h * 2 * p.jy + j0, p.y_rows * 2 * p.jy, p.jy, scratch, first, second) +
                shift * L;
            fft_runs(p, s, unit0, units, h, j0, [&](int lane, int count, i64 ch, T* to, i64 e0, i64 e1) {
                const typename VT::M m = VT::first(count);
                const typename VT::R bias = f.bias ? VT::load_m(f.bias + ch, m) : VT::zero();
                const T* from = line + lane;
                for (i64 e = e0; e < e1; ++e) {
                    typename VT::R v = VT::load_m(from + e * L, m);
                    if (f.bias) v = v + bias;
                    if (f.act == act_relu) v = vec_relu(v);
                    VT::store_m(to + e * s.pixel, v, m);
                }
                if (f.act > act_relu) act_rows(to + e0 * s.pixel, s.pixel, e1 - e0, count, f.act);
            });
        }
    });
}

// One channel per group: a register of channels at a time, so that their spectra stay in cache.
template <typename T>
static i64 fft_channels(const ConvFft<T>& f) {
    return f.ca * f.cy == 1 ? min_i(f.groups, V<T>::L) : f.groups;
}
template <typename T>
static ConvFft<T> fft_part(const ConvFft<T>& f, i64 first) {
    ConvFft<T> g = f;
    g.groups = min_i(fft_channels(f), f.groups - first);
    g.a += first * f.ca;
    g.y += first * f.cy;
    g.w += first * f.r * f.s * f.ca * f.cy;
    if (f.bias) g.bias += first * f.cy;
    return g;
}

template <typename T>
static i64 fft_elements(const ConvFftPlan<T>& p, i64 threads) {
    return p.tables + p.packed + p.a_spec + p.w_spec + p.y_spec + max_i(1, threads) * p.own;
}

template <typename T>
static void fft_engine(const ConvFft<T>& f, T* work) {
    using VT = V<T>;
    constexpr i64 L = VT::L;
    const ConvFftPlan<T> p = plan_fft(f);
    FftWork<T> k{};
    k.tables = work;
    k.packed = k.tables + p.tables;
    k.a = k.packed + p.packed;
    k.w = k.a + p.a_spec;
    k.y = k.w + p.w_spec;
    k.own = k.y + p.y_spec;
    k.rows = fft_plan(p.tw / 2);
    k.columns = fft_plan(p.th);
    constexpr i32 dtype = sizeof(T) == 4 ? f32 : f64;
    T* down = k.tables + round_up(fft_table_size(p.tw, true), 16);
    fft_table(p.tw, true, dtype, k.tables);
    fft_table(p.th, false, dtype, down);
    k.across = k.tables, k.down = down;
    const FftImages<T> windows{
        const_cast<T*>(f.a), f.ah, f.aw, f.groups * f.ca, f.a_pixel, f.top, f.left, p.a_rows, p.a_cols};
    const FftImages<T> tiles{f.y, f.yh, f.yw, f.groups * f.cy, f.y_pixel, 0, 0, p.y_rows, p.y_cols};
    const i64 blocks = p.jw / L;
    const auto kernel_rows = [&](const auto& one) {
        parallel(f.r * blocks, 2.0 * double(p.tw) * L / 8, [&](i64 begin, i64 end) {
            T *first, *second, *scratch = worker_scratch(k, p, &first, &second);
            for (i64 u = begin; u < end; ++u) {
                const i64 r = u / blocks, j = u % blocks * L;
                one(k.packed + r * f.s * p.jw + j, k.w + r * 2 * p.jw + j, scratch, first, second);
            }
        });
    };
    if (f.form == FftForm::weights) {
        fft_rows_of_images(p, k, windows, 0, p.units, p.ja, k.a);
        fft_rows_of_images(p, k, tiles, 0, p.units, p.jy, k.y);
        fft_all_columns(f, p, k, p.units);
        kernel_rows([&](T* packed, const T* spec, T* scratch, T* first, T* second) {
            const T* line = fft_row_back<VT>(k, p.tw, spec, f.r * 2 * p.jw, p.jw, scratch, first, second);
            for (i64 s = 0; s < f.s; ++s) VT::store(packed + s * p.jw, VT::load(line + s * L));
        });
        fft_unpack_kernels(f, p, k.packed);
        return;
    }
    fft_pack_kernels(f, p, k.packed);
    kernel_rows([&](const T* packed, T* spec, T* scratch, T* first, T* second) {
        fft_row<VT>(k, p.tw, RealPairs<VT>{packed, p.jw, f.s}, spec, f.r * 2 * p.jw, p.jw, scratch, first, second);
    });
    for (i64 unit = 0; unit < p.units; unit += p.chunk) {
        const i64 units = min_i(p.chunk, p.units - unit);
        fft_rows_of_images(p, k, windows, unit, units, p.ja, k.a);
        fft_all_columns(f, p, k, units);
        fft_images_of_rows(f, p, k, tiles, unit, units);
    }
}

template <typename T>
static ConvFft<T> fft_of(const conv2d_args& s) {
    const i64 g = s.groups;
    return {FftForm::forward,
            static_cast<const T*>(s.x.data),
            static_cast<T*>(s.y.data),
            static_cast<T*>(s.w.data),
            s.bias.ndim >= 0 ? static_cast<const T*>(s.bias.data) : nullptr,
            i32(s.act),
            s.x.shape[0],
            g,
            s.x.shape[3] / g,
            s.y.shape[3] / g,
            s.x.shape[1],
            s.x.shape[2],
            s.y.shape[1],
            s.y.shape[2],
            s.w.shape[1],
            s.w.shape[2],
            -s.pad_h,
            -s.pad_w,
            s.x.shape[3],
            s.y.shape[3]};
}
template <typename T>
static ConvFft<T> fft_of(const conv2d_dx_args& s) {
    const i64 g = s.groups, R = s.w.shape[1], S = s.w.shape[2];
    return {FftForm::backward,
            static_cast<const T*>(s.dy.data),
            static_cast<T*>(s.dx.data),
            static_cast<T*>(s.w.data),
            nullptr,
            act_none,
            s.dy.shape[0],
            g,
            s.dy.shape[3] / g,
            s.dx.shape[3] / g,
            s.dy.shape[1],
            s.dy.shape[2],
            s.dx.shape[1],
            s.dx.shape[2],
            R,
            S,
            s.pad_h - (R - 1),
            s.pad_w - (S - 1),
            s.dy.shape[3],
            s.dx.shape[3]};
}
template <typename T>
static ConvFft<T> fft_of(const conv2d_dw_args& s) {
    const i64 g = s.groups;
    return {FftForm::weights,
            static_cast<const T*>(s.x.data),
            static_cast<T*>(s.dy.data),
            static_cast<T*>(s.dw.data),
            nullptr,
            act_none,
            s.x.shape[0],
            g,
            s.x.shape[3] / g,
            s.dy.shape[3] / g,
            s.x.shape[1],
            s.x.shape[2],
            s.dy.shape[1],
            s.dy.shape[2],
            s.dw.shape[1],
            s.dw.shape[2],
            -s.pad_h,
            -s.pad_w,
            s.x.shape[3],
            s.dy.shape[3]};
}
static const View& kernel_of(const conv2d_args& s) {
    return s.w;
}
static const View& kernel_of(const conv2d_dx_args& s) {
    return s.w;
}
static const View& kernel_of(const conv2d_dw_args& s) {
    return s.dw;
}

template <typename Args>
static bool fft_accepts(const void* args) {
    const Args& s = *static_cast<const Args*>(args);
    const View& w = kernel_of(s);
    return s.stride_h == 1 && s.stride_w == 1 && s.dil_h == 1 && s.dil_w == 1 && numel(w) > 0 &&
           w.shape[1] <= kFftMostTaps && w.shape[2] <= kFftMostTaps;
}
template <typename T, typename Args>
static i64 fft_conv_work(const void* args, const Ctx& ctx) {
    const ConvFft<T> f = fft_of<T>(*static_cast<const Args*>(args));
    if (f.n == 0) return 0;
    // The last part may have fewer channels: other tiles, more of them together.
    const i64 last = (f.groups - 1) / fft_channels(f) * fft_channels(f);
    const i64 most = max_i(fft_elements(plan_fft(fft_part(f, 0)), ctx.threads),
                           fft_elements(plan_fft(fft_part(f, last)), ctx.threads));
    return most * i64(sizeof(T));
}
template <typename T, typename Args>
static void fft_conv_run(const void* args, Ctx&) {
    const Args& s = *static_cast<const Args*>(args);
    const ConvFft<T> f = fft_of<T>(s);
    if (f.n == 0) {
        if (f.form == FftForm::weights) memset(f.w, 0, size_t(numel(kernel_of(s))) * sizeof(T));
        return;
    }
    for (i64 g = 0; g < f.groups; g += fft_channels(f)) fft_engine(fft_part(f, g), static_cast<T*>(s.work.data));
}
template <typename T, typename Args>
static double fft_conv_cost(const void* args) {
    const ConvFft<T> f = fft_of<T>(*static_cast<const Args*>(args));
    const i64 taps = f.r * f.s;
    const double inputs = double(f.n * f.ah * f.aw * f.groups * f.ca),
                 results = double(f.n * f.yh * f.yw * f.groups * f.cy);
    const double kernels = double(taps * f.groups * f.ca * f.cy);
    if (taps < (f.r == 1 || f.s == 1 ? 9 : kFftFewestTaps) || results * double(taps * f.ca) < 1e6) return kNever;
    const ConvFftPlan<T> p = plan_fft(fft_part(f, 0));
    if (double(fft_elements(p, 1)) > 4 * (inputs + results + kernels)) return kNever;
    return p.cost * double(f.groups) / double(fft_channels(f));
}
