// Products with a weight on the CPU's matrix unit, see amx.h for how the factors lie.
//
// Everything here has internal linkage and uses no library template, see elementary.h.
#include "amx.h"
#include "linear_cpu.h"

namespace peclip_fast {
namespace cpu_amx {
namespace {

constexpr int64_t kBlockNumbers = kBlock * kBlock;

// Rows [row, row + 128) and columns [k, k + depth) of x as tiles of A, those of 16 rows together.
void pack_rows(const Rows& x, int64_t row, int64_t rows, int64_t k, int64_t depth, uint16_t* to) {
    for (int64_t m = row; m < row + rows; m += 16)
        for (int64_t j = k; j < k + depth; j += 32)
            for (int64_t r = 0; r < 16; ++r, to += 32) _mm512_store_si512(to, x.at(m + r, j));
}

// The four tiles of C (32, 32) += A B over `depth`; a0 and a1 are the tiles of its halves of A.
inline void multiply(const uint16_t* a0, const uint16_t* a1, const uint16_t* b, int64_t depth) {
    for (int64_t k = 0; k < depth; k += 32, a0 += kTile, a1 += kTile, b += 2 * kTile) {
        _tile_loadd(4, a0, 64);
        _tile_loadd(6, b, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b + kTile, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, a1, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        for (int64_t i = 0; i < kTile; i += 32) {  // the rows after the next ones
            _mm_prefetch(reinterpret_cast<const char*>(a0 + 2 * kTile + i), _MM_HINT_T0);
            _mm_prefetch(reinterpret_cast<const char*>(a1 + 2 * kTile + i), _MM_HINT_T0);
        }
    }
}

inline void store_sums(float* to) {
    _tile_stored(0, to, 128);
    _tile_stored(1, to + 16, 128);
    _tile_stored(2, to + 16 * 32, 128);
    _tile_stored(3, to + 16 * 32 + 16, 128);
}

inline void load_sums(const float* from) {
    _tile_loadd(0, from, 128);
    _tile_loadd(1, from + 16, 128);
    _tile_loadd(2, from + 16 * 32, 128);
    _tile_loadd(3, from + 16 * 32 + 16, 128);
}

// x sigmoid(1.702 x)
inline __m512 quick_gelu(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f), by = _mm512_set1_ps(-1.702f * kLog2E);
    return _mm512_div_ps(x, _mm512_add_ps(one, exp2(_mm512_mul_ps(x, by))));
}

inline void store_row(uint16_t* to, __m512 low, __m512 high) {
    _mm512_storeu_si512(to, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)));
}

struct WideRows {  // rows of a float32 matrix, rounded
    const float* data;
    int64_t stride;
    __m512i at(int64_t row, int64_t column) const {
        const float* from = data + row * stride + column;
        return reinterpret_cast<__m512i>(
            _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + 16), _mm512_loadu_ps(from)));
    }
};

template <class Matrix>
void pack(const Matrix& W, const LinearArguments& a, int64_t first, int64_t last, uint16_t* to) {
    const PairRows pair;
    for (int64_t column = first * kPanel; column < last * kPanel; column += kPanel)
        for (int64_t k = 0; k < a.depth; k += 32, to += 2 * kTile) {
            if (a.by_rows) {
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

}  // namespace

void linear_pack(const LinearArguments& a, int64_t first, int64_t last, uint16_t* packed) {
    const int64_t rows = a.by_rows ? a.depth : a.columns, stride = a.by_rows ? a.columns : a.depth;
    uint16_t* to = packed + first * kPanel * a.depth;
    if (a.wide)
        pack(WideRows{static_cast<const float*>(a.weight), stride}, a, first, last, to);
    else
        pack(Rows{static_cast<const uint16_t*>(a.weight), rows, stride}, a, first, last, to);
}

int64_t linear_scratch(const LinearArguments& a, const LinearTask& task) {
    const int64_t sums = a.depth > kDepth ? task.last_panel - task.first_panel : 0;
    return 2 * kRowsPerTask * smaller(a.depth, kDepth) + 4 * kBlockNumbers +
           4 * kBlockNumbers * (kRowsPerTask / kBlock) * sums;
}

void linear(const LinearArguments& a, const LinearTask& task, const uint16_t* packed,
            char* memory) {
    const Tiles tiles;
    const Rows x = {a.x, a.rows, a.depth};
    const int64_t rows = (smaller(kRowsPerTask, a.rows - task.row) + kBlock - 1) / kBlock * kBlock;
    Scratch scratch = {memory};
    uint16_t* A = scratch.take<uint16_t>(kRowsPerTask * smaller(a.depth, kDepth));
    float* done = scratch.take<float>(kBlockNumbers);
    float* sums = reinterpret_cast<float*>(scratch.next);  // of a block of C between parts of depth
    for (int64_t k = 0; k < a.depth; k += kDepth) {
        const int64_t depth = smaller(kDepth, a.depth - k);
        pack_rows(x, task.row, rows, k, depth, A);
        float* sum = sums;
        for (int64_t panel = task.first_panel; panel < task.last_panel; ++panel) {
            const uint16_t* B = packed + panel * kPanel * a.depth + k / 32 * 2 * kTile;
            for (int64_t m = 0; m < rows; m += kBlock, sum += kBlockNumbers) {
                if (k == 0) {
                    _tile_zero(0);
                    _tile_zero(1);
                    _tile_zero(2);
                    _tile_zero(3);
                } else {
                    load_sums(sum);
                }
                multiply(A + m * depth, A + (m + 16) * depth, B, depth);
                if (k + depth < a.depth) {
                    store_sums(sum);
                    continue;
                }
                store_sums(done);
                const int64_t column = panel * kPanel;
                const __m512 zero = _mm512_setzero_ps();
                const __m512 low = a.bias ? _mm512_loadu_ps(a.bias + column) : zero;
                const __m512 high = a.bias ? _mm512_loadu_ps(a.bias + column + 16) : zero;
                for (int64_t r = 0; r < smaller(kBlock, a.rows - task.row - m); ++r) {
                    const int64_t at = (task.row + m + r) * a.columns + column;
                    const float* row = done + r * kBlock;
                    const __m512 left = _mm512_load_ps(row), right = _mm512_load_ps(row + 16);
                    if (a.product) store_row(a.product + at, left, right);
                    const __m512 x = _mm512_add_ps(left, low), y = _mm512_add_ps(right, high);
                    if (a.quick_gelu)
                        store_row(a.output + at, quick_gelu(x), quick_gelu(y));
                    else
                        store_row(a.output + at, x, y);
                }
            }
        }
    }
}

}  // namespace cpu_amx
}  // namespace peclip_fast
