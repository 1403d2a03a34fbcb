// conv2d_gemm.inl: convolutions that are one matrix product on the arrays as they lie: 1x1 kernels of stride 1, and
// kernels as large as their input (one output pixel). With M = N*P*Q pixels and D = R*S*C:
//     y [M,K] = x [M,D] w^T      dx [M,D] = dy [M,K] w      dw [K,D] = dy^T x

static bool is_product(const View& image, const View& w, const View& out, i64 stride_h, i64 stride_w, i64 pad_h,
                       i64 pad_w, i64 dil_h, i64 dil_w, i64 groups) {
    const i64 h = image.shape[1], wd = image.shape[2], r = w.shape[1], s = w.shape[2];
    const i64 p = out.shape[1], q = out.shape[2];
    if (groups != 1 || pad_h != 0 || pad_w != 0) return false;
    if (r == 1 && s == 1) return stride_h == 1 && stride_w == 1 && p == h && q == wd;
    return p == 1 && q == 1 && r == h && s == wd && (r == 1 || dil_h == 1) && (s == 1 || dil_w == 1);
}

static View matrix(const View& v, i64 rows, i64 cols, i64 row_stride, i64 col_stride) {
    View m{};
    m.data = v.data;
    m.dtype = v.dtype;
    m.ndim = 2;
    m.shape[0] = rows;
    m.shape[1] = cols;
    m.stride[0] = row_stride;
    m.stride[1] = col_stride;
    return m;
}

static View no_view() {
    View v{};
    v.ndim = -1;
    return v;
}

static gemm_args as_gemm(const conv2d_args& s) {
    const i64 m = s.y.shape[0] * s.y.shape[1] * s.y.shape[2], k = s.w.shape[0];
    const i64 d = s.w.shape[1] * s.w.shape[2] * s.w.shape[3];
    return gemm_args{
        matrix(s.x, m, d, d, 1), matrix(s.w, d, k, 1, d), s.bias, matrix(s.y, m, k, k, 1), 1.0, 0.0, s.act, s.work};
}
static gemm_args as_gemm(const conv2d_dx_args& s) {
    const i64 m = s.dy.shape[0] * s.dy.shape[1] * s.dy.shape[2], k = s.w.shape[0];
    const i64 d = s.w.shape[1] * s.w.shape[2] * s.w.shape[3];
    return gemm_args{matrix(s.dy, m, k, k, 1),
                     matrix(s.w, k, d, d, 1),
                     no_view(),
                     matrix(s.dx, m, d, d, 1),
                     1.0,
                     0.0,
                     act_none,
                     s.work};
}
static gemm_args as_gemm(const conv2d_dw_args& s) {
    const i64 m = s.dy.shape[0] * s.dy.shape[1] * s.dy.shape[2], k = s.dw.shape[0];
    const i64 d = s.dw.shape[1] * s.dw.shape[2] * s.dw.shape[3];
    return gemm_args{matrix(s.dy, k, m, 1, k),
                     matrix(s.x, m, d, d, 1),
                     no_view(),
                     matrix(s.dw, k, d, d, 1),
                     1.0,
                     0.0,
                     act_none,
                     s.work};
}

static bool conv2d_is_product(const void* args) {
    const conv2d_args& s = *static_cast<const conv2d_args*>(args);
    return is_product(s.x, s.w, s.y, s.stride_h, s.stride_w, s.pad_h, s.pad_w, s.dil_h, s.dil_w, s.groups);
}
static bool conv2d_dx_is_product(const void* args) {
    const conv2d_dx_args& s = *static_cast<const conv2d_dx_args*>(args);
    return is_product(s.dx, s.w, s.dy, s.stride_h, s.stride_w, s.pad_h, s.pad_w, s.dil_h, s.dil_w, s.groups);
}
static bool conv2d_dw_is_product(const void* args) {
    const conv2d_dw_args& s = *static_cast<const conv2d_dw_args*>(args);
    // many pixels: the direct kernel's chunks of images are the better cut of the sum
    return s.dy.shape[1] * s.dy.shape[2] == 1 &&
           is_product(s.x, s.dw, s.dy, s.stride_h, s.stride_w, s.pad_h, s.pad_w, s.dil_h, s.dil_w, s.groups);
}

template <typename T, typename A>
static i64 product_work(const void* args, const Ctx& ctx) {
    const gemm_args g = as_gemm(*static_cast<const A*>(args));
    return gemm_work<T>(&g, ctx);
}
template <typename T, typename A>
static void product_run(const void* args, Ctx& ctx) {
    const gemm_args g = as_gemm(*static_cast<const A*>(args));
    gemm_run<T>(&g, ctx);
}
