// The temporal adapter's kernels: what Python calls, through bindings/module.cpp, on raw pointers.
#pragma once

#include <cstdint>

#include "common/type.h"

namespace peclip_fast {

// A row (b, t, l) of a (B, T, L, D) tensor whose last dimension is contiguous.
struct Strided {
    void* data;
    int64_t b, t, l;  // strides in elements
};

// Down, without its product: z = LN(x), s = ReLU(scale_weight . z + scale_bias), and what the stage up,
// a product and nothing else, adds to: base = residual + x + s up_bias.
// Backward: dx from the gradients of z, of s before its ReLU, and of the output; dx may be dz itself.
// x, dx have one type; z and dz one; residual, base and the output's gradient one. The weights are
// float32, and what is absent is null: scale_weight and s together, residual, base.
struct DownArguments {
    int64_t batch, frames, tokens, width;
    Type x_type, z_type, out_type;
    Strided x, residual;
    const float *norm_weight, *norm_bias, *scale_weight, *up_bias;
    const float* scale_bias;  // one number
    float epsilon;
    bool scaled_up_bias;  // base takes s up_bias, else up_bias
    void *z, *base;       // down writes both, contiguous
    float *mean, *rstd, *s;
    const void *dz, *grad;  // backward reads both, contiguous
    const float* ds;
    void* dx;
    float* sums;            // (3, D): d norm_weight, d norm_bias, d up_bias
};

// The recurrence over h-wide tensors (B, T, L, ...), contiguous and of one type.
struct RecurrenceArguments {
    int64_t batch, frames, tokens, hidden;
    Type type;
    int scaling;           // enum Scaling
    const void* input;     // (B, T, L, 3h): W_ih d + b_ih
    const void* weight;    // W_hh; see the functions that take this
    const float* bias;     // b_hh (3h)
    const float* s;        // (B, T, L) or null
    void* states;          // (B, T, L, h): g
    void* activated;       // (B, T, L, h): what the up-projection reads
    const void* previous;   // (B, T, L, h): g_{t-1}, zero at the first frame
    const void* recurrent;  // (B, T, L, 3h): W_hh g_{t-1} + b_hh
    const void* grad;       // (B, T, L, h): of activated
    void* dgates;           // (B, T, L, 4h): of hidden n, r, z, input n
    float* ds;              // (B, T, L) or null
};

void temporal_adapter_cpu_down(const DownArguments&, int threads);
void temporal_adapter_cpu_down_backward(const DownArguments&, int threads);
// weight: (3h, h) float32 in both.
void temporal_adapter_cpu_recurrence(const RecurrenceArguments&, int threads);
void temporal_adapter_cpu_recurrence_backward(const RecurrenceArguments&, int threads);

}  // namespace peclip_fast
