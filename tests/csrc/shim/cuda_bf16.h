// CUDA's __nv_bfloat16 for g++: storage and correctly rounded conversions.
#pragma once

#include "cuda_runtime.h"

struct __nv_bfloat16 {
    uint16_t bits;
    __nv_bfloat16() = default;
    inline __nv_bfloat16(float v);
};
struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 v) { return v.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
    __nv_bfloat16 v;
    v.bits = bits;
    return v;
}

inline float __bfloat162float(__nv_bfloat16 v) { return __uint_as_float(unsigned(v.bits) << 16); }

inline __nv_bfloat16 __float2bfloat16_rn(float v) {
    const unsigned bits = __float_as_uint(v);
    if ((bits & 0x7fffffff) > 0x7f800000) return __ushort_as_bfloat16(0x7fff);
    // A tie goes to the even neighbour.
    return __ushort_as_bfloat16(uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16));
}
inline __nv_bfloat16::__nv_bfloat16(float v) { *this = __float2bfloat16_rn(v); }

inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
    return {__float2bfloat16_rn(x), __float2bfloat16_rn(y)};
}
