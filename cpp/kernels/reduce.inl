// reduce.inl: sum, max, min, argmax over the middle axis of x [A,R,B] (any strides) into y [A,B].
// Promise: the order of additions depends on the shape alone (strides, threads and caches never enter):
//   B = 1  a row of R elements is cut into chunks, a chunk into blocks of 32*kLanes; in a block lane l adds elements
//          l, l+kLanes, ..; lanes, then the blocks of a chunk, then the chunks are combined in fixed order.
//   B > 1  a column is cut into at most 32 chunks of rows; in a chunk rows are added in fours, fours into blocks of 128
//          rows, blocks into groups of 128. Narrow B: several rows form one wide row, folded at the end.
// So the error grows with the sum of the levels' lengths, not with R.

template <typename T>
constexpr i64 kLanes = 4 * kVecBytes / i64(sizeof(T));

struct AddOp {
    template <typename T>
    static inline T at(T a, T b) {
        return a + b;
    }
    template <typename T>
    static inline T identity() {
        return T(0);
    }
};
struct MaxOp {
    template <typename T>
    static inline T at(T a, T b) {
        if constexpr (sizeof(T) > 8)
            return vec_max(a, b);
        else
            return rb_max(a, b);
    }
    template <typename T>
    static inline T identity() {
        return -T(__builtin_inf());
    }
};
struct MinOp {
    template <typename T>
    static inline T at(T a, T b) {
        if constexpr (sizeof(T) > 8)
            return vec_min(a, b);
        else
            return rb_min(a, b);
    }
    template <typename T>
    static inline T identity() {
        return T(__builtin_inf());
    }
};

// Combines v [n] in place by halving, n a power of two; returns the result.
template <typename Op, typename T>
static inline T fold(T* v, i64 n) {
    for (i64 h = n / 2; h > 0; h /= 2) {
        for (i64 i = 0; i < h; ++i) v[i] = Op::at(v[i], v[i + h]);
    }
    return v[0];
}

// The same for the lanes of a register.
template <typename Op, typename T, typename R>
static inline T fold_register(R v) {
    constexpr int n = int(sizeof(R) / sizeof(T));
    if constexpr (n == 1) {
        return v[0];
    } else if constexpr (n == 2) {
        return Op::at(T(v[0]), T(v[1]));
    } else {
        return fold_register<Op, T>(Op::at(lower_half(v), upper_half(v)));
    }
}

// Same for any n: neighbours first.
template <typename Op, typename T>
static inline T fold_any(T* v, i64 n) {
    for (i64 h = 1; h < n; h *= 2) {
        for (i64 i = 0; i + h < n; i += 2 * h) v[i] = Op::at(v[i], v[i + h]);
    }
    return n > 0 ? v[0] : Op::template identity<T>();
}

// fold of the kLanes values in r [4] registers, without going through memory.
template <typename Op, typename T>
static inline T fold_registers(const VecT<T, kVecBytes>* r) {
    const VecT<T, kVecBytes> v = Op::at(Op::at(r[0], r[2]), Op::at(r[1], r[3]));
    return fold_register<Op, T>(v);
}

// One block: x [n] contiguous, n <= 32*kLanes. far: x comes from memory; its lines are asked for kFar bytes ahead.
constexpr i64 kFar = 4096;
template <typename Op, bool far = false, typename T>
static inline T reduce_block(const T* __restrict x, i64 n) {
    using R = VecT<T, kVecBytes>;
    constexpr i64 L = kLanes<T>, kWidth = L / 4;
    if (n < 16) {
        T s = Op::template identity<T>();
        for (i64 i = 0; i < n; ++i) s = Op::at(s, x[i]);
        return s;
    }
    R lane[4];
    if (n < L) {
        T few[L];
        for (i64 l = 0; l < L; ++l) few[l] = Op::template identity<T>();
        memcpy(few, x, size_t(n) * sizeof(T));
        memcpy(lane, few, sizeof lane);
        return fold_registers<Op, T>(lane);
    }
    memcpy(lane, x, sizeof lane);
    i64 i = L;
    for (; i + L <= n; i += L) {
        if (far) {
            for (i64 l = 0; l < L; l += 64 / i64(sizeof(T))) __builtin_prefetch(x + i + kFar / i64(sizeof(T)) + l);
        }
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) lane[k] = Op::at(lane[k], vec_load<R>(x + i + k * kWidth));
    }
    if (i < n) {
        T some[L];
        memcpy(some, lane, sizeof lane);
        for (i64 l = 0; l < n - i; ++l) some[l] = Op::at(some[l], x[i + l]);
        memcpy(lane, some, sizeof lane);
    }
    return fold_registers<Op, T>(lane);
}

