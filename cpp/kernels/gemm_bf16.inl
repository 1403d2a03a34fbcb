// gemm_bf16.inl: bfloat16 numbers: conversions, and products of bfloat16 matrices with sums in float.
//
// c = act(a @ b + bias). The terms of an element are taken in pairs of k, the odd k of a pair first, each by a fused
// multiply-add with subnormal inputs and results counting as 0: what vdpbf16ps does. An odd K ends in a term 0 * 0.
// Blocks of at most kPairBlock pairs, cut by K alone, are chains of their own, added to c in order. So the bits depend
// on the shape alone, whatever the instruction set:
//   dot        a and b packed as pairs, one vdpbf16ps per register and pair (needs AVX512_BF16)
//   emulated   a and b packed as floats, the odd k before the even one, for the tiles of float products

constexpr i64 kPairBlock = 640;

typedef u32 u32a __attribute__((may_alias));

// Bits of the bfloat16 nearest to a float, halves to even; NaN keeps its sign and upper bits and becomes quiet.
static inline u32 bf16_of_bits(u32 u) {
    const u32 nearest = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    const u32 quiet = (u >> 16) | 0x40u;
    return (u & 0x7fffffffu) > 0x7f800000u ? quiet : nearest;
}
static inline u32 bits_of(float x) {
    u32 u;
    __builtin_memcpy(&u, &x, 4);
    return u;
}
// The same of a double: rounded to the float towards 0 whose last bit says whether anything was cut off, so that
// rounding that one rounds once.
static inline u32 bf16_of(double x) {
    const float f = float(x);
    u32 u = bits_of(f);
    const double back = double(f);
    const double more = back < 0 ? -back : back, want = x < 0 ? -x : x;
    u -= more > want ? 1u : 0u;
    u |= more != want ? 1u : 0u;
    return x != x ? bf16_of_bits(bits_of(f)) : bf16_of_bits(u);
}
static inline u32 bf16_of(float x) {
    return bf16_of_bits(bits_of(x));
}

template <typename T>
static void to_bfloat16_run(const void* args, Ctx&) {
    const to_bfloat16_args& s = *static_cast<const to_bfloat16_args*>(args);
    const T* x = static_cast<const T*>(s.x.data);
    u16* y = static_cast<u16*>(s.y.data);
    parallel(ceil_div(numel(s.y), 1024), 300, [&](i64 q0, i64 q1) {
        const i64 end = min_i(q1 * 1024, numel(s.y));
        for (i64 i = q0 * 1024; i < end; ++i) y[i] = u16(bf16_of(x[i]));
    });
}

template <typename T>
static void from_bfloat16_run(const void* args, Ctx&) {
    const from_bfloat16_args& s = *static_cast<const from_bfloat16_args*>(args);
    const u16* x = static_cast<const u16*>(s.x.data);
    T* y = static_cast<T*>(s.y.data);
    parallel(ceil_div(numel(s.y), 1024), 300, [&](i64 q0, i64 q1) {
        const i64 end = min_i(q1 * 1024, numel(s.y));
        for (i64 i = q0 * 1024; i < end; ++i) {
            const u32 u = u32(x[i]) << 16;
            float f;
            __builtin_memcpy(&f, &u, 4);
            y[i] = T(f);
        }
    });
}

// A matrix as its packing reads it: `across` elements (rows of a, columns of b) sj apart, k sk apart.
struct Bf16Source {
    const void* data;
    bool rounded;  // bfloat16 already, else float
    i64 k, sk, sj;
};
RB_INLINE u32 bf16_at(const Bf16Source& s, i64 at) {
    return s.rounded ? u32(static_cast<const u16*>(s.data)[at]) : bf16_of(static_cast<const float*>(s.data)[at]);
}
// Pair p of line j: the even k in the lower half.
RB_INLINE u32 pair_at(const Bf16Source& s, i64 j, i64 p) {
    const i64 at = j * s.sj + 2 * p * s.sk;
    return bf16_at(s, at) | (2 * p + 1 < s.k ? bf16_at(s, at + s.sk) << 16 : 0u);
}

