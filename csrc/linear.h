// Products with a weight matrix on the CPU's matrix unit.
#pragma once

#include <cstdint>

namespace peclip_fast {

// product (rows, columns) = x (rows, depth) times the weight; output = product + bias, or the
// QuickGELU of that. bfloat16, as its bits, contiguous; depth and columns are multiples of 32.
struct LinearArguments {
    int64_t rows, depth, columns;
    const uint16_t* x;
    const void* weight;  // (columns, depth), or (depth, columns) where `by_rows`
    bool by_rows;
    bool wide;  // the weight is float32
    bool quick_gelu;
    const float* bias;  // (columns) or null
    uint16_t* product;  // null where not kept
    uint16_t* output;
};

void linear_cpu(const LinearArguments&, int threads);

}  // namespace peclip_fast
