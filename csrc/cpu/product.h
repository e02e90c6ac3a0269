// Products of many rows with a weight in tiles, see tiles.h for how the factors lie.
//
// All functions are static, see elementary.h.
#pragma once

#include "cpu/unit.h"
#include "cpu/linear/kernels.h"

namespace peclip_fast {
namespace PECLIP_UNIT {
namespace {

// Rows [row, row + rows) of x (count, depth) as tiles of A, those of 16 rows together.
inline void pack_rows(const Rows& x, int64_t row, int64_t rows, int64_t depth, uint16_t* to) {
    for (int64_t m = row; m < row + rows; m += 16)
        for (int64_t k = 0; k < depth; k += 32)
            for (int64_t r = 0; r < 16; ++r, to += 32) _mm512_store_si512(to, x.at(m + r, k));
}

constexpr int64_t kRoom = 192 << 10;  // numbers

// Panels of C for the same 32 rows that are written together, each a block (32, 32) in rows: with
// all of them at hand a row is written in one go. They lie apart by a row more than a block, or a
// row's parts would take each other's place in the cache.
constexpr int64_t kGroup = 24, kApart = kBlock * (kBlock + 1);

// C = A B for the rows of A and the panels [first, last) of B, both packed. `store` gets the blocks
// of some panels: the first row, the first panel, how many panels, and C.
template <class Store>
inline void product(const uint16_t* A, int64_t rows, int64_t depth, const uint16_t* packed,
                    int64_t first, int64_t last, const Store& store) {
    alignas(64) float C[kGroup * kApart];
    // Along the rows where the second cache has room for all of B: then `store` walks along rows of
    // its memory. Else each panel stays in the first cache for all of A.
    const bool along = (last - first) * kPanel * depth <= kRoom;
    const int64_t group = along ? kGroup : 1, groups = (last - first + group - 1) / group;
    const int64_t row_blocks = rows / kBlock;
    for (int64_t i = 0; i < groups * row_blocks; ++i) {
        const int64_t panel = first + group * (along ? i % groups : i / row_blocks);
        const int64_t m = (along ? i / groups : i % row_blocks) * kBlock;
        const int64_t panels = smaller(group, last - panel);
        for (int64_t p = 0; p < panels; ++p)
            multiply(A + m * depth, A + (m + 16) * depth, packed + (panel + p) * kPanel * depth,
                     depth, C + p * kApart, false);
        store(m, panel, panels, C);
    }
    _mm_sfence();  // other threads see what a Writer wrote
}

inline __m512 widen(const uint16_t* from) {  // 16 numbers
    const __m256i numbers = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(numbers), 16));
}

inline __m512i narrow(__m512 low, __m512 high) {  // 32 numbers
    return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
}

// Writes rows of 32 numbers of a matrix. One that no cache holds goes past the caches: else each of
// its lines would be read before it is written.
class Writer {
  public:
    Writer(uint16_t* to, int64_t rows, int64_t columns)
        : to_(to), columns_(columns),
          past_(rows * columns >= kLarge && reinterpret_cast<uintptr_t>(to) % 64 == 0) {}
    void operator()(int64_t row, int64_t column, __m512i numbers) const {
        uint16_t* at = to_ + row * columns_ + column;
        if (past_)
            _mm512_stream_si512(reinterpret_cast<__m512i*>(at), numbers);
        else
            _mm512_storeu_si512(at, numbers);
    }

  private:
    static constexpr int64_t kLarge = 2 << 20;
    uint16_t* const to_;
    const int64_t columns_;
    const bool past_;
};

struct Bias {  // the part of a bias, or of none, that a panel takes
    __m512 low = _mm512_setzero_ps(), high = _mm512_setzero_ps();
    Bias(const float* bias, int64_t panel) {
        if (!bias) return;
        low = _mm512_loadu_ps(bias + panel * kPanel);
        high = _mm512_loadu_ps(bias + panel * kPanel + 16);
    }
};

// Writes the rows of a block C that exist, with a bias and what else is added to them.
struct Output {
    const float* bias;                    // (columns) or null
    const uint16_t* const (&added)[2];    // (rows, columns) or null
    int64_t columns, first, count;        // rows [first, first + count)
    Writer write;
    void operator()(int64_t m, int64_t panel, int64_t panels, const float* C) const {
        const int64_t rows = smaller(kBlock, count - m);
        for (int64_t r = 0; r < rows; ++r, C += kBlock)
            for (int64_t p = 0; p < panels; ++p) {
                const int64_t row = first + m + r, column = (panel + p) * kPanel;
                const int64_t at = row * columns + column;
                const Bias part(bias, panel + p);
                __m512 low = _mm512_add_ps(_mm512_load_ps(C + p * kApart), part.low);
                __m512 high = _mm512_add_ps(_mm512_load_ps(C + p * kApart + 16), part.high);
                for (const uint16_t* more : added) {
                    if (!more) continue;
                    low = _mm512_add_ps(low, widen(more + at));
                    high = _mm512_add_ps(high, widen(more + at + 16));
                    prefetch(more + at + kBlock * columns, kPanel);  // of the next block
                }
                write(row, column, narrow(low, high));
            }
    }
};

}  // namespace
}  // namespace PECLIP_UNIT
}  // namespace peclip_fast
