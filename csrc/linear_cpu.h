// linear_cpu_kernels.cpp is compiled for AMX; linear_cpu.cpp runs the threads.
#pragma once

#include "linear.h"

namespace peclip_fast {
namespace cpu_amx {

constexpr int64_t kPanel = 32;         // columns of a panel of the packed weight
constexpr int64_t kRowsPerTask = 128;
constexpr int64_t kDepth = 1024;       // that is multiplied at a time, so that x's part is in the cache

// A task: some rows of x, and the panels [first_panel, last_panel).
struct LinearTask {
    int64_t row, first_panel, last_panel;
};

// Lays the panels [first, last) of the weight in tiles, one after the other, into `packed`.
void linear_pack(const LinearArguments&, int64_t first, int64_t last, uint16_t* packed);
// `scratch` holds linear_scratch bytes, on a cache line.
int64_t linear_scratch(const LinearArguments&, const LinearTask&);
void linear(const LinearArguments&, const LinearTask&, const uint16_t* packed, char* scratch);

}  // namespace cpu_amx
}  // namespace peclip_fast
