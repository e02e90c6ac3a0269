// kernels.cpp is compiled once per unit that multiplies bfloat16; linear.cpp runs the threads.
#pragma once

#include "cpu/linear/linear.h"

namespace peclip_fast {
constexpr int64_t kPanel = 32;  // columns of a panel of a packed weight
constexpr int64_t kRowsPerTask = 128;

// A task: some rows of x, and the panels [first_panel, last_panel).
struct LinearTask {
    int64_t row, first_panel, last_panel;
};

constexpr int64_t kStrip = 4 * kPanel;  // columns of x that a task of a weight's gradient takes
constexpr int64_t kRowsPerStep = 512;  // whose strip of x is packed at a time

struct LinearKernels {
    // Lays the panels [first, last) of the weight in tiles, one after the other, into `packed`.
    void (*pack_weight)(const Weight&, int64_t first, int64_t last, uint16_t* packed);
    // `scratch`, on a cache line, holds kRowsPerTask rows of x.
    void (*linear)(const LinearArguments&, const LinearTask&, const uint16_t* packed,
                   uint16_t* scratch);
    // Lays the blocks [first, last) of 32 rows of dy in tiles of its transpose, into `packed`.
    void (*pack_transposed)(const WeightGradientArguments&, int64_t first, int64_t last,
                            uint16_t* packed);
    // The columns [first, last) of dweight. `scratch`, on a cache line, holds kRowsPerStep * kStrip
    // numbers, `sums` columns * kStrip.
    void (*weight_gradient)(const WeightGradientArguments&, int64_t first, int64_t last,
                            const uint16_t* packed, uint16_t* scratch, float* sums);
};

namespace cpu_amx {
extern const LinearKernels linear_kernels;
}
namespace cpu_avx512_bf16 {
extern const LinearKernels linear_kernels;
}
}  // namespace peclip_fast
