// The recurrent core of the temporal adapter on CUDA: gates, GRU over T, scaling and GELU, forward
// and backward. The projections between it and the D-wide tensors are matrix products over all
// frames at once and run in cuBLAS; so do the products that need no recurrence in the backward
// pass (W_hh g_{t-1} of all frames, the weights' gradients).
//
// A block owns S = 4 y neighbouring sequences (y rows of threads) and walks all T frames of them
// with no other synchronisation than its own barriers. Thread (j, y) owns hidden number j of four
// sequences: all three gates of a number meet in one thread's registers. W_hh is read from shared
// memory when it fits beside the states, else through the cache; neighbouring threads read
// neighbouring numbers of it, and the states of four sequences are one broadcast float4.
//
// ViT-B/16, bf16, h = 96: 384 threads, S = 16. Shared memory: forward 55 KB of W_hh + 12 KB of
// states, backward 55 KB + 18 KB of gate gradients. Global memory per frame and sequence: forward
// reads 3h numbers and writes 2h, backward reads 9h and writes 5h. Every sum has one order, so the
// results are bitwise repeatable.
#include "temporal_adapter.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "temporal_adapter_math.h"

namespace peclip_fast {
namespace {

constexpr int kMaxThreads = 768;
constexpr int kPerThread = 4;  // sequences, a float4
constexpr int kWarp = 32;

__device__ inline float load(float v) { return v; }
__device__ inline float load(__nv_bfloat16 v) { return __bfloat162float(v); }
__device__ inline float load(__half v) { return __half2float(v); }
__device__ inline void store(float* to, float v) { *to = v; }
__device__ inline void store(__nv_bfloat16* to, float v) { *to = __float2bfloat16_rn(v); }
__device__ inline void store(__half* to, float v) { *to = __float2half_rn(v); }

// sums[i] += weight * values.{x, y, z, w}
__device__ inline void multiply_add(float (&sums)[kPerThread], float weight, float4 values) {
    sums[0] += weight * values.x;
    sums[1] += weight * values.y;
    sums[2] += weight * values.z;
    sums[3] += weight * values.w;
}

// The four sequences of a thread. A sequence is a token position of a clip; its row at frame t is
// (b T + t) L + l. `count` of them exist, the block's last ones may not.
struct Sequences {
    int64_t row[kPerThread];  // at frame 0
    int count;
};

__device__ inline Sequences sequences_of(const CoreArguments& a, int64_t first) {
    Sequences mine;
    const int64_t left = a.batch * a.tokens - first;
    mine.count = left < 0 ? 0 : left < kPerThread ? int(left) : kPerThread;
    for (int i = 0; i < kPerThread; ++i) {
        const int64_t b = (first + i) / a.tokens, l = (first + i) % a.tokens;
        mine.row[i] = b * a.frames * a.tokens + l;
    }
    return mine;
}

// Copies W_hh to shared memory if it was planned to be there; the caller synchronises.
template <class T, bool kStaged>
__device__ const T* stage(const CoreArguments& a, T* shared, int thread, int threads) {
    const T* weight = static_cast<const T*>(a.weight);
    if (!kStaged) return weight;
    const int count = int(3 * a.hidden * a.hidden);
    for (int i = thread; i < count; i += threads) shared[i] = weight[i];
    return shared;
}

template <class T, bool kStaged>
__global__ void __launch_bounds__(kMaxThreads) forward_kernel(CoreArguments a) {
    extern __shared__ float4 shared[];
    const int h = int(a.hidden), S = kPerThread * blockDim.y;
    float* states = reinterpret_cast<float*>(shared);  // (2, h, S): of this frame and the next
    const int threads = blockDim.x * blockDim.y, thread = threadIdx.y * blockDim.x + threadIdx.x;
    const T* weight =
        stage<T, kStaged>(a, reinterpret_cast<T*>(states + 2 * h * S), thread, threads);
    for (int i = thread; i < 2 * h * S; i += threads) states[i] = 0.0f;
    __syncthreads();

    const int j = threadIdx.x, column = kPerThread * threadIdx.y;
    const Sequences mine = sequences_of(a, int64_t(blockIdx.x) * S + column);
    const Scaling scaling = Scaling(a.scaling);
    const int count = j < h ? mine.count : 0;

    for (int64_t t = 0; t < a.frames; ++t) {
        const float* now = states + (t & 1) * h * S;
        float* next = states + (1 - (t & 1)) * h * S;
        if (count > 0) {
            GruGates input[kPerThread];
            for (int i = 0; i < kPerThread; ++i) {
                if (i >= count) continue;
                const int64_t row = mine.row[i] + t * a.tokens;
                const T* from = static_cast<const T*>(a.input) + row * 3 * h + j;
                input[i] = {load(from[0]), load(from[h]), load(from[2 * h])};
            }
            float r[kPerThread], z[kPerThread], n[kPerThread];
            for (int i = 0; i < kPerThread; ++i) {
                r[i] = a.bias[j];
                z[i] = a.bias[h + j];
                n[i] = a.bias[2 * h + j];
            }
            for (int k = 0; k < h; ++k) {
                const float4 g = *reinterpret_cast<const float4*>(now + k * S + column);
                multiply_add(r, load(weight[k * 3 * h + j]), g);
                multiply_add(z, load(weight[k * 3 * h + h + j]), g);
                multiply_add(n, load(weight[k * 3 * h + 2 * h + j]), g);
            }
            for (int i = 0; i < kPerThread; ++i) {
                if (i >= count) continue;
                const int64_t row = mine.row[i] + t * a.tokens;
                const float previous = now[j * S + column + i];
                const float g = gru_state(gru_gates(input[i], {r[i], z[i], n[i]}), previous);
                next[j * S + column + i] = g;
                store(static_cast<T*>(a.states) + row * h + j, g);
                store(static_cast<T*>(a.activated) + row * h + j,
                      activate(scaling, g, a.s ? a.s[row] : 1.0f));
            }
        }
        __syncthreads();  // all of `next` is written, and `now` may be overwritten
    }
}

template <class T, bool kStaged>
__global__ void __launch_bounds__(kMaxThreads) backward_kernel(CoreArguments a) {
    extern __shared__ float4 shared[];
    const int h = int(a.hidden), S = kPerThread * blockDim.y, warps = blockDim.x / kWarp;
    float* dgates = reinterpret_cast<float*>(shared);  // (3h, S)
    float* shares = dgates + 3 * h * S;                // (warps, S): of ds
    const int threads = blockDim.x * blockDim.y, thread = threadIdx.y * blockDim.x + threadIdx.x;
    const T* weight =
        stage<T, kStaged>(a, reinterpret_cast<T*>(shares + warps * S), thread, threads);
    // Sequences that do not exist keep zeros.
    for (int i = thread; i < 3 * h * S; i += threads) dgates[i] = 0.0f;
    __syncthreads();

    const int j = threadIdx.x, column = kPerThread * threadIdx.y;
    const Sequences mine = sequences_of(a, int64_t(blockIdx.x) * S + column);
    const Scaling scaling = Scaling(a.scaling);
    const int count = j < h ? mine.count : 0;
    float carried[kPerThread] = {};  // the gradient of this thread's states

    for (int64_t t = a.frames - 1; t >= 0; --t) {
        float share[kPerThread] = {};
        for (int i = 0; i < kPerThread; ++i) {
            if (i >= count) continue;
            const int64_t row = mine.row[i] + t * a.tokens;
            const float state = load(static_cast<const T*>(a.states)[row * h + j]);
            const T* in = static_cast<const T*>(a.input) + row * 3 * h + j;
            const GruGates input = {load(in[0]), load(in[h]), load(in[2 * h])};
            const T* from = static_cast<const T*>(a.recurrent) + row * 3 * h + j;
            const GruGates hidden = {load(from[0]), load(from[h]), load(from[2 * h])};
            const float previous = load(static_cast<const T*>(a.previous)[row * h + j]);
            const float grad = load(static_cast<const T*>(a.grad)[row * h + j]);
            const ActivateGradients up =
                activate_gradients(scaling, grad, state, a.s ? a.s[row] : 1.0f);
            const GruGradients d = gru_gradients(carried[i] + up.g, gru_gates(input, hidden),
                                                 hidden.n, previous);
            store(static_cast<T*>(a.activated) + row * h + j, up.output);
            T* out = static_cast<T*>(a.dgates) + row * 4 * h + j;
            store(out, d.hidden_n);
            store(out + h, d.r);
            store(out + 2 * h, d.z);
            store(out + 3 * h, d.input_n);
            dgates[j * S + column + i] = d.r;
            dgates[(h + j) * S + column + i] = d.z;
            dgates[(2 * h + j) * S + column + i] = d.hidden_n;
            carried[i] = d.previous;
            share[i] = up.s;
        }
        // Every thread of a warp comes here: blockDim.x is a multiple of a warp.
        for (int i = 0; i < kPerThread; ++i) {
            for (int offset = kWarp / 2; offset > 0; offset /= 2)
                share[i] += __shfl_down_sync(0xffffffff, share[i], offset);
            if (j % kWarp == 0) shares[(j / kWarp) * S + column + i] = share[i];
        }
        __syncthreads();  // dgates and shares are written
        if (a.ds && j == 0) {
#pragma unroll
            for (int i = 0; i < kPerThread; ++i) {
                if (i >= mine.count) continue;
                float ds = 0.0f;
                for (int warp = 0; warp < warps; ++warp) ds += shares[warp * S + column + i];
                a.ds[mine.row[i] + t * a.tokens] = ds;
            }
        }
        if (count > 0 && t > 0) {
            for (int k = 0; k < 3 * h; ++k)
                multiply_add(carried, load(weight[k * h + j]),
                             *reinterpret_cast<const float4*>(dgates + k * S + column));
        }
        __syncthreads();  // dgates and shares are read
    }
}

void check(cudaError_t error, const char* what) {
    if (error != cudaSuccess)
        throw std::runtime_error(std::string("temporal_adapter on CUDA: ") + what + ": " +
                                 cudaGetErrorString(error));
}

// `per_block` floats of shared memory are needed, W_hh comes behind them where it fits.
template <class T>
void launch(void (*staged)(CoreArguments), void (*unstaged)(CoreArguments),
            const CoreArguments& a, dim3 threads, int64_t per_block, int device,
            cudaStream_t stream) {
    const int64_t per = kPerThread * threads.y, sequences = a.batch * a.tokens;
    if (sequences == 0) return;  // no grid may be empty
    int limit = 0;
    check(cudaSetDevice(device), "choosing the device");
    check(cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
          "asking for the shared memory");
    int64_t bytes = per_block * int64_t(sizeof(float));
    const int64_t with_weight = bytes + 3 * a.hidden * a.hidden * int64_t(sizeof(T));
    auto kernel = unstaged;
    if (with_weight <= limit) {
        kernel = staged;
        bytes = with_weight;
    }
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)),
          "reserving shared memory");
    kernel<<<unsigned((sequences + per - 1) / per), threads, size_t(bytes), stream>>>(a);
    check(cudaGetLastError(), "starting the kernel");
}

