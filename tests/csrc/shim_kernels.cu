// Kernels for the tests of the shim itself: right ones, and one for each error that it must find.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace peclip_fast {
namespace {

struct Arguments {
    const float* in;
    float* out;
    int count;
};

__device__ float* floats() {
    extern __shared__ uint4 shared[];
    return reinterpret_cast<float*>(shared);
}
__device__ int position() { return int(blockIdx.x * blockDim.x + threadIdx.x); }

// --- Right ones ----------------------------------------------------------------------------------

__global__ void shuffles(Arguments a) {
    const int i = position();
    const float v = a.in[i];
    a.out[4 * i] = __shfl_sync(0xffffffff, v, 11);
    a.out[4 * i + 1] = __shfl_sync(0xffffffff, v, 11, 8);
    a.out[4 * i + 2] = __shfl_xor_sync(0xffffffff, v, 5);
    a.out[4 * i + 3] = __shfl_xor_sync(0xffffffff, v, 20, 16);
}

__global__ void diverging_shuffles(Arguments a) {
    const int i = position();
    float v = a.in[i];
    if (i % 2 == 0) {
        for (int step = 0; step < 3; ++step) v += __shfl_xor_sync(0x55555555, v, 2);
    } else {
        v = __shfl_sync(0xaaaaaaaa, v, 31);
    }
    a.out[i] = v;
}

__global__ void block_sum(Arguments a) {
    const int i = int(threadIdx.x);
    floats()[i] = position() < a.count ? a.in[position()] : 0.0f;
    for (int half = int(blockDim.x) / 2; half > 0; half /= 2) {
        __syncthreads();  // the barrier that a test takes out
        if (i < half) floats()[i] += floats()[i + half];
    }
    if (i == 0) a.out[blockIdx.x] = floats()[0];
}

__global__ void warp_rotation(Arguments a) {
    const int i = int(threadIdx.x), lane = i % 32;
    for (int step = 0; step < 3; ++step) {
        floats()[i] = a.in[i] + float(step);
        __syncwarp();  // written before it is read
        a.out[i] = floats()[i - lane + (lane + 1) % 32];
        __syncwarp();  // read before it is overwritten
    }
}

__global__ void meeting_again(Arguments a) {
    const int i = int(threadIdx.x);
    float v = a.in[i];
    if (i % 2 == 0) v += 1.0f;
    __syncwarp();  // orders no memory
    a.out[i] = v;
}

// --- Wrong ones ----------------------------------------------------------------------------------

__global__ void unwritten_shared(Arguments a) { a.out[threadIdx.x] = floats()[threadIdx.x]; }

__global__ void shared_overrun(Arguments a) { floats()[a.count + int(threadIdx.x)] = 1.0f; }

__global__ void read_behind(Arguments a) { a.out[0] = a.in[a.count]; }

__global__ void write_behind(Arguments a) { a.out[a.count + int(threadIdx.x)] = 1.0f; }

__global__ void copy_behind(Arguments a) {
    memcpy(a.out, a.in, size_t(a.count + 1) * sizeof(float));
}

__global__ void write_input(Arguments a) { const_cast<float*>(a.in)[threadIdx.x] = 1.0f; }

__global__ void misaligned(Arguments a) {
    const uint4 v = __ldg(reinterpret_cast<const uint4*>(a.in + 1));
    a.out[0] = __uint_as_float(v.x);
}

__global__ void index_out_of_bounds(Arguments a) {
    float values[4] = {1.0f, 2.0f, 3.0f, 4.0f};
    a.out[0] = values[a.count];
}

__global__ void read_across_warps(Arguments a) {
    const unsigned i = threadIdx.x;
    floats()[i] = a.in[i];
    __syncwarp();
    a.out[i] = floats()[(i + 32) % blockDim.x];
}

__global__ void write_after_read(Arguments a) {
    const unsigned i = threadIdx.x;
    floats()[i] = a.in[i];
    __syncthreads();
    a.out[i] = floats()[(i + 1) % blockDim.x];
    floats()[i] = 0.0f;
}

__global__ void all_blocks_write(Arguments a) {
    if (threadIdx.x == 0) a.out[0] = 1.0f;
}

__global__ void blocks_read_and_write(Arguments a) {
    if (threadIdx.x == 0 && blockIdx.x == 0) a.out[1] = a.out[0];
    if (threadIdx.x == 0 && blockIdx.x == 1) a.out[0] = 1.0f;
}

__global__ void barrier_for_some(Arguments) {
    if (threadIdx.x < 33) __syncthreads();
}

__global__ void two_barriers(Arguments) {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        __syncthreads();
    }
}

