// select.inl: running sums, sort and top-k, rows by index and their adjoints. Promise: every (row, column) of [A,R,B]
// is worked on alone and sums are added in an order set by shape and indices, so threads change no bit.

// --- running sums and products
struct MulOp {
    template <typename T>
    static inline T at(T a, T b) {
        return a * b;
    }
    template <typename T>
    static inline T identity() {
        return T(1);
    }
};

// One contiguous row [n], `step` = -1: from its end. What came before is kept in double. Sums go in blocks of 8
// segments: one chain per segment, side by side, then each segment takes over what came before it. Products are one
// chain: that of a segment alone may overflow or vanish where the running product does not.
template <typename Op, typename T>
static void cumulate_row(const T* __restrict x, T* __restrict y, i64 n, i64 step) {
    constexpr i64 kSegments = 8, kLength = 256, kBlock = kSegments * kLength;
    if (step < 0) x += n - 1, y += n - 1;
    double carry = Op::template identity<double>();
    i64 i = 0;
    for (; __is_same(Op, AddOp) && i + kBlock <= n; i += kBlock) {
        T run[kSegments];
        for (i64 s = 0; s < kSegments; ++s) run[s] = Op::template identity<T>();
        for (i64 k = 0; k < kLength; ++k) {
            for (i64 s = 0; s < kSegments; ++s) {
                const i64 at = (i + s * kLength + k) * step;
                run[s] = Op::at(run[s], x[at]);
                y[at] = run[s];
            }
        }
        for (i64 s = 0; s < kSegments; ++s) {
            const i64 first = i + s * kLength;
            T* __restrict part = step > 0 ? y + first : y - (first + kLength - 1);
            const T before = T(carry);
            for (i64 k = 0; k < kLength; ++k) part[k] = Op::at(before, part[k]);
            carry = Op::at(carry, double(run[s]));
        }
    }
    for (; i < n; ++i) {
        carry = Op::at(carry, double(x[i * step]));
        y[i * step] = T(carry);
    }
}

template <typename Op, typename T>
static void cumulate(const T* x, T* y, const i64* shape, bool reverse) {
    const i64 A = shape[0], R = shape[1], B = shape[2];
    if (A == 0 || R == 0 || B == 0) return;
    if (B == 1) {
        parallel(A, 2.0 + (__is_same(Op, AddOp) ? 0.6 : 1.3) * double(R), [&](i64 begin, i64 end) {
            for (i64 a = begin; a < end; ++a) cumulate_row<Op>(x + a * R, y + a * R, R, reverse ? -1 : 1);
        });
        return;
    }
    constexpr i64 kWidth = 64;
    const i64 groups = (B + kWidth - 1) / kWidth;
    parallel(A * groups, 0.3 * double(R) * double(B < kWidth ? B : kWidth), [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) {
            const i64 at = u / groups * R * B + u % groups * kWidth, left = B - u % groups * kWidth;
            const i64 w = left < kWidth ? left : kWidth;
            T run[kWidth];
            for (i64 b = 0; b < w; ++b) run[b] = Op::template identity<T>();
            for (i64 r = 0; r < R; ++r) {
                const i64 row = at + (reverse ? R - 1 - r : r) * B;
                const T* __restrict in = x + row;
                T* __restrict out = y + row;
                for (i64 b = 0; b < w; ++b) out[b] = run[b] = Op::at(run[b], in[b]);
            }
        }
    });
}

template <typename T>
static void cumulate_run(const void* args, Ctx&) {
    const cumulate_args& a = *static_cast<const cumulate_args*>(args);
    const T* x = static_cast<const T*>(a.x.data);
    T* y = static_cast<T*>(a.y.data);
    if (a.product) {
        cumulate<MulOp>(x, y, a.x.shape, a.reverse != 0);
    } else {
        cumulate<AddOp>(x, y, a.x.shape, a.reverse != 0);
    }
}

// --- sort
// Unsigned keys in the order of the numbers: -0 equals 0, NaN is above everything, also when the order is turned round.
// Integers throughout: floating-point arithmetic would take float denormals for 0 (run.cpp).
static inline u32 sort_key(float x, bool descending) {
    constexpr u32 sign = 0x80000000u;
    const u32 bits = to_bits(x), b = bits == sign ? 0 : bits, key = b ^ (u32(i32(b) >> 31) | sign);
    return x != x ? ~0u : descending ? ~key - 1 : key;
}
static inline u64 sort_key(double x, bool descending) {
    constexpr u64 sign = u64{1} << 63;
    const u64 bits = to_bits(x), b = bits == sign ? 0 : bits, key = b ^ (u64(i64(b) >> 63) | sign);
    return x != x ? ~u64{0} : descending ? ~key - 1 : key;
}
template <typename T>
struct Keyed {
    decltype(sort_key(T(), false)) key;
    u32 index;
};

