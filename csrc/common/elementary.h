// Elementary functions of one number, for the CPU and the CUDA kernels.
//
// All functions are static: the CPU kernels are compiled once per instruction set, and a function
// that the linker may merge across those files could run code that the processor does not have.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define PECLIP_FN static __host__ __device__ __forceinline__
#else
#define PECLIP_FN __attribute__((always_inline)) static inline
#endif

namespace peclip_fast {

#ifndef __CUDA_ARCH__
PECLIP_FN float as_float(uint32_t bits) {
    float value;
    __builtin_memcpy(&value, &bits, 4);
    return value;
}
PECLIP_FN uint32_t as_bits(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    return bits;
}
#endif

// The polynomials below are minimax fits made for this file; each is good to 1e-7 relative. They
// have no branches, so that the compiler turns the loops around them into vector code.

PECLIP_FN float exponential(float x) {
#ifdef __CUDA_ARCH__
    return expf(x);
#else
    // From 4e-31 to 3e30. The compiler computes what follows, such as x * sigmoid(the bound), for all
    // numbers before it chooses, and a subnormal result takes the processor a hundred times as long.
    x = x < -70.0f ? -70.0f : x;
    x = x > 70.0f ? 70.0f : x;
    // x = n ln 2 + r; adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    const float shifted = x * 1.44269504f + 12582912.0f;
    const float n = shifted - 12582912.0f;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.394575345e-3f + r * 1.978926593e-4f;
    p = 8.333504200e-3f + r * p;
    p = 4.166628048e-2f + r * p;
    p = 1.666666567e-1f + r * p;
    p = 0.5f + r * p;
    p = 1.0f + (r + r * r * p);
    return as_float(as_bits(p) + (as_bits(shifted) << 23));
#endif
}

PECLIP_FN float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

PECLIP_FN float hyperbolic_tangent(float x) {
#ifdef __CUDA_ARCH__
    return tanhf(x);
#else
    const float v = x * x;
    float p = -8.267085999e-3f + v * 2.231059596e-3f;
    p = 2.173443697e-2f + v * p;
    p = -5.395247415e-2f + v * p;
    p = 1.333324760e-1f + v * p;
    p = -3.333333135e-1f + v * p;
    const float near_zero = x + x * v * p;
    const float magnitude = __builtin_fabsf(x);
    const float away = 1.0f - 2.0f / (exponential(2.0f * magnitude) + 1.0f);
    return magnitude < 0.6f ? near_zero : __builtin_copysignf(away, x);
#endif
}

// The standard normal distribution function: GELU(x) = x * normal_cdf(x).
PECLIP_FN float normal_cdf(float x) {
#ifdef __CUDA_ARCH__
    return 0.5f * (1.0f + erff(x * 0.707106781f));
#else
    const float u = __builtin_fabsf(x) * 0.707106781f;
    const float v = u * u;
    float p = 1.127054493e-4f + v * -9.680137737e-6f;
    p = -8.484711288e-4f + v * p;
    p = 5.221074913e-3f + v * p;
    p = -2.686544508e-2f + v * p;
    p = 1.128378287e-1f + v * p;
    p = -3.761263788e-1f + v * p;
    p = 1.128379226f + v * p;
    const float near_zero = 0.5f + 0.5f * u * p;
    // Beyond |u| = 1: erfc(u) = exp(-u^2) q(1 / (1 + u/2)).
    const float t = 1.0f / (1.0f + 0.5f * u);
    float q = -3.265630007e-1f + t * 7.358261198e-2f;
    q = 3.703699410e-1f + t * q;
    q = 3.713011369e-2f + t * q;
    q = 2.871081829e-1f + t * q;
    q = 2.751701474e-1f + t * q;
    q = 2.827469707e-1f + t * q;
    q = -2.586937626e-5f + t * q;
    const float away = 1.0f - 0.5f * exponential(-v) * q;
    const float upper = u < 1.0f ? near_zero : away;
    return x < 0.0f ? 1.0f - upper : upper;
#endif
}

PECLIP_FN float normal_density(float x) { return 0.398942280f * exponential(-0.5f * x * x); }

}  // namespace peclip_fast