__global__ void shuffle_for_some(Arguments a) {
    if (threadIdx.x != 7) a.out[threadIdx.x] = __shfl_xor_sync(0xffffffff, 1.0f, 1);
}

__global__ void lane_not_in_mask(Arguments a) {
    a.out[threadIdx.x] = __shfl_xor_sync(0x0000ffff, 1.0f, 1);
}

__global__ void shuffle_from_outside(Arguments a) {
    if (threadIdx.x < 16) a.out[threadIdx.x] = __shfl_sync(0x0000ffff, 1.0f, 20);
}

using Kernel = void (*)(Arguments);

Kernel find(const char* name) {
#define NAMED(kernel) \
    if (std::strcmp(name, #kernel) == 0) return kernel;
    NAMED(shuffles)
    NAMED(diverging_shuffles)
    NAMED(block_sum)
    NAMED(warp_rotation)
    NAMED(meeting_again)
    NAMED(unwritten_shared)
    NAMED(shared_overrun)
    NAMED(read_behind)
    NAMED(write_behind)
    NAMED(copy_behind)
    NAMED(write_input)
    NAMED(misaligned)
    NAMED(index_out_of_bounds)
    NAMED(read_across_warps)
    NAMED(write_after_read)
    NAMED(all_blocks_write)
    NAMED(blocks_read_and_write)
    NAMED(barrier_for_some)
    NAMED(two_barriers)
    NAMED(shuffle_for_some)
    NAMED(lane_not_in_mask)
    NAMED(shuffle_from_outside)
#undef NAMED
    return nullptr;
}

}  // namespace

// The reason of a failure, or an empty text.
extern "C" const char* launch(const char* name, const unsigned* grid, unsigned block,
                              size_t shared_bytes, int allowed_bytes, const float* in, float* out,
                              int count) {
    const Kernel kernel = find(name);
    if (!kernel) return "no such kernel";
    cudaError_t error = cudaSuccess;
    if (allowed_bytes > 0)
        error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     allowed_bytes);
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(grid[0], grid[1]);
    config.blockDim = dim3(block);
    config.dynamicSmemBytes = shared_bytes;
    const Arguments arguments = {in, out, count};
    if (error == cudaSuccess) error = cudaLaunchKernelEx(&config, kernel, arguments);
    if (error != cudaGetLastError()) return "the last error is another";
    return error == cudaSuccess ? "" : cudaGetErrorString(error);
}

extern "C" int attribute(int which) {
    int value = 0;
    cudaDeviceGetAttribute(&value, cudaDeviceAttr(which), 0);
    return value;
}

extern "C" void convert(const char* what, const void* from, void* to, int count) {
    for (int i = 0; i < count; ++i) {
        const float* floats = static_cast<const float*>(from);
        const unsigned short* shorts = static_cast<const unsigned short*>(from);
        if (std::strcmp(what, "from half") == 0)
            static_cast<float*>(to)[i] = __half2float(__ushort_as_half(shorts[i]));
        if (std::strcmp(what, "from bfloat16") == 0)
            static_cast<float*>(to)[i] = __bfloat162float(__ushort_as_bfloat16(shorts[i]));
        if (std::strcmp(what, "to half") == 0)
            static_cast<unsigned short*>(to)[i] = __half_as_ushort(__float2half_rn(floats[i]));
        if (std::strcmp(what, "to bfloat16") == 0)
            static_cast<unsigned short*>(to)[i] =
                __bfloat16_as_ushort(__float2bfloat16_rn(floats[i]));
    }
}

}  // namespace peclip_fast
