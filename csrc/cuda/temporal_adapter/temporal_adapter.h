// The temporal adapter's CUDA kernels, on raw pointers. The stages, in the order in which
// peclip_fast/ops/temporal_adapter/cuda.py calls them:
//
//     fold                 weights -> V = W_d gamma and what goes with it, biases that are added
//     pack                 weights -> the order in which lanes give them to tile products (tile.cuh)
//     down                 x (D) -> LayerNorm, scale s, d = W_d z + b_d (h)
//     recurrence           d -> states g over all T frames of a clip
//     up                   residual + x + s (W_u GELU(g) + b_u)
//
// and backward:
//
//     up_backward          dy (D) -> W_u^T dy (h), and b_u . dy; the kernel of down, D -> h
//     recurrence_backward  the gates again, then their gradients, last frame first
//     down_backward        dy and the gradient through z and the LayerNorm -> dx; that of up, h -> D
//     finish               sums over all rows, products of cuBLAS -> the gradients of the weights
//
// A row is a (b, t, l) of a (B, T, L, ...) tensor. Products are in T (float32, bfloat16, float16)
// with float32 sums; x, the residual, the output and dy are of T or float32 each. h-wide tensors
// have `hidden` columns, h rounded up to a multiple of 8, those behind h zero; vectors of float32
// come padded to a multiple of 32. Pointers that are said to be optional may be null.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "cpu/temporal_adapter/temporal_adapter.h"