dim3 threads_for(const CoreArguments& a) {
    const int width = int((a.hidden + kWarp - 1) / kWarp * kWarp);
    if (width > kMaxThreads) throw std::runtime_error("temporal_adapter on CUDA: h is over 768");
    return dim3(width, kMaxThreads / width < 4 ? kMaxThreads / width : 4);
}

template <class T>
void forward(const CoreArguments& a, int device, cudaStream_t stream) {
    const dim3 threads = threads_for(a);
    launch<T>(forward_kernel<T, true>, forward_kernel<T, false>, a, threads,
              2 * a.hidden * kPerThread * threads.y, device, stream);
}

template <class T>
void backward(const CoreArguments& a, int device, cudaStream_t stream) {
    const dim3 threads = threads_for(a);
    launch<T>(backward_kernel<T, true>, backward_kernel<T, false>, a, threads,
              (3 * a.hidden + threads.x / kWarp) * kPerThread * threads.y, device, stream);
}

}  // namespace

void temporal_adapter_cuda_forward(const CoreArguments& a, int device, uintptr_t stream) {
    const cudaStream_t on = reinterpret_cast<cudaStream_t>(stream);
    if (a.type == Type::kFloat32) return forward<float>(a, device, on);
    if (a.type == Type::kBFloat16) return forward<__nv_bfloat16>(a, device, on);
    forward<__half>(a, device, on);
}

void temporal_adapter_cuda_backward(const CoreArguments& a, int device, uintptr_t stream) {
    const cudaStream_t on = reinterpret_cast<cudaStream_t>(stream);
    if (a.type == Type::kFloat32) return backward<float>(a, device, on);
    if (a.type == Type::kBFloat16) return backward<__nv_bfloat16>(a, device, on);
    backward<__half>(a, device, on);
}

}  // namespace peclip_fast
