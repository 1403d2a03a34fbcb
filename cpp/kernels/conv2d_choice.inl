// conv2d_choice.inl: the implementations of the three operations, and what each is predicted to cost.
//
// Costs count multiply-adds of whole registers, 0.27 ns each on the machine they were fitted on; only ratios matter.
// "gemm" has none (0): where it accepts a call it is the right choice.

constexpr double kTransform = 700;  // multiply-adds that one register of a 4x4 tile's transform is worth, forth or back
constexpr double kWeightTransform = 230;  // .. of the weights, which are at hand
constexpr double kSumTransform = 1800;    // .. of the weight gradient's sums, which come from memory

// Engine of conv2d.inl: every output pixel of every row meets taps * c elements. Tiles of fewer than four rows wait for
// their own results.
template <typename T>
static double direct_cost(const Conv<T>& cv) {
    const double taps = double(cv.kernel_h * cv.kernel_w * cv.c) / double(cv.phases_h * cv.phases_w);
    const double pixels = double(cv.n * cv.out_h) * double(max_i(cv.out_w, 4));
    const double packing = 3 * double(cv.kernel_h * cv.kernel_w * cv.c);
    return (pixels * taps / (cv.c < 32 ? 0.83 : 0.92) + packing) * double(cv.groups) * row_registers<T>(cv.k) *
           kRegister;
}

// conv2d_depthwise.inl: every output pixel, or pixel of dy, meets every tap.
constexpr double kDepthTap = 0.36, kDepthPixel = 3;  // nanoseconds of a register
template <typename T>
static double depth_cost(const Conv<T>& cv) {
    const double pixels = double(cv.n * cv.out_h * cv.out_w) * double(ceil_div(cv.groups, V<T>::L));
    const double taps = double(cv.kernel_h * cv.kernel_w) / double(cv.phases_h * cv.phases_w);
    return pixels * (kDepthTap * taps + kDepthPixel);
}
template <typename T>
static double depth_dw_cost(const ConvDw<T>& d) {
    return double(d.n * d.p * d.q) * double(ceil_div(d.groups, V<T>::L)) *
           (kDepthTap * double(d.r * d.s) + kDepthPixel);
}

// conv2d_scatter.inl: a product of S*C columns per row of dy and kernel row, then Q runs of sums.
template <typename T>
static double scatter_cost(const Conv<T>& cv) {
    const double pixels = double(cv.n * cv.out_h) * double(max_i(cv.w, 4)),
                 columns = row_registers<T>(cv.kernel_w * cv.k);
    const double products = double(cv.kernel_h * cv.c) / double(cv.stride_h) * columns / 0.85;
    return pixels * (products + 4 * double(ceil_div(cv.kernel_w * cv.k, V<T>::L))) * kRegister;
}

template <typename T, int M>
static double winograd_cost(const Conv<T>& cv) {
    constexpr double points = (M + 2) * (M + 2), transform = kTransform * points / 36;
    const double tiles = double(cv.n * ceil_div(cv.out_h, M)) * double(ceil_div(cv.out_w, M));
    const double columns = row_registers<T>(cv.k), lanes = double(ceil_div(cv.c, V<T>::L));
    const double products = points * (tiles < 4 ? 4 : tiles) * double(cv.c) * columns / 0.92;
    const double weights = kWeightTransform * points / 36 * double(cv.c) * columns;
    return (products + transform * tiles * (lanes + columns) + weights) * kRegister;
}

template <typename T>
static double direct_dw_cost(const ConvDw<T>& d) {
    const double pixels = double(d.n * d.p) * double(d.q) * double(d.k * d.groups);
    const i64 run = d.s * d.c;
    const double columns = dw_wants_columns(d) ? row_registers<T>(d.r * run) : double(d.r) * row_registers<T>(run);
    return pixels * columns / 0.85 * kRegister;
}

template <typename T, int M>
static double winograd_dw_cost(const ConvDw<T>& d) {
    constexpr double points = (M + 2) * (M + 2), scale = points / 36;
    const double tiles = double(d.n * ceil_div(d.p, M)) * double(ceil_div(d.q, M));
    const double columns = row_registers<T>(d.c);
    const double products = points * tiles * double(d.k) * columns / 0.88;
    const double transforms =
        kTransform * tiles * (columns + row_registers<T>(d.k)) + kSumTransform * double(d.k) * columns;
    return (products + scale * transforms) * kRegister;
}