// One chunk: blocks in order. Elements with a stride other than one are collected block by block first.
template <typename Op, bool far = false, typename T>
static T reduce_chunk(const T* x, i64 stride, i64 n) {
    constexpr i64 kBlock = 32 * kLanes<T>;
    T s = Op::template identity<T>();
    for (i64 i = 0; i < n; i += kBlock) {
        const i64 m = n - i < kBlock ? n - i : kBlock;
        if (stride == 1) {
            s = i ? Op::at(s, reduce_block<Op, far>(x + i, m)) : reduce_block<Op, far>(x, m);
        } else {
            T line[kBlock];
            for (i64 j = 0; j < m; ++j) line[j] = x[(i + j) * stride];
            s = i ? Op::at(s, reduce_block<Op>(line, m)) : reduce_block<Op>(line, m);
        }
    }
    return s;
}

// Contiguous x [n] in one call, for rows inside other kernels (softmax).
template <typename Op, typename T>
static inline T reduce_contiguous(const T* x, i64 n) {
    return reduce_chunk<Op>(x, 1, n);
}

// Elements of a chunk of a row of R: whole blocks.
constexpr i64 kMaxChunks = 512;
template <typename T>
static inline i64 row_chunk(i64 R) {
    constexpr i64 kBlock = 32 * kLanes<T>, chunk = 32 * kBlock;
    if ((R + chunk - 1) / chunk <= kMaxChunks) return chunk;
    return ((R + kMaxChunks - 1) / kMaxChunks + kBlock - 1) / kBlock * kBlock;
}

// x [A,R,1] -> y [A], y[a] = finish(result)
template <typename Op, typename T, typename Finish>
static void reduce_rows(const View& vx, T* y, const Finish& finish) {
    const T* x = static_cast<const T*>(vx.data);
    const i64 A = vx.shape[0], R = vx.shape[1], as = vx.stride[0], rs = vx.stride[1];
    const i64 chunk = row_chunk<T>(R), chunks = (R + chunk - 1) / chunk;
    if (chunks <= 1) {
        parallel(A, 2.0 + 0.08 * double(R), [&](i64 begin, i64 end) {
            for (i64 a = begin; a < end; ++a) y[a] = finish(reduce_chunk<Op>(x + a * as, rs, R));
        });
        return;
    }
    for (i64 a = 0; a < A; ++a) {
        T partial[kMaxChunks];
        parallel(chunks, 0.08 * double(chunk), [&](i64 begin, i64 end) {
            for (i64 c = begin; c < end; ++c) {
                const i64 n = R - c * chunk < chunk ? R - c * chunk : chunk;
                const T* first = x + a * as + c * chunk * rs;
                partial[c] = R >= (8 << 20) / i64(sizeof(T)) ? reduce_chunk<Op, true>(first, rs, n)
                                                             : reduce_chunk<Op>(first, rs, n);
            }
        });
        y[a] = finish(fold_any<Op>(partial, chunks));
    }
}

constexpr i64 kColumns = 256;  // columns handled together, at most
constexpr i64 kRowBlock = 128;
constexpr i64 kWide = 64;  // elements of a wide row, at most