// Packing writes lines j0 <= j < j0 + nj of pairs p0 <= p < p0 + np: dst row after row, ld lines apart, zeros from nj
// on. `tmp` holds nj * np * kRows elements.
struct Bf16Emulated {
    static constexpr i64 kRows = 2;  // rows of dst per pair: odd k, even k
    static TileFn<float> tile(i64 m, int width) {
#if defined(__FMA__) || defined(__aarch64__)
        return tile_for<float>(m, width);
#else
        return width == kNR<float> ? kTiles<FusedVec, kNV>.fn[m] : kTiles<FusedVec, 1>.fn[m];
#endif
    }
    static void pack_lines(float* dst, i64 ld, const Bf16Source& s, i64 j0, i64 nj, i64 p0, i64 np, float* tmp) {
        if (s.sj == 1 && s.sk != 1) {
            for (i64 p = p0; p < p0 + np; ++p) {
                u32a* row = reinterpret_cast<u32a*>(dst) + 2 * (p - p0) * ld;
                expand(row + ld, ld, s, 2 * p * s.sk + j0, nj);
                if (2 * p + 1 < s.k)
                    expand(row, ld, s, (2 * p + 1) * s.sk + j0, nj);
                else
                    memset(row, 0, size_t(ld) * 4);
            }
            return;
        }
        u32a* line = reinterpret_cast<u32a*>(tmp);
        for (i64 j = j0; j < j0 + nj; ++j) {
            for (i64 p = p0; p < p0 + np; ++p) {
                const u32 pair = pair_at(s, j, p);
                *line++ = pair & 0xffff0000u;
                *line++ = pair << 16;
            }
        }
        pack(dst, ld, tmp, i64{1}, 2 * np, 2 * np, nj);
    }

  private:
    static void expand(u32a* __restrict row, i64 ld, const Bf16Source& s, i64 at, i64 n) {
        if (s.rounded) {
            const u16* x = static_cast<const u16*>(s.data) + at;
            for (i64 j = 0; j < n; ++j) row[j] = u32(x[j]) << 16;
        } else {
            const float* x = static_cast<const float*>(s.data) + at;
            for (i64 j = 0; j < n; ++j) row[j] = bf16_of(x[j]) << 16;
        }
        for (i64 j = n; j < ld; ++j) row[j] = 0;
    }
};

