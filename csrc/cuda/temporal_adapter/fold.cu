// What the other kernels take of the weights: LayerNorm's affine within the projections from D, see
// down.cu, and biases that are added together or padded. A warp takes a row of W_d; the warps behind
// them take the scale's row, the gates' biases and b_u.
#include "cuda/temporal_adapter/launch.cuh"

namespace peclip_fast {
namespace {

__device__ inline float sum_of_warp(float v) {
    for (int other = kWarp / 2; other > 0; other /= 2) v += __shfl_xor_sync(0xffffffff, v, other);
    return v;
}

// A row of W_d: V = W_d gamma as it is rounded, its sum, and W_d beta + b_d.
template <class T>
__device__ void fold_row(const FoldArguments& a, int row, int lane) {
    float sum = 0.0f, offset = 0.0f;
    if (row < a.h) {
        T* folded = static_cast<T*>(a.folded) + int64_t(row) * a.width;
        for (int k = lane; k < a.width; k += kWarp) {
            const float w = number_of<T>(a.down, int64_t(row) * a.width + k);
            float pair[2] = {w * number_of<T>(a.gamma, k), 0.0f};
            T rounded[2];
            round_pair(rounded, pair[0], pair[1]);
            folded[k] = rounded[0];
            sum += to_float(rounded[0]), offset += w * number_of<T>(a.beta, k);
        }
    }
    sum = sum_of_warp(sum), offset = sum_of_warp(offset);
    if (lane != 0) return;
    a.sums[row] = sum;
    a.offsets[row] = row < a.h ? offset + number_of<T>(a.down_bias, row) : 0.0f;
}

template <class T>
__device__ void fold_scale(const FoldArguments& a, int lane) {
    float sum = 0.0f, offset = 0.0f;
    for (int k = lane; k < a.padded_width; k += kWarp) {
        float w = 0.0f;
        if (k < a.width) {
            w = number_of<T>(a.scale, k);
            offset += w * number_of<T>(a.beta, k), w *= number_of<T>(a.gamma, k);
        }
        a.folded_scale[k] = w, sum += w;
    }
    sum = sum_of_warp(sum), offset = sum_of_warp(offset);
    if (lane != 0) return;
    a.scale_sums[0] = sum, a.scale_sums[1] = offset + number_of<T>(a.scale_bias, 0);
}

// (4, hidden): r, z, hidden n, input n.
template <class T>
__device__ void add_biases(const FoldArguments& a, int lane) {
    for (int i = lane; i < 4 * a.hidden; i += kWarp) {
        const int gate = i / a.hidden, unit = i % a.hidden;
        float value = 0.0f;
        if (unit < a.h) {
            const int row = (gate < 3 ? gate : 2) * a.h + unit;
            if (gate != 3) value += number_of<T>(a.bias_hh, row);
            if (gate != 2) value += number_of<T>(a.bias_ih, row);
        }
        a.gate_biases[i] = value;
    }
}

template <class T>
__global__ void fold_kernel(FoldArguments a) {
    const int lane = threadIdx.x % kWarp;
    const int row = blockIdx.x * (blockDim.x / kWarp) + threadIdx.x / kWarp;
    if (row < a.hidden) fold_row<T>(a, row, lane);
    if (row == a.hidden && a.folded_scale) fold_scale<T>(a, lane);
    if (row == a.hidden + 1) add_biases<T>(a, lane);
    if (row == a.hidden + 2)
        for (int k = lane; k < a.padded_width; k += kWarp)
            a.padded_up_bias[k] = k < a.width ? number_of<T>(a.up_bias, k) : 0.0f;
}

}  // namespace

void temporal_adapter_cuda_fold(Type type, const FoldArguments& a, uintptr_t stream) {
    constexpr int kWarps = 4;
    with_type(type, [&](auto number) {
        launch(fold_kernel<decltype(number)>, a,
               dim3(unsigned(ceil_divide(a.hidden + 3, kWarps))), kWarps * kWarp, 0, stream);
    });
}

}  // namespace peclip_fast
