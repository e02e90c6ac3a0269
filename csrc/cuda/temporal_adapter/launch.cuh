// How kernels are started on CUDA.
#pragma once

#include <cuda_runtime.h>

#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "cuda/temporal_adapter/temporal_adapter.h"
#include "cuda/tile.cuh"

namespace peclip_fast {

inline void check(cudaError_t error, const char* what) {
    if (error != cudaSuccess)
        throw std::runtime_error(std::string("temporal_adapter on CUDA: ") + what + ": " +
                                 cudaGetErrorString(error));
}

inline int current_device() {
    int device = 0;
    check(cudaGetDevice(&device), "asking for the device");
    return device;
}

inline int device_attribute(cudaDeviceAttr attribute) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, attribute, current_device()),
          "asking for what the device has");
    return value;
}

inline int shared_memory_limit() {
    return device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
}

// Lets a kernel have as much shared memory as a block can on this device, once. Were it set to what
// each launch needs, threads that launch it for other sizes would lower each other's limit.
inline void allow_shared_memory(const void* kernel, int needed) {
    static std::mutex mutex;
    static std::map<std::pair<const void*, int>, int> limits;  // by kernel and device
    const std::lock_guard<std::mutex> lock(mutex);
    int& limit = limits[{kernel, current_device()}];
    if (needed <= limit) return;
    const int most = shared_memory_limit();
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most),
          "reserving shared memory");
    limit = most;
}

template <class Arguments>
void launch(void (*kernel)(Arguments), const Arguments& arguments, dim3 blocks, int threads,
            int shared_bytes, uintptr_t stream) {
    if (blocks.x == 0 || blocks.y == 0) return;  // no grid may be empty
    allow_shared_memory(reinterpret_cast<const void*>(kernel), shared_bytes);
    cudaLaunchConfig_t config = {};
    config.gridDim = blocks;
    config.blockDim = dim3(unsigned(threads));
    config.dynamicSmemBytes = size_t(shared_bytes);
    config.stream = reinterpret_cast<cudaStream_t>(stream);
    check(cudaLaunchKernelEx(&config, kernel, arguments), "starting a kernel");
}

// Calls `run` with a number of the type that products are in.
template <class Run>
void with_type(Type type, Run run) {
    if (type == Type::kFloat32) return run(float());
    if (type == Type::kBFloat16) return run(__nv_bfloat16());
    run(__half());
}

// The projections between D and h: a warp takes 16 rows, and the weights of `groups` times 32
// columns lie in shared memory. A block has as many warps as registers allow; `depth` is of what a
// warp holds, in tiles of 32.
//
// Each kernel has two forms. The general one takes all that the operator takes. The plain one is
// compiled for what a model asks for: rows that start on 16 bytes, whole chunks, tiles and groups,
// dtypes that are known, and weights that lie in shared memory, so that none of it is asked for in
// an inner loop. That of up needs few enough registers for 16 warps: 8 clips of the paper's size,
// 1,592 tiles of rows, are one round on an H200. kDepth is 0 for down, whose plain form keeps its
// loads in flight in registers, too, and would spill with more than 8 warps.
template <class T, int kDepth, bool kPlain>
constexpr int kProjectionThreads =
    sizeof(T) == 4 || kDepth > 3 ? 256 : !kPlain ? 384 : kDepth > 0 ? 512 : 256;

struct ProjectionPlan {
    int groups;  // of 32 columns, per block
    int slices;  // blocks that share the columns
    bool resident;
    int bytes;  // of shared memory
};

// `depth`: of the products, in tiles of 32. At most `most` groups go to a block.
template <class T>
ProjectionPlan projection_plan(int columns, int depth, int most, int limit) {
    const int all = ceil_divide(columns, 32);
    const int group_bytes = 4 * depth * kWarp * int(sizeof(Chunk<T>));
    const int fitting = limit / group_bytes;
    ProjectionPlan plan = {fitting < most ? fitting : most, 0, fitting > 0, 0};
    if (!plan.resident) plan.groups = most;
    plan.slices = ceil_divide(all, plan.groups);
    plan.groups = ceil_divide(all, plan.slices);
    if (plan.resident) plan.bytes = plan.groups * group_bytes;
    return plan;
}

constexpr int kDownGroups = 3;  // so many sums fit in the registers