// v [n] sorted by key, stable; spare [n]. Few: insertion. Many: radix sort by bytes, skipping those that are all equal.
template <typename K>
static K* sort_keyed(K* v, K* spare, i64 n) {
    if (n <= 48) {
        for (i64 i = 1; i < n; ++i) {
            const K one = v[i];
            i64 j = i;
            for (; j > 0 && one.key < v[j - 1].key; --j) v[j] = v[j - 1];
            v[j] = one;
        }
        return v;
    }
    constexpr int kBytes = int(sizeof(v->key));
    u32 count[kBytes][256];
    memset(count, 0, sizeof count);
    for (i64 i = 0; i < n; ++i) {
        for (int d = 0; d < kBytes; ++d) ++count[d][v[i].key >> (8 * d) & 255];
    }
    for (int d = 0; d < kBytes; ++d) {
        if (count[d][v[0].key >> (8 * d) & 255] == u32(n)) continue;
        u32 from[256], sum = 0;
        for (int b = 0; b < 256; ++b) {
            from[b] = sum;
            sum += count[d][b];
        }
        for (i64 i = 0; i < n; ++i) spare[from[v[i].key >> (8 * d) & 255]++] = v[i];
        K* t = v;
        v = spare;
        spare = t;
    }
    return v;
}

// best [k] = the k smallest of n keys in order, for k far below n: most keys are not below the last of the best.
template <typename K, typename KeyOf>
static void keep_smallest(K* best, i64 k, i64 n, const KeyOf& key_of) {
    i64 kept = 0;
    for (i64 r = 0; r < n; ++r) {
        const auto key = key_of(r);
        if (kept == k && !(key < best[k - 1].key)) continue;
        i64 j = kept < k ? kept++ : k - 1;
        for (; j > 0 && key < best[j - 1].key; --j) best[j] = best[j - 1];
        best[j] = {key, u32(r)};
    }
}

// The k first of R: few are kept while all go by; else all are sorted. Keyed values that a worker needs.
static inline bool sort_few(i64 k, i64 R) {
    return k <= 64 && k <= R / 8;
}
static inline i64 sort_own(i64 k, i64 R) {
    return sort_few(k, R) ? k : 2 * R;
}

template <typename T>
static i64 sort_work(const void* args, const Ctx& ctx) {
    const sort_args& a = *static_cast<const sort_args*>(args);
    const i64 columns = a.x.shape[0] * a.x.shape[2];
    return columns ? workers_for(ctx, columns) * sort_own(a.y.shape[1], a.x.shape[1]) * i64(sizeof(Keyed<T>)) : 0;
}

template <typename T>
static void sort_run(const void* args, Ctx&) {
    const sort_args& a = *static_cast<const sort_args*>(args);
    const T* x = static_cast<const T*>(a.x.data);
    T* y = static_cast<T*>(a.y.data);
    i64* idx = static_cast<i64*>(a.idx.data);
    const i64 A = a.x.shape[0], R = a.x.shape[1], B = a.x.shape[2], k = a.y.shape[1];
    if (A == 0 || B == 0 || k == 0) return;
    const bool descending = a.descending != 0, few = sort_few(k, R);
    parallel(A * B, (few ? 2.0 : 12.0) * double(R) + 100.0, [&](i64 begin, i64 end) {
        Keyed<T>* buffer = static_cast<Keyed<T>*>(a.work.data) + sort_own(k, R) * worker_index();
        for (i64 u = begin; u < end; ++u) {
            const T* in = x + u / B * R * B + u % B;
            const auto key_of = [&](i64 r) { return sort_key(in[r * B], descending); };
            const Keyed<T>* sorted = buffer;
            if (few) {
                keep_smallest(buffer, k, R, key_of);
            } else {
                for (i64 r = 0; r < R; ++r) buffer[r] = {key_of(r), u32(r)};
                sorted = sort_keyed(buffer, buffer + R, R);
            }
            const i64 to = u / B * k * B + u % B;
            for (i64 i = 0; i < k; ++i) {
                y[to + i * B] = in[i64(sorted[i].index) * B];
                idx[to + i * B] = i64(sorted[i].index);
            }
        }
    });
}

// --- rows by index
template <typename T>
static void take_run(const void* args, Ctx&) {
    const take_args& a = *static_cast<const take_args*>(args);
    const T* x = static_cast<const T*>(a.x.data);
    T* y = static_cast<T*>(a.y.data);
    const i64* idx = static_cast<const i64*>(a.idx.data);
    const i64 A = a.x.shape[0], R = a.x.shape[1], B = a.x.shape[2], K = a.y.shape[1];
    parallel(A * K, 2.0 + 0.15 * double(B), [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) {
            const T* __restrict row = x + (u / K * R + idx[u % K]) * B;
            T* __restrict out = y + u * B;
            for (i64 b = 0; b < B; ++b) out[b] = row[b];
        }
    });
}

