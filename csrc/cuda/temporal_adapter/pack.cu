// Weights in the order in which lanes give them to tile products (tile.cuh): the chunk of
// (column tile, k, lane) lies at 32 (tile * depth + k) + lane, so that a warp reads 512 neighbouring
// bytes. What lies behind an axis becomes zero. A few hundred kilobytes a call.
#include "cuda/temporal_adapter/launch.cuh"

namespace peclip_fast {
namespace {

// The offset of a number along an axis, or -1.
__device__ inline int64_t offset_of(const Axis& axis, int i) {
    const int block = i / axis.padded, within = i % axis.padded;
    if (block >= axis.blocks || within >= axis.size) return -1;
    return (int64_t(block) * axis.size + within) * axis.stride;
}

template <class T>
__global__ void pack_kernel(PackArguments a) {
    const PackJob job = a.jobs[blockIdx.y];
    const int depth = ceil_divide(job.k.blocks * job.k.padded, kTileDepth);
    const int chunk = blockIdx.x * blockDim.x + threadIdx.x;
    if (chunk >= a.chunks[blockIdx.y]) return;
    const int lane = chunk % kWarp, k = chunk / kWarp % depth, tile = chunk / kWarp / depth;
    const int g = lane / 4;
    const int column = job.spread ? tile / 4 * 32 + g / 2 * kChunk + tile % 4 * 2 + g % 2
                                  : tile * kTileColumns + g;
    const int64_t n = offset_of(job.n, column);
    float values[kChunk];
    for (int i = 0; i < kChunk; ++i) {
        const int64_t from = offset_of(job.k, k * kTileDepth + lane % 4 * kChunk + i);
        values[i] = 0.0f;
        if (n < 0 || from < 0) continue;
        values[i] = job.single ? static_cast<const float*>(job.from)[n + from]
                               : to_float(static_cast<const T*>(job.from)[n + from]);
    }
    T* to = static_cast<T*>(job.to) + int64_t(chunk) * kChunk;
    store_chunk(to, 0, kChunk, true, pack<T>(values));
}

}  // namespace

void temporal_adapter_cuda_pack(Type type, const PackArguments& a, int jobs, uintptr_t stream) {
    constexpr int kThreads = 256;
    int most = 0;
    for (int i = 0; i < jobs; ++i) most = a.chunks[i] > most ? a.chunks[i] : most;
    with_type(type, [&](auto number) {
        launch(pack_kernel<decltype(number)>, a,
               dim3(unsigned(ceil_divide(most, kThreads)), unsigned(jobs)), kThreads, 0, stream);
    });
}

}  // namespace peclip_fast
