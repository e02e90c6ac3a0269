// Self-attention over short sequences, from the product that gives queries, keys and values.
#pragma once

#include <cstdint>

namespace peclip_fast {

// bfloat16 throughout, as its bits; d is the width of a head, L the number of tokens.
struct AttentionArguments {
    int64_t images, tokens, heads, width;  // N, L, H, d
    bool causal;
    const uint16_t* qkv;   // (N, L, 3, H, d)
    const uint16_t* grad;  // (N, L, H, d): of the output, in the backward pass
    uint16_t* output;      // (N, L, H, d), or the gradient of qkv
    float* lse;            // (N, H, L): base-2 logarithm of each row's sum; null where not kept
};

void attention_cpu(const AttentionArguments&, int threads);
void attention_cpu_backward(const AttentionArguments&, int threads);

}  // namespace peclip_fast