// acc [w] = x [rows,w] combined over rows (<= 128), four rows at a time. Strides rs, bs.
template <typename Op, typename T>
static void reduce_row_block(const T* x, i64 rs, i64 bs, i64 rows, i64 w, T* __restrict acc) {
    T line[4][kColumns];
    for (i64 b = 0; b < w; ++b) acc[b] = Op::template identity<T>();
    for (i64 r = 0; r < rows; r += 4) {
        const i64 m = rows - r < 4 ? rows - r : 4;
        const T* in[4];
        for (i64 k = 0; k < m; ++k) {
            in[k] = x + (r + k) * rs;
            if (bs != 1) {
                for (i64 b = 0; b < w; ++b) line[k][b] = in[k][b * bs];
                in[k] = line[k];
            }
        }
        const T* __restrict i0 = in[0], * __restrict i1 = in[m > 1 ? 1 : 0], * __restrict i2 = in[m > 2 ? 2 : 0], * __restrict i3 = in[m > 3 ? 3 : 0];
        if (m == 4) {
            for (i64 b = 0; b < w; ++b) acc[b] = Op::at(acc[b], Op::at(Op::at(i0[b], i1[b]), Op::at(i2[b], i3[b])));
        } else {
            for (i64 k = 0; k < m; ++k) {
                const T* __restrict one = in[k];
                for (i64 b = 0; b < w; ++b) acc[b] = Op::at(acc[b], one[b]);
            }
        }
    }
}

// out [w] = a chunk of rows, x [rows,w]: blocks of 128 rows, 128 blocks to a group, groups in order.
template <typename Op, typename T>
static void reduce_row_chunk(const T* x, i64 rs, i64 bs, i64 rows, i64 w, T* __restrict out) {
    T block[kColumns], group[kColumns];
    for (i64 b = 0; b < w; ++b) out[b] = Op::template identity<T>();
    for (i64 g = 0; g < rows; g += kRowBlock * 128) {
        const i64 last = rows < g + kRowBlock * 128 ? rows : g + kRowBlock * 128;
        for (i64 b = 0; b < w; ++b) group[b] = Op::template identity<T>();
        for (i64 r = g; r < last; r += kRowBlock) {
            reduce_row_block<Op>(x + r * rs, rs, bs, last - r < kRowBlock ? last - r : kRowBlock, w, block);
            for (i64 b = 0; b < w; ++b) group[b] = Op::at(group[b], block[b]);
        }
        for (i64 b = 0; b < w; ++b) out[b] = Op::at(out[b], group[b]);
    }
}