#if defined(__AVX512F__) && defined(__AVX512BW__)
struct Bf16Dot {
    static constexpr i64 kRows = 1;
    static TileFn<float> tile(i64 m, int width) {
        if (width == kNR<float>) return kTiles<PairVec<16>, kNV>.fn[m];
        return width == V<float>::L ? kTiles<PairVec<16>, 1>.fn[m] : kTiles<PairVec<8>, 1>.fn[m];
    }
    static void pack_lines(float* dst, i64 ld, const Bf16Source& s, i64 j0, i64 nj, i64 p0, i64 np, float* tmp) {
        const i64 whole = min_i(p0 + np, s.k / 2) - p0;  // pairs without the one that an odd K leaves alone
        if (s.sj == 1 && s.sk != 1) {
            for (i64 p = 0; p < np; ++p) {
                const i64 at = 2 * (p0 + p) * s.sk + j0;
                prefetch_line(s, at + kFarRows * s.sk);  // rows a page apart are followed by no hardware prefetcher
                prefetch_line(s, at + (kFarRows + 1) * s.sk);
                for (i64 j = 0; j < ld; j += 16) {
                    const int n = int(max_i(0, min_i(16, nj - j)));
                    store_words(dst + p * ld + j, load_row(s, at + j, at + s.sk + j, n, p < whole),
                                int(min_i(16, ld - j)));
                }
            }
            return;
        }
        const u16* x = static_cast<const u16*>(s.data) + j0 * s.sj + 2 * p0;
        const bool words = s.rounded && s.sk == 1 && s.sj % 2 == 0 && reinterpret_cast<u64>(x) % 4 == 0;
        if (words && whole == np && np >= kQuad<V<float>> && nj >= H<float>::L) {  // pairs as they lie: intrinsics only
            return pack(dst, ld, reinterpret_cast<const float*>(x), i64{1}, s.sj / 2, np, nj);
        }
        u32a* line = reinterpret_cast<u32a*>(tmp);
        for (i64 j = 0; j < nj; ++j, line += np) {
            i64 p = 0;
            if (s.sk == 1) {
                const i64 at = (j0 + j) * s.sj + 2 * p0;
                if (s.rounded) {
                    memcpy(line, static_cast<const u16*>(s.data) + at, size_t(whole) * 4);
                } else {
                    const float* f = static_cast<const float*>(s.data) + at;
                    for (i64 q = 0; q < whole; ++q) line[q] = bf16_of(f[2 * q]) | bf16_of(f[2 * q + 1]) << 16;
                }
                p = whole;
            }
            for (; p < np; ++p) line[p] = pair_at(s, j0 + j, p0 + p);
        }
        pack(dst, ld, tmp, i64{1}, np, np, nj);
    }

  private:
    RB_INLINE void prefetch_line(const Bf16Source& s, i64 at) {
        __builtin_prefetch(static_cast<const char*>(s.data) + at * (s.rounded ? 2 : 4));
    }
    RB_INLINE Pairs load_row(const Bf16Source& s, i64 even, i64 odd, int n, bool both) {
        if (s.rounded) {
            const u16* x = static_cast<const u16*>(s.data);
            return join_halves(load_halves(x + even, n), both ? load_halves(x + odd, n) : no_halves());
        }
        const float* x = static_cast<const float*>(s.data);
        return join_words(round_words(x + even, n), both ? round_words(x + odd, n) : no_words());
    }
};
#endif

struct Bf16Plan {
    i64 m, n, k, pairs;
    bool wide;        // as in gemm.inl
    i64 kblocks, kc;  // blocks of the reduction, packed rows of the longest
    i64 rows, cols;   // panels
    i64 chunk_rows, chunk_cols;
    i64 a_elems, b_elems;  // wide: a per worker, b shared; else a shared, b per worker
    i64 tmp_elems;         // per worker
};

static Bf16Plan plan_bf16(const gemm_bf16_args& s, const Ctx& ctx, i64 rows_of_pair) {
    Bf16Plan p{};
    p.m = s.a.shape[0];
    p.k = s.a.shape[1];
    p.n = s.b.shape[1];
    p.pairs = ceil_div(p.k, 2);
    p.kblocks = max_i(1, ceil_div(p.pairs, kPairBlock));
    const i64 longest = ceil_div(max_i(1, p.pairs), p.kblocks);
    p.kc = longest * rows_of_pair;
    p.rows = ceil_div(p.m, kMR<float>);
    p.cols = ceil_div(p.n, kNR<float>);
    const i64 l2_rows = max_i(max_i(ctx.l2_bytes, 256 << 10) / 2 / (p.kc * 4) / kMR<float>, 4);
    p.wide = p.rows > l2_rows;
    p.chunk_rows = ceil_div(p.rows, max_i(1, ceil_div(p.rows, l2_rows)));  // chunks of equal length
    p.chunk_cols = min_i(max_i(8, min_i(max_i(ctx.l3_bytes, 2 << 20) / 4 / (p.kc * 4), 4096) / kNR<float>), p.cols);
    p.a_elems = round_up((p.wide ? p.chunk_rows * kMR<float> : p.m) * p.kc, 16);
    p.b_elems = (p.wide ? p.chunk_cols : 1) * kNR<float> * p.kc;
    p.tmp_elems = max_i(kMR<float>, kNR<float>) * p.kc;
    return p;
}

