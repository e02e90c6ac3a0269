// The temporal adapter's arithmetic for one number, shared by the CPU and the CUDA kernels, so that
// tests of the CPU backend prove the equations and derivatives that the GPU runs.
#pragma once

#include "common/elementary.h"

namespace peclip_fast {

// Where the scale s enters the recurrence or what follows it (scaling="input" acts before, like
// "none").
enum class Scaling : int { kNone = 0, kRecurrence = 1, kAfterUp = 2 };

// One step of a GRU for one hidden number. The input's and the hidden state's contributions to the
// three gates come with their biases (PyTorch's nn.GRU; gate order r, z, n).
struct GruGates {
    float r, z, n;
};

// To float32's precision; see csrc/cuda/approximate.cuh for less.
struct Exact {
    PECLIP_FN float sigmoid(float x) { return peclip_fast::sigmoid(x); }
    PECLIP_FN float hyperbolic_tangent(float x) { return peclip_fast::hyperbolic_tangent(x); }
};

template <class Functions = Exact>
PECLIP_FN GruGates gru_gates(GruGates input, GruGates hidden) {
    const float r = Functions::sigmoid(input.r + hidden.r);
    const float z = Functions::sigmoid(input.z + hidden.z);
    return {r, z, Functions::hyperbolic_tangent(input.n + r * hidden.n)};
}

PECLIP_FN float gru_state(GruGates gates, float previous) {
    return (1.0f - gates.z) * gates.n + gates.z * previous;
}

struct GruGradients {
    float r, z;              // of both contributions to r and z, which are added
    float input_n, hidden_n;  // of the contributions to n
    float previous;           // of the previous state, without the way through the gates
};

PECLIP_FN GruGradients gru_gradients(float grad, GruGates gates, float hidden_n, float previous) {
    const float n = grad * (1.0f - gates.z) * (1.0f - gates.n * gates.n);
    return {n * hidden_n * gates.r * (1.0f - gates.r),
            grad * (previous - gates.n) * gates.z * (1.0f - gates.z), n, n * gates.r,
            grad * gates.z};
}

// What the up-projection reads: GELU(g), GELU(s g) or s GELU(g); see Scaling.
PECLIP_FN float activate(Scaling scaling, float g, float s) {
    const float v = scaling == Scaling::kRecurrence ? s * g : g;
    const float a = v * normal_cdf(v);
    return scaling == Scaling::kAfterUp ? s * a : a;
}

struct ActivateGradients {
    float output;  // activate() again
    float g, s;    // gradients
};

PECLIP_FN ActivateGradients activate_gradients(Scaling scaling, float grad, float g, float s) {
    const float v = scaling == Scaling::kRecurrence ? s * g : g;
    const float cdf = normal_cdf(v);
    const float slope = cdf + v * normal_density(v);
    const float a = v * cdf;
    if (scaling == Scaling::kAfterUp) return {s * a, grad * s * slope, grad * a};
    if (scaling == Scaling::kRecurrence) return {a, grad * slope * s, grad * slope * g};
    return {a, grad * slope, 0.0f};
}

}  // namespace peclip_fast