// The segment-sorted scatter: `start` [R+1] and `order` [K] list, for every row, the k that add to it in rising order;
// then rows are independent.
static i64 take_dx_work(const void* args, const Ctx&) {
    const take_dx_args& a = *static_cast<const take_dx_args*>(args);
    return (a.dx.shape[1] + 1 + a.dy.shape[1]) * i64(sizeof(i64));
}
template <typename T>
static void take_dx_run(const void* args, Ctx&) {
    const take_dx_args& a = *static_cast<const take_dx_args*>(args);
    const T* dy = static_cast<const T*>(a.dy.data);
    T* dx = static_cast<T*>(a.dx.data);
    const i64* idx = static_cast<const i64*>(a.idx.data);
    const i64 A = a.dx.shape[0], R = a.dx.shape[1], B = a.dx.shape[2], K = a.dy.shape[1];
    i64 *start = static_cast<i64*>(a.work.data), *order = start + R + 1;
    memset(start, 0, size_t(R + 1) * sizeof(i64));
    for (i64 k = 0; k < K; ++k) ++start[idx[k] + 1];
    for (i64 r = 0; r < R; ++r) start[r + 1] += start[r];
    for (i64 k = 0; k < K; ++k) order[start[idx[k]]++] = k;  // start[r] becomes the end of r, the start of r + 1
    const double adds = double(K) / double(R > 0 ? R : 1);
    parallel(A * R, 2.0 + 0.15 * double(B) * (1.0 + adds), [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) {
            const i64 r = u % R, first = r ? start[r - 1] : 0;
            T* __restrict out = dx + u * B;
            for (i64 b = 0; b < B; ++b) out[b] = T(0);
            for (i64 s = first; s < start[r]; ++s) {
                const T* __restrict row = dy + (u / R * K + order[s]) * B;
                for (i64 b = 0; b < B; ++b) out[b] += row[b];
            }
        }
    });
}

// One index per element: columns are independent, rows of a column are not.
constexpr i64 kGatherWidth = 256;
template <typename F>
static void for_each_columns(i64 A, i64 R, i64 B, const F& body) {
    const i64 groups = (B + kGatherWidth - 1) / kGatherWidth;
    parallel(A * groups, 2.0 + 1.0 * double(R) * double(B < kGatherWidth ? B : kGatherWidth), [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) {
            const i64 b = u % groups * kGatherWidth;
            body(u / groups, b, B - b < kGatherWidth ? B : b + kGatherWidth);
        }
    });
}
template <typename T>
static void gather_run(const void* args, Ctx&) {
    const gather_args& v = *static_cast<const gather_args*>(args);
    const T* x = static_cast<const T*>(v.x.data);
    T* y = static_cast<T*>(v.y.data);
    const i64* idx = static_cast<const i64*>(v.idx.data);
    const i64 R = v.x.shape[1], B = v.x.shape[2], K = v.y.shape[1];
    for_each_columns(v.x.shape[0], K, B, [&](i64 a, i64 first, i64 last) {
        for (i64 k = 0; k < K; ++k) {
            const i64 row = (a * K + k) * B;
            for (i64 b = first; b < last; ++b) y[row + b] = x[(a * R + idx[row + b]) * B + b];
        }
    });
}
template <typename T>
static void gather_dx_run(const void* args, Ctx&) {
    const gather_dx_args& v = *static_cast<const gather_dx_args*>(args);
    const T* dy = static_cast<const T*>(v.dy.data);
    T* dx = static_cast<T*>(v.dx.data);
    const i64* idx = static_cast<const i64*>(v.idx.data);
    const i64 R = v.dx.shape[1], B = v.dx.shape[2], K = v.dy.shape[1];
    for_each_columns(v.dx.shape[0], R + K, B, [&](i64 a, i64 first, i64 last) {
        for (i64 r = 0; r < R; ++r) {
            for (i64 b = first; b < last; ++b) dx[(a * R + r) * B + b] = T(0);
        }
        for (i64 k = 0; k < K; ++k) {
            const i64 row = (a * K + k) * B;
            for (i64 b = first; b < last; ++b) dx[(a * R + idx[row + b]) * B + b] += dy[row + b];
        }
    });
}

