// feed_forward_cpu_kernels.cpp is compiled once per instruction set; feed_forward_cpu.cpp runs the
// threads.
#pragma once

#include "feed_forward.h"

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

}  // namespace peclip_fast
