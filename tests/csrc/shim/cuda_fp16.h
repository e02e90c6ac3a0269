// CUDA's __half for g++: storage and correctly rounded conversions.
#pragma once

#include "cuda_runtime.h"

struct __half {
    uint16_t bits;
    __half() = default;
    inline __half(float v);
};
struct alignas(4) __half2 {
    __half x, y;
};

inline unsigned short __half_as_ushort(__half v) { return v.bits; }
inline __half __ushort_as_half(unsigned short bits) {
    __half v;
    v.bits = bits;
    return v;
}

inline float __half2float(__half v) {
    const unsigned sign = unsigned(v.bits & 0x8000) << 16, exponent = v.bits >> 10 & 31;
    const unsigned fraction = v.bits & 0x3ff;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000 | fraction << 13);
    if (exponent > 0) return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
    const float size = float(fraction) * 0x1p-24f;  // a subnormal, exact in float
    return sign ? -size : size;
}

inline __half __float2half_rn(float v) {
    const unsigned bits = __float_as_uint(v), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    unsigned half;
    if (size > 0x7f800000) return __ushort_as_half(0x7fff);
    if (size >= 0x477ff000) {
        half = 0x7c00;  // 65520, half-way from the largest to where the next would be, goes up
    } else if (size < 0x38800000) {
        // Below 2^-14 a half goes in steps of 2^-24, and so does a float near 0.5: the sum rounds.
        half = __float_as_uint(__uint_as_float(size) + 0.5f) - 0x3f000000;
    } else {
        half = (size - (112u << 23) + 0xfff + (size >> 13 & 1)) >> 13;  // a tie goes to even
    }
    return __ushort_as_half(uint16_t(sign | half));
}
inline __half::__half(float v) { *this = __float2half_rn(v); }

inline __half2 __floats2half2_rn(float x, float y) {
    return {__float2half_rn(x), __float2half_rn(y)};
}
