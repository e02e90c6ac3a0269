// The CPU's matrix unit (AMX), see tiles.h and unit.h.
#pragma once

#include "cpu/tiles.h"

namespace peclip_fast {
namespace {

struct alignas(64) TileShapes {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
// No local: g++ 12 believes that the intrinsic reads 8 bytes of it, and leaves out the others.
const TileShapes kTileShapes;

class Unit {  // shaped for as long as this lives
  public:
    Unit() { _tile_loadconfig(&kTileShapes); }
    ~Unit() { _tile_release(); }

  private:
    const NoSubnormals no_subnormals_;
};

// All loads of a step stand before its products: where another thread shares the core, products and
// loads that take turns wait for each other. Neither factor is in the first cache.
inline void multiply(const uint16_t* a0, const uint16_t* a1, const uint16_t* b, int64_t depth,
                     float* C, bool add) {
    if (add) {
        _tile_loadd(0, C, 128);
        _tile_loadd(1, C + 16, 128);
        _tile_loadd(2, C + 16 * 32, 128);
        _tile_loadd(3, C + 16 * 32 + 16, 128);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t k = 0; k < depth; k += 32, a0 += kTile, a1 += kTile, b += 2 * kTile) {
        _tile_loadd(4, a0, 64);
        _tile_loadd(6, b, 64);
        _tile_loadd(7, b + kTile, 64);
        _tile_loadd(5, a1, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        prefetch(a0 + 2 * kTile, kTile);
        prefetch(a1 + 2 * kTile, kTile);
        prefetch(b + 8 * kTile, 2 * kTile);
    }
    _tile_stored(0, C, 128);
    _tile_stored(1, C + 16, 128);
    _tile_stored(2, C + 16 * 32, 128);
    _tile_stored(3, C + 16 * 32 + 16, 128);
}

inline void multiply_rows(const uint16_t* A, int64_t lda, const uint16_t* B, int64_t depth,
                          int64_t columns, float* C, int64_t ldc) {
    for (int64_t j = 0; j < columns; j += kBlock) {
        const uint16_t* b = B + j / 16 * kTile;
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t k = 0; k < depth; k += kBlock, b += columns / 16 * kTile) {
            _tile_loadd(4, A + k, lda * 2);
            _tile_loadd(6, b, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, b + kTile, 64);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(5, A + 16 * lda + k, lda * 2);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(0, C + j, ldc * 4);
        _tile_stored(1, C + j + 16, ldc * 4);
        _tile_stored(2, C + 16 * ldc + j, ldc * 4);
        _tile_stored(3, C + 16 * ldc + j + 16, ldc * 4);
    }
}

}  // namespace
}  // namespace peclip_fast
