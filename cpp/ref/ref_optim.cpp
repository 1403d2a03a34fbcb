// ref_optim.cpp: in-place optimiser updates. Stochastic gradient descent with (Nesterov) momentum, dampening and weight
// decay; Adam (Kingma, Ba 2015) and, with decoupled = 1, AdamW (Loshchilov, Hutter 2019); Nesterov's method in its own
// steps; Adagrad (Duchi et al. 2011), RMSprop (Tieleman, Hinton 2012; centred: Graves 2013), Adadelta (Zeiler 2012),
// delta-bar-delta (Jacobs 1988). Norms, clipping and projections. `inside` puts eps inside the root.
#include "ref/ref.hpp"

#include <cmath>

namespace rb::ref {

template <typename T>
void sgd_update(const sgd_update_args& a) {
    for (i64 i = 0; i < numel(a.p); ++i) {
        double p = double(ptr<T>(a.p)[i]);
        double d = double(ptr<T>(a.g)[i]) + a.weight_decay * p;
        if (a.momentum != 0.0) {
            double m = a.first ? d : a.momentum * double(ptr<T>(a.m)[i]) + (1.0 - a.dampening) * d;
            ptr<T>(a.m)[i] = T(m);
            d = a.nesterov ? d + a.momentum * m : m;
        }
        ptr<T>(a.p)[i] = T(p - a.lr * d);
    }
}

template <typename T>
void adam_update(const adam_update_args& a) {
    const double correction1 = 1.0 - std::pow(a.beta1, double(a.step));
    const double correction2 = 1.0 - std::pow(a.beta2, double(a.step));
    for (i64 i = 0; i < numel(a.p); ++i) {
        double p = double(ptr<T>(a.p)[i]), g = double(ptr<T>(a.g)[i]);
        if (a.decoupled) {
            p -= a.lr * a.weight_decay * p;
        } else {
            g += a.weight_decay * p;
        }
        double m = a.beta1 * double(ptr<T>(a.m)[i]) + (1.0 - a.beta1) * g;
        double v = a.beta2 * double(ptr<T>(a.v)[i]) + (1.0 - a.beta2) * g * g;
        ptr<T>(a.m)[i] = T(m);
        ptr<T>(a.v)[i] = T(v);
        ptr<T>(a.p)[i] = T(p - a.lr * (m / correction1) / (std::sqrt(v / correction2) + a.eps));
    }
}

// p stands `behind` * v past the iterate; it is left `ahead` * v past the new one.
template <typename T>
void nesterov_update(const nesterov_update_args& a) {
    for (i64 i = 0; i < numel(a.p); ++i) {
        double p = double(ptr<T>(a.p)[i]), v = double(ptr<T>(a.v)[i]);
        double d = double(ptr<T>(a.g)[i]) + a.weight_decay * p;
        double next = a.momentum * v - a.lr * d;
        ptr<T>(a.v)[i] = T(next);
        ptr<T>(a.p)[i] = T(p - a.behind * v + next + a.ahead * next);
    }
}

static double root(double v, double eps, i64 inside) {
    return inside ? std::sqrt(v + eps) : std::sqrt(v) + eps;
}

template <typename T>
void adagrad_update(const adagrad_update_args& a) {
    for (i64 i = 0; i < numel(a.p); ++i) {
        double p = double(ptr<T>(a.p)[i]);
        double d = double(ptr<T>(a.g)[i]) + a.weight_decay * p;
        double s = double(ptr<T>(a.s)[i]) + d * d;
        ptr<T>(a.s)[i] = T(s);
        ptr<T>(a.p)[i] = T(p - a.lr * d / root(s, a.eps, a.inside));
    }
}

template <typename T>
void rmsprop_update(const rmsprop_update_args& a) {
    for (i64 i = 0; i < numel(a.p); ++i) {
        double p = double(ptr<T>(a.p)[i]);
        double d = double(ptr<T>(a.g)[i]) + a.weight_decay * p;
        double v = a.rho * double(ptr<T>(a.v)[i]) + (1.0 - a.rho) * d * d;
        ptr<T>(a.v)[i] = T(v);
        if (present(a.mean)) {
            double mean = a.rho * double(ptr<T>(a.mean)[i]) + (1.0 - a.rho) * d;
            ptr<T>(a.mean)[i] = T(mean);
            v = v - mean * mean < 0.0 ? 0.0 : v - mean * mean;
        }
        d /= root(v, a.eps, a.inside);
        if (present(a.m)) {
            d += a.momentum * double(ptr<T>(a.m)[i]);
            ptr<T>(a.m)[i] = T(d);
        }
        ptr<T>(a.p)[i] = T(p - a.lr * d);
    }
}

template <typename T>
void adadelta_update(const adadelta_update_args& a) {
    for (i64 i = 0; i < numel(a.p); ++i) {
        double p = double(ptr<T>(a.p)[i]), d = double(ptr<T>(a.d)[i]);
        double g = double(ptr<T>(a.g)[i]) + a.weight_decay * p;
        double v = a.rho * double(ptr<T>(a.v)[i]) + (1.0 - a.rho) * g * g;
        double move = std::sqrt(d + a.eps) / std::sqrt(v + a.eps) * g;
        ptr<T>(a.v)[i] = T(v);
        ptr<T>(a.d)[i] = T(a.rho * d + (1.0 - a.rho) * move * move);
        ptr<T>(a.p)[i] = T(p - a.lr * move);
    }
}

template <typename T>
void delta_bar_delta_update(const delta_bar_delta_update_args& a) {
    for (i64 i = 0; i < numel(a.p); ++i) {
        double p = double(ptr<T>(a.p)[i]), bar = double(ptr<T>(a.bar)[i]), rate = double(ptr<T>(a.rate)[i]);
        double d = double(ptr<T>(a.g)[i]) + a.weight_decay * p;
        // signs, not the product: small gradients must not underflow to "no agreement"
        if ((bar > 0.0 && d > 0.0) || (bar < 0.0 && d < 0.0)) {
            rate += a.kappa;
        } else if ((bar > 0.0 && d < 0.0) || (bar < 0.0 && d > 0.0)) {
            rate *= 1.0 - a.phi;
        }
        ptr<T>(a.rate)[i] = T(rate);
        ptr<T>(a.bar)[i] = T((1.0 - a.theta) * d + a.theta * bar);
        ptr<T>(a.p)[i] = T(p - a.scale * rate * d);
    }
}

static double larger(double a, double b) {  // NaN if either is
    return a > b || a != a ? a : b;
}

template <typename T>
void norm_update(const norm_update_args& a) {
    T* norms = ptr<T>(a.norms);
    double sum = 0.0, top = 0.0;
    for (i64 i = 0; i < numel(a.x); ++i) {
        double x = double(ptr<T>(a.x)[i]);
        sum += x * x;
        top = larger(std::fabs(x), top);
    }
    const double before = a.first ? 0.0 : double(norms[0]), highest = a.first ? 0.0 : double(norms[2]);
    norms[0] = T(std::sqrt(before * before + sum));
    norms[1] = T(std::sqrt(sum));
    norms[2] = T(larger(highest, top));
    norms[3] = T(top);
}

template <typename T>
void norm_scale_update(const norm_scale_update_args& a) {
    const double factor = a.limit / (double(ptr<T>(a.norms)[a.which]) + a.eps);
    if (factor >= 1.0) return;
    for (i64 i = 0; i < numel(a.x); ++i) ptr<T>(a.x)[i] = T(double(ptr<T>(a.x)[i]) * double(T(factor)));
}

template <typename T>
void clip_update(const clip_update_args& a) {
    const T low = T(a.low), high = T(a.high);
    for (i64 i = 0; i < numel(a.x); ++i) {
        T& x = ptr<T>(a.x)[i];
        x = x < low ? low : x > high ? high : x;
    }
}

template <typename T>
void row_norm_update(const row_norm_update_args& a) {
    const i64 n = numel(a.x) / a.rows;
    for (i64 r = 0; n > 0 && r < a.rows; ++r) {
        T* x = ptr<T>(a.x) + r * n;
        double sum = 0.0;
        for (i64 i = 0; i < n; ++i) sum += double(x[i]) * double(x[i]);
        const double norm = std::sqrt(sum);
        if (norm == 0.0 || (norm >= a.low && norm <= a.high)) continue;
        const double factor = (norm < a.low ? a.low : a.high) / norm;
        for (i64 i = 0; i < n; ++i) x[i] = T(double(x[i]) * factor);
    }
}

RB_REF_INSTANTIATE(sgd_update)
RB_REF_INSTANTIATE(adam_update)
RB_REF_INSTANTIATE(nesterov_update)
RB_REF_INSTANTIATE(adagrad_update)
RB_REF_INSTANTIATE(rmsprop_update)
RB_REF_INSTANTIATE(adadelta_update)
RB_REF_INSTANTIATE(delta_bar_delta_update)
RB_REF_INSTANTIATE(norm_update)
RB_REF_INSTANTIATE(norm_scale_update)
RB_REF_INSTANTIATE(clip_update)
RB_REF_INSTANTIATE(row_norm_update)

}  // namespace rb::ref
