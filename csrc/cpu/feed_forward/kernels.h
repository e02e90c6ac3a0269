// kernels.cpp is compiled once per instruction set and unit.cpp once per unit that multiplies
// bfloat16; feed_forward.cpp runs the threads.
#pragma once

#include "cpu/feed_forward/feed_forward.h"

namespace peclip_fast {

struct ActivationKernels {
    // Each handles the rows [first, last).
    void (*forward)(const ActivationArguments&, int64_t first, int64_t last);
    void (*backward)(const ActivationArguments&, int64_t first, int64_t last);
};

namespace cpu_baseline {
extern const ActivationKernels activation_kernels;
}
namespace cpu_avx2 {
extern const ActivationKernels activation_kernels;
}
namespace cpu_avx512 {
extern const ActivationKernels activation_kernels;
}

struct FeedForwardKernels {
    // Handles `count` rows from `row` on. The weights come packed; `scratch`, on a cache line, holds
    // D + H numbers for each of those rows, rounded up to a multiple of 32.
    void (*run)(const FeedForwardArguments&, bool backward, int64_t row, int64_t count,
                const uint16_t* first, const uint16_t* second, uint16_t* scratch);
};

namespace cpu_amx {
extern const FeedForwardKernels feed_forward_kernels;
}
namespace cpu_avx512_bf16 {
extern const FeedForwardKernels feed_forward_kernels;
}

}  // namespace peclip_fast
