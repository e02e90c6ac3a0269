// The gates' functions where their results are rounded to 16 bits: by the instructions that a GPU has
// for them, whose errors stay below that rounding.
//
//     sigmoid  ex2.approx and rcp.approx: relative error below 2^-20, as bfloat16 and fp16 round by
//              2^-9 and 2^-12
//     tanh     bfloat16: tanh.approx, relative error below 2^-10.9; fp16: by the exponential, absolute
//              error below 2^-22
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "common/temporal_adapter_math.h"

namespace peclip_fast {

// The tests' stand-in for CUDA has its own, with an error as large as the instruction's may be.
#if defined(__CUDA_ARCH__)
#define PECLIP_TANH_APPROX(y, x) asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x))
#elif !defined(PECLIP_TANH_APPROX)
#define PECLIP_TANH_APPROX(y, x) y = x  // nvcc reads the host's code, which has none
#endif

template <class T>
struct Gate : Exact {};

template <>
struct Gate<__half> {
    __device__ static float sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }
    __device__ static float hyperbolic_tangent(float x) {
        return 1.0f - __fdividef(2.0f, 1.0f + __expf(2.0f * x));
    }
};

template <>
struct Gate<__nv_bfloat16> {
    __device__ static float sigmoid(float x) { return Gate<__half>::sigmoid(x); }
    __device__ static float hyperbolic_tangent(float x) {
        float y;
        PECLIP_TANH_APPROX(y, x);
        return y;
    }
};

}  // namespace peclip_fast
