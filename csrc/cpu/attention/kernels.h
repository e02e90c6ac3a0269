// kernels.cpp is compiled for AMX; attention.cpp runs the threads.
#pragma once

#include "cpu/attention/attention.h"

namespace peclip_fast {
namespace cpu_amx {

// Each handles the heads [first, last) of N * H. `scratch` holds that many bytes, on a cache line.
int64_t attention_scratch(const AttentionArguments&);
int64_t attention_backward_scratch(const AttentionArguments&);
void attention(const AttentionArguments&, int64_t first, int64_t last, char* scratch);
void attention_backward(const AttentionArguments&, int64_t first, int64_t last, char* scratch);

}  // namespace cpu_amx
}  // namespace peclip_fast