namespace peclip_fast {

struct Sizes {
    int batch, frames, tokens, width, hidden;
};

// A (B, T, L, D) tensor whose last dimension is contiguous; strides in elements.
struct Wide {
    void* data;
    int64_t b, t, l;
    bool single;   // float32, else T
    bool aligned;  // rows start on 16 bytes and D is a multiple of 8
};

// A contiguous weight, or null, or its gradient.
struct Weight {
    const void* data;
    bool single;  // float32, else T
};

struct FoldArguments {
    int h, hidden, width, padded_width;  // h as it is and rounded up, D and D rounded up to 32
    Weight gamma, beta, down, down_bias, scale, scale_bias, bias_ih, bias_hh, up_bias;
    void* folded;                        // (h, D) of T: V = W_d gamma
    float *sums, *offsets;               // (hidden): of V over D, and W_d beta + b_d
    float *folded_scale, *scale_sums;    // (padded D) and (2), the same of w_s; null without a scale
    float* gate_biases;                  // (4, hidden), see CudaRecurrenceArguments
    float* padded_up_bias;               // (padded D)
};

struct FinishArguments {
    int h, hidden, width;
    const float* gates;       // (4 hidden, 2 hidden + 8): d gates^T [d | g' | 1]
    const float* up;          // (D, hidden + 8): dy^T [a | s]
    const float* normalised;  // (hidden + 8, D): [dd | ds]^T x^, or with x / std if `subtract`
    const float* moments;     // (hidden + 8, 8): [dd | ds]^T / std with the columns of `moments` below
    bool subtract;            // the means are to be taken off `normalised`
    Weight gamma, beta, down, scale;
    // Out; null for those that aren't there.
    Weight dgamma, dbeta, dscale, dscale_bias, ddown, ddown_bias, dweight_ih, dweight_hh, dbias_ih,
        dbias_hh, dup, dup_bias;
};

// Of W (N x K) and its place in the packed buffer. Numbers of an axis lie in `blocks` of `size`
// (the gates), each padded to `padded` in what is packed.
struct Axis {
    int size, padded, blocks;
    int64_t stride;
};
struct PackJob {
    const void* from;
    void* to;
    bool single;  // the source is float32, else T
    bool spread;  // of four neighbouring tiles a lane owns eight neighbouring columns
    Axis n, k;
};
constexpr int kPackJobs = 6;
struct PackArguments {
    PackJob jobs[kPackJobs];
    int chunks[kPackJobs];  // that a job packs
};

struct CudaDownArguments {
    Sizes sizes;
    Wide x;              // dy in the backward pass
    const void* weight;  // packed, spread: (hidden x D)
    int groups;          // of 32 columns, per block
    bool resident;       // these are in shared memory
    const float* vector;  // (D) or null: what each row is multiplied with, w_s gamma or b_u
    float* products;      // (rows): s, or b_u . dy; null with `vector`
    void* out;            // (rows, out_stride)
    int64_t out_stride;
    // Forward only:
    const float *weight_sums, *offsets;  // (hidden): of W_d gamma over D, and W_d beta + b_d
    const float* vector_sums;            // (2): the same of w_s; null with `vector`
    float epsilon;
    bool scale_input;  // d comes multiplied by s
    bool augment;      // out has [.., hidden + 8) behind 2 hidden: 1 and seven zeros
    float *mean, *rstd;
};

struct CudaRecurrenceArguments {
    Sizes sizes;
    // Packed W_hh (3 hidden x h) and W_ih; backward W_hh^T (hidden x 3h), W_hh, W_ih, W_ih^T.
    const void* weights[4];
    int resident;       // so many of the weights are in shared memory
    const float* bias;  // (4, hidden): r, z, hidden n, input n; b_ih + b_hh where they are added
    // (rows, inputs_stride): d, then the state before the frame. Forward reads d and, if `save`,
    // writes the states.
    void* inputs;
    int64_t inputs_stride;
    bool save;
    void* states;  // (rows, hidden), forward: g
    // Backward:
    int scaling;            // enum Scaling
    const float* s;         // (rows) or null
    const void* grad;       // (rows, hidden): W_u^T dy
    const float* products;  // (rows) or null: b_u . dy
    void* dgates;           // (rows, 4 hidden): r, z, hidden n, input n
    void* dinput;           // (rows, hidden): of what the recurrence takes
    void* activated;        // (rows, hidden + 8): what the up-projection read, then b_u's factor
    float* ds;              // (rows) or null: of s before its ReLU
};

struct CudaUpArguments {
    Sizes sizes;
    Wide x, other, out;  // `other`: residual (data null: none), dy in the backward pass
    const void* weight;  // packed, spread: (D x hidden)
    int groups;
    bool resident;
    const void* hidden;    // (rows, hidden): states, or dinput
    const float* vector;   // (D): b_u, or w_s gamma (optional)
    const float* s;        // (rows), optional
    int scaling;           // enum Scaling
    // Backward only:
    bool scale_input;
    const float *mean, *rstd;
    float* ds;             // (rows), optional; written here when the scale is on the input
    const void* inputs;    // (rows, inputs_stride): d
    int64_t inputs_stride;
    const float *weight_sums, *offsets, *vector_sums;  // as in CudaDownArguments
    void* scaled;          // (rows, hidden + 8): rstd dd, then rstd ds and seven zeros
    void* moments;         // (rows, 8): the mean and 1 / rstd, each with what rounding to T took
};

// All throw std::runtime_error with CUDA's reason when a launch fails.
void temporal_adapter_cuda_fold(Type, const FoldArguments&, uintptr_t stream);
void temporal_adapter_cuda_finish(Type, const FinishArguments&, uintptr_t stream);
void temporal_adapter_cuda_pack(Type, const PackArguments&, int jobs, uintptr_t stream);
void temporal_adapter_cuda_down(Type, CudaDownArguments, uintptr_t stream);
void temporal_adapter_cuda_up_backward(Type, CudaDownArguments, uintptr_t stream);
void temporal_adapter_cuda_recurrence(Type, CudaRecurrenceArguments, uintptr_t stream);
void temporal_adapter_cuda_recurrence_backward(Type, CudaRecurrenceArguments, uintptr_t stream);
void temporal_adapter_cuda_up(Type, CudaUpArguments, uintptr_t stream);
void temporal_adapter_cuda_down_backward(Type, CudaUpArguments, uintptr_t stream);

// Threads of a block and bytes of dynamic shared memory that each kernel is launched with, where a
// block may have `limit` bytes and rows are aligned: (kernel, threads, bytes, whether it is its plain
// form). The recurrence's are there twice where a block may have 32 sequences.
using Plan = std::tuple<std::string, int, int, bool>;
std::vector<Plan> temporal_adapter_cuda_plan(Type, int width, int hidden, int limit);

}  // namespace peclip_fast