template <class Form>
static i64 gemm_bf16_work(const void* args, const Ctx& ctx) {
    const Bf16Plan p = plan_bf16(*static_cast<const gemm_bf16_args*>(args), ctx, Form::kRows);
    const i64 threads = max_i(1, ctx.threads);
    return 4 * (threads * p.tmp_elems + (p.wide ? p.b_elems + threads * p.a_elems : p.a_elems + threads * p.b_elems));
}

template <class Form>
static void gemm_bf16_run(const void* args, Ctx& ctx) {
    const gemm_bf16_args& s = *static_cast<const gemm_bf16_args*>(args);
    const Bf16Plan p = plan_bf16(s, ctx, Form::kRows);
    if (p.m == 0 || p.n == 0) return;
    constexpr i64 NR = kNR<float>;
    const double macs = double(p.m) * double(p.n) * double(p.k), ns = 0.025;
    const i64 team = max_i(1, ctx.threads), threads = macs * ns < 1e4 ? 1 : team;
    // Lone rows and columns have meaningless strides.
    const Bf16Source a{s.a.data, s.a.dtype == u16t, p.k, p.k == 1 ? 1 : s.a.stride[1], p.m == 1 ? p.k : s.a.stride[0]};
    const Bf16Source b{s.b.data, s.b.dtype == u16t, p.k, p.k == 1 ? p.n : s.b.stride[0], p.n == 1 ? 1 : s.b.stride[1]};
    float* c = static_cast<float*>(s.c.data);
    float* tmp = static_cast<float*>(s.work.data);
    float* shared = tmp + team * p.tmp_elems;
    const i64 shared_elems = p.wide ? p.b_elems : p.a_elems, own_elems = p.wide ? p.a_elems : p.b_elems;
    const auto worker = [threads] { return threads > 1 ? i64(worker_index()) : i64{0}; };
    for (i64 kb = 0; kb < p.kblocks; ++kb) {
        const i64 p0 = cut(p.pairs, p.kblocks, kb), np = cut(p.pairs, p.kblocks, kb + 1) - p0, kc = np * Form::kRows;
        const bool last = kb + 1 == p.kblocks;
        const float* bias = last && s.bias.ndim >= 0 ? static_cast<const float*>(s.bias.data) : nullptr;
        const i32 act = last ? i32(s.act) : i32(act_none);
        const auto pack_rows_to = [&](float* dst, i64 r0, i64 r1) {
            for (i64 r = r0; r < r1; ++r) {
                const i64 i0 = cut(p.m, p.rows, r), m = cut(p.m, p.rows, r + 1) - i0;
                Form::pack_lines(dst + (i0 - cut(p.m, p.rows, r0)) * kc, m, a, i0, m, p0, np,
                                 tmp + worker() * p.tmp_elems);
            }
        };
        const auto pack_panel = [&](float* dst, i64 q) {
            const i64 j0 = q * NR, nj = min_i(NR, p.n - j0);
            Form::pack_lines(dst, panel_width<float>(nj), b, j0, nj, p0, np, tmp + worker() * p.tmp_elems);
        };
        const auto multiply = [&](const float* ap, const float* bp, i64 r0, i64 r1, i64 base, i64 q) {
            const i64 j0 = q * NR, nj = min_i(NR, p.n - j0);
            const int width = panel_width<float>(nj);
            const Step step{0, 0, kc};
            for (i64 r = r0; r < r1; ++r) {
                const i64 i0 = cut(p.m, p.rows, r), m = cut(p.m, p.rows, r + 1) - i0;
                const TileOut<float> out{
                    c + i0 * p.n + j0, p.n, 1.0f, kb ? 1.0f : 0.0f, bias ? bias + j0 : nullptr, act, i32(nj), 0, 0};
                Form::tile(m, width)(ap + (i0 - base) * kc, bp, &step, 1, 1, m, width, out);
            }
        };
        if (!p.wide) {
            parallel_or_serial(macs * ns < 4e4 ? 1 : threads, p.rows, double(kMR<float> * kc) * 0.3,
                               [&](i64 r0, i64 r1) { pack_rows_to(shared + cut(p.m, p.rows, r0) * kc, r0, r1); });
            // few column panels: cut the rows, too, so that every thread has work
            const i64 splits = min_i(p.rows, threads > 1 ? ceil_div(2 * threads, p.cols) : 1);
            const double cost = macs / double(p.kblocks) * ns / double(p.cols * splits);
            parallel_or_serial(threads, p.cols * splits, cost, [&](i64 t0, i64 t1) {
                float* panel = shared + shared_elems + worker() * own_elems;
                for (i64 t = t0; t < t1; ++t) {
                    const i64 q = t / splits, sp = t % splits;
                    if (t == t0 || sp == 0) pack_panel(panel, q);
                    multiply(shared, panel, cut(p.rows, splits, sp), cut(p.rows, splits, sp + 1), 0, q);
                }
            });
            continue;
        }
        for (i64 q0 = 0; q0 < p.cols; q0 += p.chunk_cols) {
            const i64 q1 = min_i(q0 + p.chunk_cols, p.cols);
            parallel_or_serial(threads, q1 - q0, double(NR * kc) * 0.3, [&](i64 t0, i64 t1) {
                for (i64 q = q0 + t0; q < q0 + t1; ++q) pack_panel(shared + (q - q0) * NR * kc, q);
            });
            const double cost = double(kMR<float> * kc) * double((q1 - q0) * NR) * ns;
            parallel_or_serial(threads, p.rows, cost, [&](i64 t0, i64 t1) {
                float* ap = shared + shared_elems + worker() * own_elems;
                for (i64 r0 = t0; r0 < t1; r0 += p.chunk_rows) {
                    const i64 r1 = min_i(r0 + p.chunk_rows, t1);
                    pack_rows_to(ap, r0, r1);
                    for (i64 q = q0; q < q1; ++q)
                        multiply(ap, shared + (q - q0) * NR * kc, r0, r1, cut(p.m, p.rows, r0), q);
                }
            });
        }
    }
}