// x [A,R,B], B > 1 -> y [A,B]
template <typename Op, typename T, typename Finish>
static void reduce_columns(const View& vx, T* y, i32 threads, const Finish& finish) {
    const T* x = static_cast<const T*>(vx.data);
    const i64 A = vx.shape[0], R = vx.shape[1], B = vx.shape[2];
    const i64 as = vx.stride[0], rs = vx.stride[1], bs = vx.stride[2];
    constexpr i64 kMaxChunks = 32;
    const i64 fold_rows = B <= kWide / 2 ? kWide / B : 1;  // rows that form one wide row
    const i64 wide = B * fold_rows;
    i64 chunk = 4096;  // rows; a multiple of fold_rows is taken below
    if (R > chunk * kMaxChunks) chunk = (R + kMaxChunks - 1) / kMaxChunks;
    chunk = (chunk + fold_rows - 1) / fold_rows * fold_rows;
    const i64 chunks = R ? (R + chunk - 1) / chunk : 1;
    const bool dense = bs == 1 && rs == B;  // wide rows lie contiguously in x

    // One chunk of the columns [b0, b0+w): into out [w].
    auto run_chunk = [&](i64 a, i64 c, i64 b0, i64 w, T* __restrict out) {
        const T* first = x + a * as + c * chunk * rs + b0 * bs;
        const i64 rows = R - c * chunk < chunk ? R - c * chunk : chunk;
        if (fold_rows == 1) return reduce_row_chunk<Op>(first, rs, bs, rows, w, out);
        T acc[kWide];  // [fold_rows,B]
        const i64 wide_rows = rows / fold_rows, done = wide_rows * fold_rows;
        if (dense) {
            reduce_row_chunk<Op>(first, wide, 1, wide_rows, wide, acc);
        } else {  // collect 128 wide rows at a time: the same order as above
            T lines[kRowBlock * kWide], block[kWide], group[kWide];
            for (i64 b = 0; b < wide; ++b) acc[b] = group[b] = Op::template identity<T>();
            for (i64 r = 0; r < wide_rows; r += kRowBlock) {
                const i64 m = wide_rows - r < kRowBlock ? wide_rows - r : kRowBlock;
                for (i64 i = 0; i < m * fold_rows; ++i) {
                    for (i64 b = 0; b < B; ++b) lines[i * B + b] = first[(r * fold_rows + i) * rs + b * bs];
                }
                reduce_row_block<Op>(lines, wide, 1, m, wide, block);
                for (i64 b = 0; b < wide; ++b) group[b] = Op::at(group[b], block[b]);
                if ((r / kRowBlock + 1) % 128 == 0 || r + kRowBlock >= wide_rows) {
                    for (i64 b = 0; b < wide; ++b) {
                        acc[b] = Op::at(acc[b], group[b]);
                        group[b] = Op::template identity<T>();
                    }
                }
            }
        }
        for (i64 b = 0; b < B; ++b) {
            T line[kWide];
            for (i64 f = 0; f < fold_rows; ++f) line[f] = acc[f * B + b];
            out[b] = fold_any<Op>(line, fold_rows);
        }
        for (i64 r = done; r < rows; ++r) {
            for (i64 b = 0; b < B; ++b) out[b] = Op::at(out[b], first[r * rs + b * bs]);
        }
    };
    const double per_element = bs == 1 ? 0.1 : 0.6;
    if (chunks == 1 || A * B >= 8 * kColumns) {
        i64 width = kColumns;  // columns per task: enough tasks for the team, the same bits for any width
        while (width > 64 && A * ((B + width - 1) / width) < threads) width /= 2;
        const i64 groups = (B + width - 1) / width;
        parallel(A * groups, 10.0 + per_element * double(R) * double(B < width ? B : width), [&](i64 begin, i64 end) {
            for (i64 u = begin; u < end; ++u) {
                const i64 a = u / groups, b0 = u % groups * width, w = B - b0 < width ? B - b0 : width;
                T partial[kColumns], one[kColumns];
                run_chunk(a, 0, b0, w, partial);
                for (i64 c = 1; c < chunks; ++c) {
                    run_chunk(a, c, b0, w, one);
                    for (i64 b = 0; b < w; ++b) partial[b] = Op::at(partial[b], one[b]);
                }
                for (i64 b = 0; b < w; ++b) y[a * B + b0 + b] = finish(partial[b]);
            }
        });
        return;
    }
    for (i64 a = 0; a < A; ++a) {
        for (i64 b0 = 0; b0 < B; b0 += kColumns) {
            const i64 w = B - b0 < kColumns ? B - b0 : kColumns;
            T partial[kMaxChunks + 1][kColumns];  // [chunks,w]
            parallel(chunks, per_element * double(chunk) * double(w), [&](i64 begin, i64 end) {
                for (i64 c = begin; c < end; ++c) run_chunk(a, c, b0, w, partial[c]);
            });
            for (i64 c = 1; c < chunks; ++c) {
                for (i64 b = 0; b < w; ++b) partial[0][b] = Op::at(partial[0][b], partial[c][b]);
            }
            for (i64 b = 0; b < w; ++b) y[a * B + b0 + b] = finish(partial[0][b]);
        }
    }
}

