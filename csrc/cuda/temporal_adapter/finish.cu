// From the products that sum over all rows to the gradients of the twelve weights, each in its own
// dtype; see weight_gradients() in peclip_fast/ops/temporal_adapter/cuda_gradients.py. The first
// blocks take 32 columns of D each, with all rows of h; those behind them rows of the gates' weights.
#include "cuda/temporal_adapter/launch.cuh"

namespace peclip_fast {
namespace {

constexpr int kColumns = 32, kParts = 8;  // threads of a block: a column each, rows in parts

template <class T>
__device__ inline void put(const Weight& to, int64_t i, float value) {
    if (!to.data) return;
    if (to.single) {
        static_cast<float*>(const_cast<void*>(to.data))[i] = value;
        return;
    }
    T pair[2];
    round_pair(pair, value, 0.0f);
    static_cast<T*>(const_cast<void*>(to.data))[i] = pair[0];
}

// Of a row of [dd | ds]: its product with the normalised x at column k, and its sum.
__device__ inline float with_normalised(const FinishArguments& a, int row, int k) {
    const float* moments = a.moments + row * kChunk;
    const float mean = a.subtract ? moments[0] + moments[1] : 0.0f;
    return a.normalised[int64_t(row) * a.width + k] - mean;
}
__device__ inline float total(const FinishArguments& a, int row) {
    return a.moments[row * kChunk + 2] + a.moments[row * kChunk + 3];
}

template <class T>
__device__ void columns_of_width(const FinishArguments& a, float* shared) {
    const int c = threadIdx.x % kColumns, part = threadIdx.x / kColumns;
    const int k = blockIdx.x * kColumns + c;
    float of_gamma = 0.0f, of_beta = 0.0f, gamma = 0.0f, beta = 0.0f;
    if (k < a.width) {
        gamma = number_of<T>(a.gamma, k), beta = number_of<T>(a.beta, k);
#pragma unroll 4
        for (int row = part; row < a.h; row += kParts) {
            const int64_t i = int64_t(row) * a.width + k;
            const float used = with_normalised(a, row, k), sum = total(a, row);
            const float w = number_of<T>(a.down, i);
            of_gamma += w * used, of_beta += w * sum;
            put<T>(a.ddown, i, used * gamma + sum * beta);
        }
    }
    shared[threadIdx.x] = of_gamma, shared[kParts * kColumns + threadIdx.x] = of_beta;
    __syncthreads();  // all parts of the two sums are there
    if (part != 0 || k >= a.width) return;
    of_gamma = of_beta = 0.0f;
    for (int i = 0; i < kParts; ++i) {
        of_gamma += shared[i * kColumns + c];
        of_beta += shared[(kParts + i) * kColumns + c];
    }
    if (a.scale.data) {
        const float of_s = with_normalised(a, a.hidden, k), sum = total(a, a.hidden);
        const float w = number_of<T>(a.scale, k);
        put<T>(a.dscale, k, of_s * gamma + sum * beta);
        of_gamma += w * of_s, of_beta += w * sum;
    }
    put<T>(a.dgamma, k, of_gamma), put<T>(a.dbeta, k, of_beta);
}

// W_u and b_u, and the biases that are sums alone.
template <class T>
__device__ void rows_of_width(const FinishArguments& a) {
    for (int i = threadIdx.x; i < kColumns * (a.h + 1); i += blockDim.x) {
        const int k = blockIdx.x * kColumns + i / (a.h + 1), j = i % (a.h + 1);
        if (k >= a.width) break;
        const float* from = a.up + int64_t(k) * (a.hidden + kChunk);
        if (j < a.h)
            put<T>(a.dup, int64_t(k) * a.h + j, from[j]);
        else
            put<T>(a.dup_bias, k, from[a.hidden]);
    }
    if (blockIdx.x > 0) return;
    for (int row = threadIdx.x; row < a.h; row += blockDim.x)
        put<T>(a.ddown_bias, row, total(a, row));
    if (threadIdx.x == 0) put<T>(a.dscale_bias, 0, a.scale.data ? total(a, a.hidden) : 0.0f);
}

// A row of W_ih and of W_hh: the gradients' blocks are reset, update, hidden new, input new.
template <class T>
__device__ void row_of_gates(const FinishArguments& a, int row, int lane) {
    const int gate = row / a.h, unit = row % a.h, width = 2 * a.hidden + kChunk;
    const float* of_hidden = a.gates + (int64_t(gate) * a.hidden + unit) * width;
    const float* of_input = a.gates + (int64_t(gate < 2 ? gate : 3) * a.hidden + unit) * width;
    for (int j = lane; j < a.h; j += kWarp) {
        put<T>(a.dweight_ih, int64_t(row) * a.h + j, of_input[j]);
        put<T>(a.dweight_hh, int64_t(row) * a.h + j, of_hidden[a.hidden + j]);
    }
    if (lane == 0) {
        put<T>(a.dbias_ih, row, of_input[2 * a.hidden]);
        put<T>(a.dbias_hh, row, of_hidden[2 * a.hidden]);
    }
}

template <class T>
__global__ void finish_kernel(FinishArguments a) {
    extern __shared__ uint4 shared[];
    const int blocks = ceil_divide(a.width, kColumns);
    if (int(blockIdx.x) < blocks) {
        columns_of_width<T>(a, reinterpret_cast<float*>(shared));
        rows_of_width<T>(a);
        return;
    }
    const int row = (blockIdx.x - blocks) * kParts + threadIdx.x / kWarp;
    if (row < 3 * a.h) row_of_gates<T>(a, row, threadIdx.x % kWarp);
}

}  // namespace

void temporal_adapter_cuda_finish(Type type, const FinishArguments& a, uintptr_t stream) {
    const int blocks = ceil_divide(a.width, kColumns) + ceil_divide(3 * a.h, kParts);
    with_type(type, [&](auto number) {
        launch(finish_kernel<decltype(number)>, a, dim3(unsigned(blocks)), kColumns * kParts,
               2 * kColumns * kParts * int(sizeof(float)), stream);
    });
}

}  // namespace peclip_fast
