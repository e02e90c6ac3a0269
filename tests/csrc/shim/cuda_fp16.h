// CUDA's __half for g++: storage and correctly rounded conversions.
#pragma once

#include "cuda_runtime.h"

struct __half {
    uint16_t bits;
};
struct alignas(4) __half2 {
    __half x, y;
};

inline float __half2float(__half v) {
    const unsigned sign = unsigned(v.bits & 0x8000) << 16, exponent = v.bits >> 10 & 31;
    const unsigned fraction = v.bits & 0x3ff;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000 | fraction << 13);
    if (exponent > 0) return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
    const float size = float(fraction) * 0x1p-24f;  // a subnormal, exact in float
    return sign ? -size : size;
}

inline __half __float2half_rn(float v) {
    const unsigned bits = __float_as_uint(v), size = bits & 0x7fffffff;
    const uint16_t sign = uint16_t(bits >> 16 & 0x8000);
    if (size > 0x7f800000) return {0x7fff};
    // 65520 lies between the largest number, 65504, and where the next would be; it goes up.
    if (size >= 0x477ff000) return {uint16_t(sign | 0x7c00)};
    if (size < 0x38800000) {
        // Below 2^-14 a half counts in steps of 2^-24, and near 0.5 a float does: the sum rounds.
        const float shifted = __uint_as_float(size) + 0.5f;
        return {uint16_t(sign | (__float_as_uint(shifted) - 0x3f000000))};
    }
    const unsigned odd = size >> 13 & 1;  // a tie goes to the even neighbour
    return {uint16_t(sign | ((size - (112u << 23) + 0xfff + odd) >> 13))};
}

inline __half __float2half(float v) { return __float2half_rn(v); }
inline float2 __half22float2(__half2 v) { return {__half2float(v.x), __half2float(v.y)}; }
inline __half2 __floats2half2_rn(float x, float y) {
    return {__float2half_rn(x), __float2half_rn(y)};
}
inline unsigned short __half_as_ushort(__half v) { return v.bits; }
inline __half __ushort_as_half(unsigned short bits) { return {bits}; }
