// bfloat16 matrices in tiles, for the files that are compiled once for each unit that multiplies them:
// AMX and AVX-512's dot products of pairs.
//
// A unit multiplies tiles: C (16, 16) float32 += A (16, 32) B (32, 16), both bfloat16. A lies as it is,
// row by row. B lies in 16 rows of 16 pairs: row p holds B[2p, j] and B[2p + 1, j] side by side. So a
// matrix M serves as A as it is, as B where its rows are summed over after laying pairs of rows
// together, and as B where its columns are summed over after transposing its pairs of columns.
//
// All functions are static, see elementary.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace peclip_fast {
namespace {

constexpr int64_t kTile = 512;  // numbers in a bfloat16 tile
constexpr int64_t kBlock = 32;  // rows and columns that are multiplied at a time: 2 x 2 tiles

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t blocks(int64_t count) { return (count + kBlock - 1) / kBlock * kBlock; }

// Rows of a matrix at `stride`; those from `count` on are zero.
struct Rows {
    const uint16_t* data;
    int64_t count, stride;
    __m512i at(int64_t row, int64_t column) const {
        return row < count ? _mm512_loadu_si512(data + row * stride + column)
                            : _mm512_setzero_si512();
    }
};

// The columns j to j + 31 of two rows as row p of two tiles of B, one after the other.
class PairRows {
  public:
    PairRows() {
        alignas(64) uint16_t places[2][32];
        for (int i = 0; i < 32; ++i) {
            places[0][i] = uint16_t(i / 2 + i % 2 * 32);
            places[1][i] = uint16_t(16 + i / 2 + i % 2 * 32);
        }
        low_ = _mm512_load_si512(places[0]);
        high_ = _mm512_load_si512(places[1]);
    }
    void operator()(__m512i even, __m512i odd, uint16_t* tile, int64_t p) const {
        _mm512_store_si512(tile + p * 32, _mm512_permutex2var_epi16(even, low_, odd));
        _mm512_store_si512(tile + kTile + p * 32, _mm512_permutex2var_epi16(even, high_, odd));
    }

  private:
    __m512i low_, high_;
};

// Transposes 16 x 16 numbers of 32 bits.
inline void transpose(__m512i r[16]) {
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    // Now the 128-bit lane l of r[i + j] has column 4 l + j of the rows i to i + 3.
    for (int j = 0; j < 4; ++j) {
        const __m512i a = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88);
        const __m512i b = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
        const __m512i c = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
        const __m512i d = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
        t[j] = _mm512_shuffle_i32x4(a, b, 0x88);
        t[4 + j] = _mm512_shuffle_i32x4(c, d, 0x88);
        t[8 + j] = _mm512_shuffle_i32x4(a, b, 0xdd);
        t[12 + j] = _mm512_shuffle_i32x4(c, d, 0xdd);
    }
    for (int i = 0; i < 16; ++i) r[i] = t[i];
}

constexpr float kLog2E = 1.44269504f;

// 2^x, 0 far below 1. Taylor's polynomial of 2^r is good to 1e-7 for |r| <= 1/2.
inline __m512 exp2(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-200.0f), x);  // in this order NaN stays NaN
    const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512 r = _mm512_sub_ps(x, n);
    __m512 p = _mm512_set1_ps(1.54035304e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.33335581e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.61812911e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.55041087e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.40226507e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.93147181e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

inline void prefetch(const uint16_t* from, int64_t numbers) {
    for (int64_t i = 0; i < numbers; i += 32)
        _mm_prefetch(reinterpret_cast<const char*>(from + i), _MM_HINT_T0);
}

inline __m256i narrow(__m512 x) {
    return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x));
}

inline void store_narrow(uint16_t* to, __m512 x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), narrow(x));
}

// Subnormal numbers taken for zero for as long as this lives: far below anything that a probability
// adds to, each would cost as much as a hundred others.
class NoSubnormals {
  public:
    NoSubnormals() : mode_(_mm_getcsr()) {
        _mm_setcsr(mode_ | _MM_FLUSH_ZERO_ON | _MM_DENORMALS_ZERO_ON);
    }
    ~NoSubnormals() { _mm_setcsr(mode_); }

  private:
    const unsigned mode_;
};

struct Scratch {  // hands out parts of it, each on a cache line
    char* next;
    template <class T>
    T* take(int64_t count) {
        T* part = reinterpret_cast<T*>(next);
        next += (count * int64_t(sizeof(T)) + 63) / 64 * 64;
        return part;
    }
};

}  // namespace
}  // namespace peclip_fast