template <class T>
ProjectionPlan down_plan(int width, int hidden, int limit) {
    return projection_plan<T>(hidden, ceil_divide(width, kTileDepth), kDownGroups, limit);
}

template <class T>
ProjectionPlan up_plan(int width, int hidden, int limit) {
    const int depth = ceil_divide(hidden, kTileDepth);
    return projection_plan<T>(width, depth, ceil_divide(width, 32), limit);
}

// Whether the plain form of down takes these sizes, rows that are aligned given.
template <class T>
bool down_is_plain(const ProjectionPlan& plan, int width, int hidden) {
    return sizeof(T) == 2 && plan.resident && plan.groups == kDownGroups && width % 128 == 0 &&
           ceil_divide(hidden, 32) % kDownGroups == 0;
}

// And of up, whose warps hold kPlainDepth tiles of h. Compute capability 7.5, whose blocks have no
// more shared memory than this, needs more registers for bfloat16, which it has no products of.
constexpr int kPlainDepth = 3;
constexpr int kSharedMemoryOf75 = 64 << 10;
template <class T>
bool up_is_plain(const ProjectionPlan& plan, int width, int hidden, int limit) {
    const bool products = !std::is_same_v<T, __nv_bfloat16> || limit > kSharedMemoryOf75;
    return sizeof(T) == 2 && products && plan.resident && width % 32 == 0 &&
           ceil_divide(hidden, kTileDepth) == kPlainDepth;
}

template <class Arguments>
void launch_projection(void (*kernel)(Arguments), Arguments arguments, ProjectionPlan plan,
                       int threads, uintptr_t stream) {
    const Sizes& n = arguments.sizes;
    arguments.groups = plan.groups;
    arguments.resident = plan.resident;
    const int warps = threads / kWarp;
    const int tiles = ceil_divide(n.batch * n.frames * n.tokens, kTileRows);
    const int most = ceil_divide(tiles, warps);
    const int have = device_attribute(cudaDevAttrMultiProcessorCount);
    launch(kernel, arguments, dim3(unsigned(most < have ? most : have), unsigned(plan.slices)),
           threads, plan.bytes, stream);
}

// Copies packed weights to shared memory if they are to be there. The caller synchronises.
template <class T>
__device__ inline const T* stage(const void* weight, int64_t first, int chunks, bool resident,
                                 void* shared) {
    const T* from = static_cast<const T*>(weight) + first * kChunk;
    if (!resident) return from;
    constexpr int kAhead = 8;  // loads in flight: each takes most of a microsecond
    uint4* to = static_cast<uint4*>(shared);
    const uint4* source = reinterpret_cast<const uint4*>(from);
    const int count = chunks * int(sizeof(Chunk<T>) / sizeof(uint4));
    for (int i = threadIdx.x; i < count; i += kAhead * blockDim.x) {
        uint4 held[kAhead];
#pragma unroll
        for (int j = 0; j < kAhead; ++j)
            if (i + j * int(blockDim.x) < count) held[j] = __ldg(source + i + j * blockDim.x);
#pragma unroll
        for (int j = 0; j < kAhead; ++j)
            if (i + j * int(blockDim.x) < count) to[i + j * blockDim.x] = held[j];
    }
    return static_cast<const T*>(shared);
}

// The chunk of a packed matrix that a lane gives to the product of column tile `tile` at `k`.
template <class T>
__device__ inline Chunk<T> column_chunk(const T* weight, int tile, int depth, int k) {
    return read(weight + (int64_t(tile * depth + k) * kWarp + threadIdx.x % kWarp) * kChunk);
}

// A number of a weight.
template <class T>
__device__ inline float number_of(const Weight& weight, int64_t i) {
    return weight.single ? static_cast<const float*>(weight.data)[i]
                         : to_float(static_cast<const T*>(weight.data)[i]);
}

// Row r of the flattened (b, t, l).
struct Place {
    int b, t, l;

    __device__ Place(const Sizes& n, int r) {
        const int frame = r / n.tokens;
        l = r - frame * n.tokens, b = frame / n.frames, t = frame - b * n.frames;
    }
};

// Where it starts.
template <class T>
__device__ inline T* row_of(const Wide& tensor, const Place& p) {
    return static_cast<T*>(tensor.data) + p.b * tensor.b + p.t * tensor.t + p.l * tensor.l;
}

}  // namespace peclip_fast
