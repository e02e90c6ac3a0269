// What one warp does with tiles of numbers on CUDA: loads and stores of 16 bytes a thread, and the
// products of tiles, the one place where matrix instructions stand.
//
// A tile product adds A (16 x 32) times B (32 x 8). With g = lane / 4 and c = lane % 4, a lane gives
// the eight neighbouring numbers 8c..8c+7 of row g and of row g + 8 of A and of column g of B, and
// owns rows g and g + 8, columns 2c and 2c + 1 of the result. Which number of a row the hardware
// calls which does not matter to a sum, as long as A and B agree: so every operand comes as vectors.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

namespace peclip_fast {

constexpr int kWarp = 32;
constexpr int kChunk = 8;     // neighbouring numbers that a lane gives
constexpr int kTileRows = 16;
constexpr int kTileDepth = 32;
constexpr int kTileColumns = 8;

__host__ __device__ constexpr int ceil_divide(int a, int b) { return (a + b - 1) / b; }

__device__ inline float to_float(float v) { return v; }
__device__ inline float to_float(__nv_bfloat16 v) { return __bfloat162float(v); }
__device__ inline float to_float(__half v) { return __half2float(v); }

// Eight neighbouring numbers of type T: 16 bytes, or 32 of float.
template <class T>
struct Chunk {
    uint4 bits[sizeof(T) / 2];
};

template <class T>
__device__ inline void unpack(const Chunk<T>& chunk, float (&values)[kChunk]) {
    T numbers[kChunk];
    memcpy(numbers, &chunk, sizeof(numbers));
#pragma unroll
    for (int i = 0; i < kChunk; ++i) values[i] = to_float(numbers[i]);
}

__device__ inline void round_pair(float* to, float a, float b) { to[0] = a, to[1] = b; }
__device__ inline void round_pair(__nv_bfloat16* to, float a, float b) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(a, b);
    memcpy(to, &pair, sizeof(pair));
}
__device__ inline void round_pair(__half* to, float a, float b) {
    const __half2 pair = __floats2half2_rn(a, b);
    memcpy(to, &pair, sizeof(pair));
}

template <class T>
__device__ inline Chunk<T> pack(const float (&values)[kChunk]) {
    T numbers[kChunk];
#pragma unroll
    for (int i = 0; i < kChunk; i += 2) round_pair(numbers + i, values[i], values[i + 1]);
    Chunk<T> chunk;
    memcpy(&chunk, numbers, sizeof(chunk));
    return chunk;
}

// From memory that no thread of the kernel writes; `from` is aligned to 16 bytes.
template <class T>
__device__ inline Chunk<T> load_aligned(const T* from) {
    Chunk<T> chunk;
#pragma unroll
    for (int i = 0; i < int(sizeof(T) / 2); ++i)
        chunk.bits[i] = __ldg(reinterpret_cast<const uint4*>(from) + i);
    return chunk;
}

// Numbers first..first+7 of a row of `width`, zeros behind its end. A row that is `aligned` starts
// on 16 bytes and its width is a multiple of a chunk.
template <class T>
__device__ inline Chunk<T> load_chunk(const T* row, int first, int width, bool aligned) {
    Chunk<T> chunk = {};
    if (aligned) {
        if (first < width) chunk = load_aligned(row + first);
        return chunk;
    }
    T numbers[kChunk];
#pragma unroll
    for (int i = 0; i < kChunk; ++i)
        numbers[i] = first + i < width ? row[first + i] : T(0.0f);
    memcpy(&chunk, numbers, sizeof(chunk));
    return chunk;
}

template <class T>
__device__ inline void store_chunk(T* row, int first, int width, bool aligned,
                                   const Chunk<T>& chunk) {
    if (aligned) {
        if (first >= width) return;
#pragma unroll
        for (int i = 0; i < int(sizeof(T) / 2); ++i)
            reinterpret_cast<uint4*>(row + first)[i] = chunk.bits[i];
        return;
    }
    T numbers[kChunk];
    memcpy(numbers, &chunk, sizeof(numbers));
#pragma unroll
    for (int i = 0; i < kChunk; ++i)
        if (first + i < width) row[first + i] = numbers[i];
}

// In shared memory, or in global memory that is read through the cache: T numbers as they lie.
template <class T>
__device__ inline Chunk<T> read(const T* from) {
    Chunk<T> chunk;
#pragma unroll
    for (int i = 0; i < int(sizeof(T) / 2); ++i)
        chunk.bits[i] = reinterpret_cast<const uint4*>(from)[i];
    return chunk;
}

