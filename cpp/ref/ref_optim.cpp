// ref_optim.cpp: in-place optimiser updates. Stochastic gradient descent with (Nesterov) momentum, dampening and weight
// decay; Adam (Kingma, Ba 2015) and, with decoupled = 1, AdamW (Loshchilov, Hutter 2019).
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

RB_REF_INSTANTIATE(sgd_update)
RB_REF_INSTANTIATE(adam_update)

}  // namespace rb::ref
