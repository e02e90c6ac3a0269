// Numbers as they lie in memory, for the CPU kernels. All functions are static, see elementary.h.
#pragma once

#include "common/elementary.h"
#include "common/type.h"

namespace peclip_fast {

struct BFloat16 {
    uint16_t bits;
};
struct Float16 {
    uint16_t bits;
};

PECLIP_FN float load(float v) { return v; }
PECLIP_FN float load(BFloat16 v) { return as_float(uint32_t(v.bits) << 16); }
PECLIP_FN float load(Float16 v) {
    // Multiplying by 2^112 moves the exponent to float's bias and makes subnormals right.
    const uint32_t magnitude = uint32_t(v.bits & 0x7fff) << 13;
    const float scaled = as_float(magnitude) * as_float(0x77800000);
    const uint32_t bits = magnitude >= 0x0f800000 ? magnitude | 0x7f800000 : as_bits(scaled);
    return as_float(bits | uint32_t(v.bits & 0x8000) << 16);
}

PECLIP_FN void store(float* to, float v) { *to = v; }
PECLIP_FN void store(BFloat16* to, float v) {
    const uint32_t bits = as_bits(v);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;  // to nearest even
    to->bits = uint16_t(v != v ? bits >> 16 | 0x40 : rounded);
}
PECLIP_FN void store(Float16* to, float v) {
    const uint32_t sign = as_bits(v) & 0x80000000;
    const uint32_t magnitude = as_bits(v) ^ sign;
    // Normal: rebias the exponent and round to nearest even. Subnormal: adding 0.5 leaves the
    // rounded mantissa in the low bits. From 65520 on: infinity; beyond infinity: not a number.
    const uint32_t normal = (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13;
    const uint32_t subnormal = as_bits(as_float(magnitude) + 0.5f) - 0x3f000000;
    uint32_t half = magnitude < 0x38800000 ? subnormal : normal;
    half = magnitude >= 0x477ff000 ? 0x7c00 : half;
    half = magnitude > 0x7f800000 ? 0x7e00 : half;
    to->bits = uint16_t(half | sign >> 16);
}

}  // namespace peclip_fast