// The sum over the four lanes that share a row; all of them get it.
__device__ inline float sum_of_row(float v) {
    v += __shfl_xor_sync(0xffffffff, v, 1);
    return v + __shfl_xor_sync(0xffffffff, v, 2);
}

// The product without matrix instructions: for float, which keeps its precision this way, and for
// what the hardware lacks.
template <class T>
__device__ inline void multiply_plainly(float (&sums)[4], const Chunk<T>& top,
                                        const Chunk<T>& bottom, const Chunk<T>& column) {
    const int lane = threadIdx.x % kWarp, row = lane / 4 * 4, columns = lane % 4 * 8;
    float a[kChunk], b[kChunk], w[kChunk];
    unpack(top, a), unpack(bottom, b), unpack(column, w);
#pragma unroll 1  // four times less code
    for (int from = 0; from < 4; ++from) {
#pragma unroll
        for (int i = 0; i < kChunk; ++i) {
            const float upper = __shfl_sync(0xffffffff, a[i], row + from);
            const float lower = __shfl_sync(0xffffffff, b[i], row + from);
            const float left = __shfl_sync(0xffffffff, w[i], columns + from);
            const float right = __shfl_sync(0xffffffff, w[i], columns + 4 + from);
            sums[0] += upper * left, sums[1] += upper * right;
            sums[2] += lower * left, sums[3] += lower * right;
        }
    }
}

// The tensor cores' instructions, D += A B of 16 x 8 x 16 and of 16 x 8 x 8. Volatile, as they are
// for the whole warp: none may move to where only some lanes come. The tests' stand-in for CUDA
// (tests/csrc/shim) has its own of these, so that what is below runs there too.
#if defined(__CUDA_ARCH__)
#define PECLIP_ARCH __CUDA_ARCH__
#define PECLIP_MMA_K16(kType, sums, a0, a1, a2, a3, b0, b1)                                   \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." kType "." kType ".f32 "             \
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"            \
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])                 \
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1))
#define PECLIP_MMA_K8(kType, sums, a0, a1, b0)                                                \
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32." kType "." kType ".f32 "              \
                 "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"                        \
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])                 \
                 : "r"(a0), "r"(a1), "r"(b0))
#elif !defined(PECLIP_ARCH)
#define PECLIP_ARCH 0  // nvcc reads the host's code, which has no product
#endif

#if PECLIP_ARCH >= 800
#define PECLIP_MMA PECLIP_MMA_K16
#else  // sm_75 has half the depth, and only fp16
#define PECLIP_MMA(kType, sums, a0, a1, a2, a3, b0, b1)                                       \
    PECLIP_MMA_K8(kType, sums, a0, a1, b0);                                                   \
    PECLIP_MMA_K8(kType, sums, a2, a3, b1)
#endif

// sums += A B; see the top of this file. `top` and `bottom` are of A, `column` is of B.
__device__ inline void multiply(float (&sums)[4], const Chunk<float>& top,
                                const Chunk<float>& bottom, const Chunk<float>& column) {
    multiply_plainly(sums, top, bottom, column);
}

__device__ inline void multiply(float (&sums)[4], const Chunk<__nv_bfloat16>& top,
                                const Chunk<__nv_bfloat16>& bottom,
                                const Chunk<__nv_bfloat16>& column) {
#if PECLIP_ARCH >= 800
    const uint4 a = top.bits[0], b = bottom.bits[0], w = column.bits[0];
    PECLIP_MMA("bf16", sums, a.x, b.x, a.y, b.y, w.x, w.y);
    PECLIP_MMA("bf16", sums, a.z, b.z, a.w, b.w, w.z, w.w);
#else
    multiply_plainly(sums, top, bottom, column);
#endif
}

__device__ inline void multiply(float (&sums)[4], const Chunk<__half>& top,
                                const Chunk<__half>& bottom, const Chunk<__half>& column) {
#if PECLIP_ARCH > 0
    const uint4 a = top.bits[0], b = bottom.bits[0], w = column.bits[0];
    PECLIP_MMA("f16", sums, a.x, b.x, a.y, b.y, w.x, w.y);
    PECLIP_MMA("f16", sums, a.z, b.z, a.w, b.w, w.z, w.w);
#else
    multiply_plainly(sums, top, bottom, column);
#endif
}

}  // namespace peclip_fast