#if defined(__AVX512F__) && defined(__AVX512BW__)
static bool gemm_bf16_has_dot(const void*) {
    return has_bf16_dot();
}
#endif
constexpr Impl kGemmBf16Impls[] = {
#if defined(__AVX512F__) && defined(__AVX512BW__)
    {"dot", gemm_bf16_run<Bf16Dot>, gemm_bf16_work<Bf16Dot>, gemm_bf16_has_dot, nullptr},
#endif
    {"emulated", gemm_bf16_run<Bf16Emulated>, gemm_bf16_work<Bf16Emulated>, nullptr, nullptr}};

template <typename T>
constexpr Impl kToBf16 = {"simd", to_bfloat16_run<T>, nullptr, nullptr, nullptr};
template <typename T>
constexpr Impl kFromBf16 = {"simd", from_bfloat16_run<T>, nullptr, nullptr, nullptr};

constexpr void add_gemm_bf16(Table& t) {
    t.entry[op_to_bfloat16][f32] = Entry{&kToBf16<float>, 1};
    t.entry[op_to_bfloat16][f64] = Entry{&kToBf16<double>, 1};
    t.entry[op_from_bfloat16][f32] = Entry{&kFromBf16<float>, 1};
    t.entry[op_from_bfloat16][f64] = Entry{&kFromBf16<double>, 1};
    t.entry[op_gemm_bf16][f32] = Entry{kGemmBf16Impls, i32(sizeof kGemmBf16Impls / sizeof kGemmBf16Impls[0])};
}
