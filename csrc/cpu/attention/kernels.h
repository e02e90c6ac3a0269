// kernels.cpp is compiled once per unit that multiplies bfloat16; attention.cpp runs the threads.
#pragma once

#include "cpu/attention/attention.h"

namespace peclip_fast {

struct AttentionKernels {
    // Each handles the heads [first, last) of N * H. `memory` holds as many bytes as the functions of
    // scratch say, on a cache line.
    int64_t (*scratch)(const AttentionArguments&);
    int64_t (*scratch_backward)(const AttentionArguments&);
    void (*forward)(const AttentionArguments&, int64_t first, int64_t last, char* memory);
    void (*backward)(const AttentionArguments&, int64_t first, int64_t last, char* memory);
};

namespace cpu_amx {
extern const AttentionKernels attention_kernels;
}
namespace cpu_avx512_bf16 {
extern const AttentionKernels attention_kernels;
}

}  // namespace peclip_fast