template <typename T, double (*Cost)(const Conv<T>&)>
static double forward_cost(const void* args) {
    return Cost(conv_forward<T>(*static_cast<const conv2d_args*>(args)));
}
template <typename T, double (*Cost)(const Conv<T>&)>
static double backward_cost(const void* args) {
    return Cost(conv_backward<T>(*static_cast<const conv2d_dx_args*>(args)));
}
template <typename T, double (*Cost)(const ConvDw<T>&)>
static double weight_cost(const void* args) {
    return Cost(conv_dw_of<T>(*static_cast<const conv2d_dw_args*>(args)));
}

template <typename T>
constexpr Impl kConv2dImpls[] = {
    {"gemm", product_run<T, conv2d_args>, product_work<T, conv2d_args>, conv2d_is_product, nullptr},
    {"depthwise", depth_run<T>, depth_work<T>, depth_accepts, forward_cost<T, depth_cost<T>>},
    {"direct", conv2d_run<T>, conv2d_work<T>, nullptr, forward_cost<T, direct_cost<T>>},
    {"winograd4x4", winograd_run<T, 4>, winograd_work<T, 4>, winograd_accepts, forward_cost<T, winograd_cost<T, 4>>},
    {"winograd2x2", winograd_run<T, 2>, winograd_work<T, 2>, winograd_accepts, forward_cost<T, winograd_cost<T, 2>>},
    {"fft", fft_conv_run<T, conv2d_args>, fft_conv_work<T, conv2d_args>, fft_accepts<conv2d_args>,
     fft_conv_cost<T, conv2d_args>}};
template <typename T>
constexpr Impl kConv2dDxImpls[] = {
    {"gemm", product_run<T, conv2d_dx_args>, product_work<T, conv2d_dx_args>, conv2d_dx_is_product, nullptr},
    {"depthwise", depth_dx_run<T>, depth_dx_work<T>, depth_dx_accepts, backward_cost<T, depth_cost<T>>},
    {"direct", conv2d_dx_run<T>, conv2d_dx_work<T>, nullptr, backward_cost<T, direct_cost<T>>},
    {"scatter", scatter_run<T>, scatter_work<T>, scatter_accepts, backward_cost<T, scatter_cost<T>>},
    {"winograd4x4", winograd_dx_run<T, 4>, winograd_dx_work<T, 4>, winograd_dx_accepts,
     backward_cost<T, winograd_cost<T, 4>>},
    {"winograd2x2", winograd_dx_run<T, 2>, winograd_dx_work<T, 2>, winograd_dx_accepts,
     backward_cost<T, winograd_cost<T, 2>>},
    {"fft", fft_conv_run<T, conv2d_dx_args>, fft_conv_work<T, conv2d_dx_args>, fft_accepts<conv2d_dx_args>,
     fft_conv_cost<T, conv2d_dx_args>}};
template <typename T>
constexpr Impl kConv2dDwImpls[] = {
    {"gemm", product_run<T, conv2d_dw_args>, product_work<T, conv2d_dw_args>, conv2d_dw_is_product, nullptr},
    {"depthwise", depth_dw_run<T>, depth_dw_work<T>, depth_dw_accepts, weight_cost<T, depth_dw_cost<T>>},
    {"direct", conv2d_dw_run<T>, conv2d_dw_work<T>, nullptr, weight_cost<T, direct_dw_cost<T>>},
    {"winograd4x4", winograd_dw_run<T, 4>, winograd_dw_work<T, 4>, winograd_dw_accepts,
     weight_cost<T, winograd_dw_cost<T, 4>>},
    {"winograd2x2", winograd_dw_run<T, 2>, winograd_dw_work<T, 2>, winograd_dw_accepts,
     weight_cost<T, winograd_dw_cost<T, 2>>},
    {"fft", fft_conv_run<T, conv2d_dw_args>, fft_conv_work<T, conv2d_dw_args>, fft_accepts<conv2d_dw_args>,
     fft_conv_cost<T, conv2d_dw_args>}};

template <i64 N>
constexpr Entry entry_of(const Impl (&impls)[N]) {
    return Entry{impls, i32(N)};
}

constexpr void add_conv2d(Table& t) {
    t.entry[op_conv2d][f32] = entry_of(kConv2dImpls<float>);
    t.entry[op_conv2d][f64] = entry_of(kConv2dImpls<double>);
    t.entry[op_conv2d_dx][f32] = entry_of(kConv2dDxImpls<float>);
    t.entry[op_conv2d_dx][f64] = entry_of(kConv2dDxImpls<double>);
    t.entry[op_conv2d_dw][f32] = entry_of(kConv2dDwImpls<float>);
    t.entry[op_conv2d_dw][f64] = entry_of(kConv2dDwImpls<double>);
}
