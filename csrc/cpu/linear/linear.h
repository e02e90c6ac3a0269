// Products with a weight matrix on the CPU's matrix unit. bfloat16 numbers come as their bits.
#pragma once

#include <cstdint>

namespace peclip_fast {

struct Weight {  // contiguous; depth and columns are multiples of 32
    int64_t depth, columns;
    const void* data;  // (columns, depth), or (depth, columns) where `by_rows`
    bool by_rows;
    bool wide;  // float32 instead of bfloat16
};

// output (rows, columns) = x (rows, depth) times the weight + bias + what is added, contiguous.
struct LinearArguments {
    int64_t rows;
    const uint16_t* x;
    Weight weight;
    const float* bias;         // (columns) or null
    const uint16_t* added[2];  // (rows, columns) or null
    uint16_t* output;
};

// dweight (columns, depth) = dy (rows, columns) transposed times x (rows, depth), rows at strides of
// their own; columns and depth are multiples of 32.
struct WeightGradientArguments {
    int64_t rows, columns, depth;
    const uint16_t* dy;
    int64_t dy_stride;
    const uint16_t* x;
    int64_t x_stride;
    uint16_t* dweight;
};

void linear_cpu(const LinearArguments&, int threads);
void weight_gradient_cpu(const WeightGradientArguments&, int threads);

}  // namespace peclip_fast
