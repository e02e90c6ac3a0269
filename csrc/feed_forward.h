// What stands between the two products of a block's MLP, over contiguous (rows, width) numbers.
#pragma once

#include <cstdint>

#include "type.h"

namespace peclip_fast {

enum class Activation : int { kQuickGelu = 0, kGelu = 1 };

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

}  // namespace peclip_fast