template <typename Op, typename T, typename Finish>
static void reduce(const View& x, const View& vy, const Ctx& ctx, const Finish& finish) {
    T* y = static_cast<T*>(vy.data);
    if (numel(vy) == 0) return;
    if (x.shape[2] == 1) {
        reduce_rows<Op>(x, y, finish);
    } else {
        reduce_columns<Op>(x, y, ctx.threads, finish);
    }
}

template <typename T>
static void sum_run(const void* args, Ctx& ctx) {
    const sum_args& a = *static_cast<const sum_args*>(args);
    const T scale = T(a.scale);
    reduce<AddOp, T>(a.x, a.y, ctx, [scale](T s) { return s * scale; });
}
template <typename T>
static void max_run(const void* args, Ctx& ctx) {
    const max_args& a = *static_cast<const max_args*>(args);
    reduce<MaxOp, T>(a.x, a.y, ctx, [](T s) { return s; });
}
template <typename T>
static void min_run(const void* args, Ctx& ctx) {
    const min_args& a = *static_cast<const min_args*>(args);
    reduce<MinOp, T>(a.x, a.y, ctx, [](T s) { return s; });
}

// Columns: running best and its row for 64 columns at a time. Rows (B = 1): the extreme value, then its first position.
template <bool smallest, typename T>
static void first_extreme(const View& vx, const View& vy) {
    const T* x = static_cast<const T*>(vx.data);
    i64* y = static_cast<i64*>(vy.data);
    const i64 A = vx.shape[0], R = vx.shape[1], B = vx.shape[2];
    const i64 as = vx.stride[0], rs = vx.stride[1], bs = vx.stride[2];
    if (B == 1) {
        parallel(A, 4.0 + 0.3 * double(R), [&](i64 begin, i64 end) {
            for (i64 a = begin; a < end; ++a) {
                const T* row = x + a * as;
                const T top = smallest ? reduce_chunk<MinOp>(row, rs, R) : reduce_chunk<MaxOp>(row, rs, R);
                i64 r = 0;
                while (r < R - 1 && row[r * rs] != top && (top == top || row[r * rs] == row[r * rs])) ++r;
                y[a] = r;
            }
        });
        return;
    }
    constexpr i64 kWidth = 64;
    const i64 groups = (B + kWidth - 1) / kWidth;
    parallel(A * groups, 0.5 * double(R) * double(B < kWidth ? B : kWidth), [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) {
            const i64 a = u / groups, b0 = u % groups * kWidth, w = B - b0 < kWidth ? B - b0 : kWidth;
            const T* in = x + a * as + b0 * bs;
            T best[kWidth];
            i64 where[kWidth];
            for (i64 b = 0; b < w; ++b) {
                best[b] = in[b * bs];
                where[b] = 0;
            }
            for (i64 r = 1; r < R; ++r) {
                for (i64 b = 0; b < w; ++b) {
                    const T value = in[r * rs + b * bs];
                    const bool better = smallest ? !(value >= best[b]) : !(value <= best[b]);
                    const bool take = (best[b] == best[b]) & better;
                    best[b] = take ? value : best[b];
                    where[b] = take ? r : where[b];
                }
            }
            for (i64 b = 0; b < w; ++b) y[a * B + b0 + b] = where[b];
        }
    });
}

template <typename T>
static void argmax_run(const void* args, Ctx&) {
    const argmax_args& a = *static_cast<const argmax_args*>(args);
    first_extreme<false, T>(a.x, a.y);
}
template <typename T>
static void argmin_run(const void* args, Ctx&) {
    const argmin_args& a = *static_cast<const argmin_args*>(args);
    first_extreme<true, T>(a.x, a.y);
}

constexpr void add_reduce(Table& t) {
    add_simd<sum_run<float>, sum_run<double>>(t, op_sum);
    add_simd<max_run<float>, max_run<double>>(t, op_max);
    add_simd<min_run<float>, min_run<double>>(t, op_min);
    add_simd<argmax_run<float>, argmax_run<double>>(t, op_argmax);
    add_simd<argmin_run<float>, argmin_run<double>>(t, op_argmin);
}
