// Activations on the CPU, compiled once for each instruction set (PECLIP_ISA, the namespace).
//
// Everything here has internal linkage and uses no library template, see elementary.h.
#include "cpu/feed_forward/kernels.h"
#include "cpu/numbers.h"

namespace peclip_fast {
namespace PECLIP_ISA {
namespace {

constexpr float kQuick = 1.702f;

// x sigmoid(1.702 x), as CLIP has it, and its slope.
struct QuickGelu {
    PECLIP_FN float value(float x) { return x * sigmoid(kQuick * x); }
    PECLIP_FN float slope(float x) {
        const float s = sigmoid(kQuick * x);
        return s + kQuick * x * s * (1.0f - s);
    }
};

struct Gelu {
    PECLIP_FN float value(float x) { return x * normal_cdf(x); }
    PECLIP_FN float slope(float x) { return normal_cdf(x) + x * normal_density(x); }
};

// output[i] = function(i) for i < count, by runs of a fixed length: computing and rounding apart, each
// in a loop of its own, become vector code.
template <class T, class Function>
inline void fill(T* output, int64_t count, Function function) {
    constexpr int64_t kRun = 64;
    int64_t first = 0;
    for (; first + kRun <= count; first += kRun) {
        float values[kRun];
        for (int64_t i = 0; i < kRun; ++i) values[i] = function(first + i);
        for (int64_t i = 0; i < kRun; ++i) store(output + first + i, values[i]);
    }
    for (; first < count; ++first) store(output + first, function(first));
}

template <class T, class F>
void forward(const ActivationArguments& a, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
        const T* input = static_cast<const T*>(a.input) + row * a.width;
        fill(static_cast<T*>(a.output) + row * a.width, a.width,
             [&](int64_t i) { return F::value(load(input[i]) + a.bias[i]); });
    }
}

template <class T, class F>
void backward(const ActivationArguments& a, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
        const T* input = static_cast<const T*>(a.input) + row * a.width;
        const T* grad = static_cast<const T*>(a.grad) + row * a.width;
        fill(static_cast<T*>(a.output) + row * a.width, a.width, [&](int64_t i) {
            return load(grad[i]) * F::slope(load(input[i]) + a.bias[i]);
        });
    }
}

template <class T>
void choose_recurrence(const ActivationArguments& a, int64_t first, int64_t last) {
    if (a.activation == Activation::kQuickGelu) return forward<T, QuickGelu>(a, first, last);
    forward<T, Gelu>(a, first, last);
}

template <class T>
void choose_recurrence_backward(const ActivationArguments& a, int64_t first, int64_t last) {
    if (a.activation == Activation::kQuickGelu) return backward<T, QuickGelu>(a, first, last);
    backward<T, Gelu>(a, first, last);
}

void forward_of_type(const ActivationArguments& a, int64_t first, int64_t last) {
    if (a.type == Type::kFloat32) return choose_recurrence<float>(a, first, last);
    if (a.type == Type::kBFloat16) return choose_recurrence<BFloat16>(a, first, last);
    choose_recurrence<Float16>(a, first, last);
}

void backward_of_type(const ActivationArguments& a, int64_t first, int64_t last) {
    if (a.type == Type::kFloat32) return choose_recurrence_backward<float>(a, first, last);
    if (a.type == Type::kBFloat16) return choose_recurrence_backward<BFloat16>(a, first, last);
    choose_recurrence_backward<Float16>(a, first, last);
}

}  // namespace

const ActivationKernels activation_kernels = {forward_of_type, backward_of_type};

}  // namespace PECLIP_ISA
}  // namespace peclip_fast
