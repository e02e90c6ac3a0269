// The MLP of a block: whole on the CPU's matrix unit, or what stands between its two products.
#pragma once

#include <cstdint>

#include "cpu/linear/linear.h"
#include "common/type.h"

namespace peclip_fast {

enum class Activation : int { kQuickGelu = 0, kGelu = 1 };

// Over contiguous (rows, width) numbers.
struct ActivationArguments {
    int64_t rows, width;
    Type type;
    Activation activation;
    const void* input;  // the first product
    const float* bias;  // (width), added to it
    const void* grad;   // of the activated, in the backward pass
    void* output;       // the activated, or the gradient of the input; may be either of the two
};

void feed_forward_cpu_activate(const ActivationArguments&, int threads);
void feed_forward_cpu_activate_backward(const ActivationArguments&, int threads);

// Two products with an activation in between, in bfloat16 as its bits, contiguous. `hidden` is the
// first weight's product of the forward pass, before its bias, in an order of its own: written there,
// or null, and read in the backward pass, where `input` is the gradient of the output, `first` the
// second weight, and `second` the first one. There `activated` and `slope`, the hidden gradient, are
// written if they aren't null, for the weights' gradients.
struct FeedForwardArguments {
    int64_t rows;
    Activation activation;
    const uint16_t* input;  // (rows, D)
    Weight first, second;   // D to H, H to D
    const float* first_bias;
    const float* second_bias;  // null in the backward pass
    const uint16_t* added[2];  // (rows, D) or null, to the output
    uint16_t* hidden;          // rows * H numbers
    uint16_t* activated;       // (rows, H)
    uint16_t* slope;           // (rows, H)
    uint16_t* output;          // (rows, D)
};

void feed_forward_cpu(const FeedForwardArguments&, int threads);
void feed_forward_cpu_backward(const FeedForwardArguments&, int threads);

}  // namespace peclip_fast
