// Products with a weight in bfloat16, and the packing of weights for them.
//
// Everything here has internal linkage and uses no library template, see elementary.h.
#include "cpu/product.h"

namespace peclip_fast {
namespace PECLIP_UNIT {
namespace {

struct WideRows {  // rows of a float32 matrix, rounded
    const float* data;
    int64_t stride;
    __m512i at(int64_t row, int64_t column) const {
        const float* from = data + row * stride + column;
        return narrow(_mm512_loadu_ps(from), _mm512_loadu_ps(from + 16));
    }
};

template <class Matrix>
void pack(const Matrix& W, const Weight& w, int64_t first, int64_t last, uint16_t* to) {
    const PairRows pair;
    for (int64_t column = first * kPanel; column < last * kPanel; column += kPanel)
        for (int64_t k = 0; k < w.depth; k += 32, to += 2 * kTile) {
            if (w.by_rows) {
                for (int64_t p = 0; p < 16; ++p)
                    pair(W.at(k + 2 * p, column), W.at(k + 2 * p + 1, column), to, p);
                continue;
            }
            for (int64_t half = 0; half < 2; ++half) {
                __m512i r[16];
                for (int i = 0; i < 16; ++i) r[i] = W.at(column + half * 16 + i, k);
                transpose(r);
                for (int i = 0; i < 16; ++i) _mm512_store_si512(to + half * kTile + i * 32, r[i]);
            }
        }
}

void pack_weight(const Weight& w, int64_t first, int64_t last, uint16_t* packed) {
    const int64_t rows = w.by_rows ? w.depth : w.columns, stride = w.by_rows ? w.columns : w.depth;
    uint16_t* to = packed + first * kPanel * w.depth;
    if (w.wide)
        pack(WideRows{static_cast<const float*>(w.data), stride}, w, first, last, to);
    else
        pack(Rows{static_cast<const uint16_t*>(w.data), rows, stride}, w, first, last, to);
}

void linear(const LinearArguments& a, const LinearTask& task, const uint16_t* packed,
            uint16_t* scratch) {
    const Unit unit;
    const int64_t depth = a.weight.depth, columns = a.weight.columns;
    const int64_t count = smaller(kRowsPerTask, a.rows - task.row);
    pack_rows({a.x, a.rows, depth}, task.row, blocks(count), depth, scratch);
    product(scratch, blocks(count), depth, packed, task.first_panel, task.last_panel,
            Output{a.bias, a.added, columns, task.row, count, {a.output, a.rows, columns}});
}

void pack_transposed(const WeightGradientArguments& a, int64_t first, int64_t last,
                     uint16_t* packed) {
    const Rows dy = {a.dy, a.rows, a.dy_stride};
    const PairRows pair;
    const int64_t depth = blocks(a.rows);
    alignas(64) uint16_t pairs[2 * kTile];
    for (int64_t row = first * kBlock; row < last * kBlock; row += kBlock)
        for (int64_t column = 0; column < a.columns; column += kBlock) {
            for (int64_t p = 0; p < 16; ++p)
                pair(dy.at(row + 2 * p, column), dy.at(row + 2 * p + 1, column), pairs, p);
            for (int64_t half = 0; half < 2; ++half) {
                __m512i r[16];
                for (int i = 0; i < 16; ++i) r[i] = _mm512_load_si512(pairs + half * kTile + i * 32);
                transpose(r);
                uint16_t* to = packed + (column + 16 * half) * depth + row / 32 * kTile;
                for (int i = 0; i < 16; ++i) _mm512_store_si512(to + i * 32, r[i]);
            }
        }
}

void weight_gradient(const WeightGradientArguments& a, int64_t first, int64_t last,
                     const uint16_t* packed, uint16_t* scratch, float* sums) {
    const Unit unit;
    const Rows x = {a.x, a.rows, a.x_stride};
    const PairRows pair;
    const int64_t all = blocks(a.rows), step = smaller(all, kRowsPerStep);
    for (int64_t row = 0; row < all; row += step) {
        const int64_t depth = smaller(step, all - row);
        for (int64_t r = 0; r < depth; r += 2)
            for (int64_t column = first; column < last; column += kPanel) {
                uint16_t* panel = scratch + (column - first) * depth;
                pair(x.at(row + r, column), x.at(row + r + 1, column), panel + r / 32 * 2 * kTile,
                     r % 32 / 2);
            }
        float* block = sums;
        for (int64_t column = first; column < last; column += kPanel)
            for (int64_t m = 0; m < a.columns; m += kBlock, block += kBlock * kBlock) {
                const uint16_t* dy = packed + m * all + row / 32 * kTile;
                multiply(dy, dy + 16 * all, scratch + (column - first) * depth, depth, block,
                         row > 0);
            }
    }
    const float* block = sums;
    for (int64_t column = first; column < last; column += kPanel)
        for (int64_t m = 0; m < a.columns; ++m, block += kBlock)
            _mm512_storeu_si512(a.dweight + m * a.depth + column,
                                narrow(_mm512_load_ps(block), _mm512_load_ps(block + 16)));
}

}  // namespace

const LinearKernels linear_kernels = {pack_weight, linear, pack_transposed, weight_gradient};

}  // namespace PECLIP_UNIT
}  // namespace peclip_fast
