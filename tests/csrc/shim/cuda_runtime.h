// CUDA's runtime header for g++, so that the tests run the .cu files on the CPU. Only what this
// project's kernels use is here. Threads are fibers (fibers.cpp); the memory that kernels touch is
// watched through the calls that g++'s sanitizers insert (memory.cpp). All checks are stricter than
// a GPU's: what is undefined there is an error here.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>

#include "mma.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
// Blocks run one after another, so one array at a fixed address serves all of them. Only dynamic
// shared memory works so: shim_build.py refuses sources with static shared memory.
#define __shared__

// --- Vectors -------------------------------------------------------------------------------------

struct uint3 {
    unsigned x, y, z;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

// --- Barriers and shuffles -----------------------------------------------------------------------
// Each knows its line, so that threads that wait at different ones are told apart, and so that a
// test can take one out (PECLIP_SHIM_WITHOUT=file:line).

#define SHIM_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

void __syncthreads(SHIM_HERE);
void __syncwarp(unsigned mask = 0xffffffff, SHIM_HERE);

namespace shim {

// The value of lane `source` of the calling lane's warp; all lanes of the mask meet here.
uint64_t exchange(unsigned mask, uint64_t value, unsigned source, const char* file, int line);
unsigned lane();

template <class T>
__forceinline__ T shuffle(unsigned mask, T value, unsigned source, const char* file, int line) {
    static_assert(std::is_arithmetic<T>::value && sizeof(T) >= 4, "CUDA shuffles 4 and 8 bytes");
    uint64_t bits = 0;
    __builtin_memcpy(&bits, &value, sizeof value);
    bits = exchange(mask, bits, source, file, line);
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

}  // namespace shim

template <class T>
__forceinline__ T __shfl_sync(unsigned mask, T value, int source, int width = 32, SHIM_HERE) {
    const unsigned within = unsigned(width - 1), first = shim::lane() & ~within;
    return shim::shuffle(mask, value, first | (unsigned(source) & within), file, line);
}

template <class T>
__forceinline__ T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, SHIM_HERE) {
    const unsigned lane = shim::lane(), source = lane ^ unsigned(bits);
    const bool outside = source > (lane | unsigned(width - 1));  // then each keeps its own
    return shim::shuffle(mask, value, outside ? lane : source, file, line);
}

#undef SHIM_HERE

// --- Loads, stores, mathematics ------------------------------------------------------------------

template <class T>
T __ldg(const T* from) { return *from; }

inline int min(int a, int b) { return a < b ? a : b; }
inline unsigned __float_as_uint(float v) {
    unsigned bits;
    __builtin_memcpy(&bits, &v, sizeof bits);
    return bits;
}
inline float __uint_as_float(unsigned bits) {
    float v;
    __builtin_memcpy(&v, &bits, sizeof v);
    return v;
}
// expf, tanhf, erff and their like are in <cmath>, for g++ in the global namespace as well. Those
// that CUDA approximates are as wrong here as its documentation lets them be, up or down by the last
// bit of the argument.

namespace shim {
inline float off_by(float value, float relative, float argument) {
    uint32_t bits;
    std::memcpy(&bits, &argument, sizeof(bits));
    return value * (1.0f + (bits & 1 ? relative : -relative));
}
}  // namespace shim

inline float __expf(float x) {  // 2 + 1.173 |x| units in the last place
    return shim::off_by(std::exp(x), (2.0f + 1.173f * std::fabs(x)) * 0x1p-23f, x);
}
inline float __fdividef(float x, float y) {  // 2 units, and 0 for what is too large
    return std::fabs(y) > 0x1p126f ? 0.0f : shim::off_by(x / y, 0x1p-22f, y);
}
inline float shim_tanh_approx(float x) { return shim::off_by(std::tanh(x), 4.93e-4f, x); }
#define PECLIP_TANH_APPROX(y, x) y = shim_tanh_approx(x)


// --- Host ----------------------------------------------------------------------------------------

enum cudaError_t : int {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorLaunchFailure = 719,
    cudaErrorNotPermitted = 800,
};
enum cudaDeviceAttr {
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};
enum cudaFuncAttribute {
    cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
};
struct cudaFuncAttributes {
    int maxDynamicSharedSizeBytes;
};
using cudaStream_t = struct shim_stream*;
struct cudaLaunchAttribute;  // none is known here
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes = 0;
    cudaStream_t stream = nullptr;
    cudaLaunchAttribute* attrs = nullptr;
    unsigned numAttrs = 0;
};

cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaGetLastError();
// For a launch that failed in a kernel: the whole story.
const char* cudaGetErrorString(cudaError_t error);

namespace shim {

struct Launch {
    const cudaLaunchConfig_t* config;
    const void* kernel;
    const void* arguments;
    size_t arguments_size;
    void (*call)(const void* arguments);
};
cudaError_t launch(const Launch& launch);
cudaError_t set_attribute(const void* kernel, cudaFuncAttribute attribute, int value);
cudaError_t get_attributes(cudaFuncAttributes* attributes, const void* kernel);

template <class... Parameters>
struct Call {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> arguments;
    static void run(const void* self) {
        const Call& call = *static_cast<const Call*>(self);
        std::apply(call.kernel, call.arguments);
    }
};

}  // namespace shim

template <class T>
cudaError_t cudaFuncSetAttribute(T* kernel, cudaFuncAttribute attribute, int value) {
    return shim::set_attribute(reinterpret_cast<const void*>(kernel), attribute, value);
}

template <class T>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, T* kernel) {
    return shim::get_attributes(attributes, reinterpret_cast<const void*>(kernel));
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
    using Call = shim::Call<Parameters...>;
    const Call call = {kernel, std::tuple<Parameters...>(std::forward<Arguments>(arguments)...)};
    return shim::launch({config, reinterpret_cast<const void*>(kernel), &call, sizeof call,
                         Call::run});
}