// --- activation and bias, backward: blocks of rows by shape, runs of 64 rows inside them; partial sums in order
static inline i64 bias_block(i64 M) {
    return M <= 64 * 256 ? 64 : ((M + 255) / 256 + 63) / 64 * 64;
}
template <typename T>
static i64 bias_act_dx_work(const void* args, const Ctx&) {
    const bias_act_dx_args& a = *static_cast<const bias_act_dx_args*>(args);
    const i64 block = bias_block(a.y.shape[0]), blocks = (a.y.shape[0] + block - 1) / block;
    return blocks > 1 ? blocks * a.y.shape[1] * i64(sizeof(T)) : 0;
}
template <i32 act, typename T>
static inline T act_slope(T y, T dy) {
    if (act == act_relu) return y > T(0) ? dy : T(0);
    if (act == act_tanh) return dy * rb_fma(-y, y, T(1));
    if (act == act_sigmoid) return dy * (y * (T(1) - y));
    return dy;
}
// Rows [begin, end) of columns [0, w): dx, and their sum into db.
template <i32 act, typename T>
static void bias_act_rows(const T* y, const T* dy, T* dx, i64 begin, i64 end, i64 N, i64 w, T* __restrict db) {
    T run[kColumns];
    for (i64 n = 0; n < w; ++n) db[n] = T(0);
    for (i64 first = begin; first < end; first += 64) {
        const i64 last = first + 64 < end ? first + 64 : end;
        for (i64 n = 0; n < w; ++n) run[n] = T(0);
        for (i64 m = first; m < last; ++m) {
            const T* __restrict p = y + m * N;
            const T* __restrict d = dy + m * N;
            T* __restrict out = dx + m * N;
            for (i64 n = 0; n < w; ++n) {
                out[n] = act_slope<act>(p[n], d[n]);
                run[n] += out[n];
            }
        }
        for (i64 n = 0; n < w; ++n) db[n] += run[n];
    }
}
template <i32 act, typename T>
static void bias_act(const bias_act_dx_args& a) {
    const T *y = static_cast<const T*>(a.y.data), *dy = static_cast<const T*>(a.dy.data);
    T *dx = static_cast<T*>(a.dx.data), *db = static_cast<T*>(a.db.data);
    const i64 M = a.y.shape[0], N = a.y.shape[1], block = bias_block(M), blocks = M ? (M + block - 1) / block : 1;
    T* partial = blocks > 1 ? static_cast<T*>(a.work.data) : db;  // [blocks,N]
    const i64 groups = (N + kColumns - 1) / kColumns;
    const double cost = 0.25 * double(M < block ? M : block) * double(N < kColumns ? N : kColumns);
    parallel(blocks * groups, cost, [&](i64 begin, i64 end) {
        for (i64 u = begin; u < end; ++u) {
            const i64 i = u / groups, n = u % groups * kColumns, w = N - n < kColumns ? N - n : kColumns;
            const i64 last = (i + 1) * block < M ? (i + 1) * block : M;
            bias_act_rows<act>(y + n, dy + n, dx + n, i * block, last, N, w, partial + i * N + n);
        }
    });
    if (blocks <= 1) return;
    for (i64 n = 0; n < N; ++n) db[n] = partial[n];
    for (i64 i = 1; i < blocks; ++i) {
        for (i64 n = 0; n < N; ++n) db[n] += partial[i * N + n];
    }
}
template <typename T>
static void bias_act_dx_run(const void* args, Ctx&) {
    const bias_act_dx_args& a = *static_cast<const bias_act_dx_args*>(args);
    switch (a.act) {
        case act_relu:
            return bias_act<act_relu, T>(a);
        case act_tanh:
            return bias_act<act_tanh, T>(a);
        case act_sigmoid:
            return bias_act<act_sigmoid, T>(a);
        default:
            return bias_act<act_none, T>(a);
    }
}

template <typename T>
constexpr Impl kSortImpls[] = {{"simd", sort_run<T>, sort_work<T>, nullptr, nullptr}};
template <typename T>
constexpr Impl kTakeDxImpls[] = {{"simd", take_dx_run<T>, take_dx_work, nullptr, nullptr}};
template <typename T>
constexpr Impl kBiasActDxImpls[] = {{"simd", bias_act_dx_run<T>, bias_act_dx_work<T>, nullptr, nullptr}};

constexpr void add_select(Table& t) {
    add_simd<cumulate_run<float>, cumulate_run<double>>(t, op_cumulate);
    add_simd<take_run<float>, take_run<double>>(t, op_take);
    add_simd<gather_run<float>, gather_run<double>>(t, op_gather);
    add_simd<gather_dx_run<float>, gather_dx_run<double>>(t, op_gather_dx);
    t.entry[op_sort][f32] = Entry{kSortImpls<float>, 1};
    t.entry[op_sort][f64] = Entry{kSortImpls<double>, 1};
    t.entry[op_take_dx][f32] = Entry{kTakeDxImpls<float>, 1};
    t.entry[op_take_dx][f64] = Entry{kTakeDxImpls<double>, 1};
    t.entry[op_bias_act_dx][f32] = Entry{kBiasActDxImpls<float>, 1};
    t.entry[op_bias_act_dx][f64] = Entry{kBiasActDxImpls<double>, 1};
}
