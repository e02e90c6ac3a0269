// AVX-512's dot products of pairs of bfloat16 numbers, see tiles.h and unit.h.
#pragma once

#include "cpu/tiles.h"

namespace peclip_fast {
namespace {

using Unit = NoSubnormals;

constexpr int64_t kRows = 8;  // of A, whose sums over two tiles' columns stay in registers

// C (kRows, 32) = A B, or += where `add`. Row r of A stands at r * row, its next 32 numbers are at
// `a_step`; the next two tiles of B at `b_step`.
inline void multiply_few(const uint16_t* a, int64_t row, int64_t a_step, const uint16_t* b,
                         int64_t b_step, int64_t depth, float* C, int64_t ldc, bool add) {
    __m512 low[kRows], high[kRows];
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRows; ++r) {
        low[r] = add ? _mm512_loadu_ps(C + r * ldc) : _mm512_setzero_ps();
        high[r] = add ? _mm512_loadu_ps(C + r * ldc + 16) : _mm512_setzero_ps();
    }
    for (int64_t k = 0; k < depth; k += 32, a += a_step, b += b_step)
#pragma GCC unroll 4
        for (int64_t p = 0; p < 32; p += 2) {
            const __m512bh b_low = __m512bh(_mm512_load_si512(b + 16 * p));
            const __m512bh b_high = __m512bh(_mm512_load_si512(b + kTile + 16 * p));
#pragma GCC unroll 8
            for (int64_t r = 0; r < kRows; ++r) {
                int32_t pair;
                __builtin_memcpy(&pair, a + r * row + p, 4);
                const __m512bh both = __m512bh(_mm512_set1_epi32(pair));
                low[r] = _mm512_dpbf16_ps(low[r], both, b_low);
                high[r] = _mm512_dpbf16_ps(high[r], both, b_high);
            }
        }
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRows; ++r) {
        _mm512_storeu_ps(C + r * ldc, low[r]);
        _mm512_storeu_ps(C + r * ldc + 16, high[r]);
    }
}

// The same for 32 rows; the second half of A's stands at `a1`.
inline void multiply_block(const uint16_t* a0, const uint16_t* a1, int64_t row, int64_t a_step,
                           const uint16_t* b, int64_t b_step, int64_t depth, float* C, int64_t ldc,
                           bool add) {
    for (int64_t r = 0; r < 16; r += kRows) {
        multiply_few(a0 + r * row, row, a_step, b, b_step, depth, C + r * ldc, ldc, add);
        multiply_few(a1 + r * row, row, a_step, b, b_step, depth, C + (16 + r) * ldc, ldc, add);
    }
}

inline void multiply(const uint16_t* a0, const uint16_t* a1, const uint16_t* b, int64_t depth,
                     float* C, bool add) {
    multiply_block(a0, a1, 32, kTile, b, 2 * kTile, depth, C, kBlock, add);
}

inline void multiply_rows(const uint16_t* A, int64_t lda, const uint16_t* B, int64_t depth,
                          int64_t columns, float* C, int64_t ldc) {
    for (int64_t j = 0; j < columns; j += kBlock)
        multiply_block(A, A + 16 * lda, lda, 32, B + j / 16 * kTile, columns / 16 * kTile, depth,
                       C + j, ldc, false);
}

}  // namespace
}  // namespace peclip_fast
