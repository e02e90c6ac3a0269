// The products of tiles (csrc/cuda/tile.cuh), one warp each.
#include "cuda/tile.cuh"

namespace peclip_fast {
namespace {

struct Arguments {
    const float *a, *b;  // (16, 32) and (32, 8)
    float* out;          // (16, 8): what is there is added to
};

template <class T>
__global__ void product_kernel(Arguments arguments) {
    const int lane = int(threadIdx.x), g = lane / 4, c = lane % 4;
    float top[kChunk], bottom[kChunk], column[kChunk];
    for (int i = 0; i < kChunk; ++i) {
        const int k = c * kChunk + i;
        top[i] = arguments.a[g * kTileDepth + k];
        bottom[i] = arguments.a[(g + 8) * kTileDepth + k];
        column[i] = arguments.b[k * kTileColumns + g];
    }
    float* const out = arguments.out + g * kTileColumns + 2 * c;
    float* const lower = out + 8 * kTileColumns;
    float sums[4] = {out[0], out[1], lower[0], lower[1]};
    multiply(sums, pack<T>(top), pack<T>(bottom), pack<T>(column));
    out[0] = sums[0], out[1] = sums[1], lower[0] = sums[2], lower[1] = sums[3];
}

}  // namespace

extern "C" const char* multiply_tiles(int type, unsigned lanes, const float* a, const float* b,
                                      float* out) {
    using Kernel = void (*)(Arguments);
    const Kernel kernels[] = {product_kernel<float>, product_kernel<__nv_bfloat16>,
                              product_kernel<__half>};
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(1), config.blockDim = dim3(lanes);
    const Arguments arguments = {a, b, out};
    const cudaError_t error = cudaLaunchKernelEx(&config, kernels[type], arguments);
    cudaGetLastError();
    return error == cudaSuccess ? "" : cudaGetErrorString(error);
}

}  // namespace peclip_fast
