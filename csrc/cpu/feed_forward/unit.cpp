// A block's MLP in bfloat16: the hidden numbers of some rows stay in the second cache,
// as tiles of the second product.
//
// Everything here has internal linkage and uses no library template, see elementary.h.
#include "cpu/product.h"
#include "cpu/feed_forward/kernels.h"

namespace peclip_fast {
namespace PECLIP_UNIT {
namespace {

inline __m512 quick_sigmoid(__m512 x) {  // sigmoid(1.702 x), good to 1e-7; a division takes longer
    const __m512 by = _mm512_set1_ps(-1.702f * kLog2E), two = _mm512_set1_ps(2.0f);
    const __m512 y = _mm512_add_ps(_mm512_set1_ps(1.0f), exp2(_mm512_mul_ps(x, by)));
    const __m512 near = _mm512_rcp14_ps(y), infinity = _mm512_set1_ps(__builtin_inff());
    const __mmask16 finite = _mm512_cmp_ps_mask(y, infinity, _CMP_NEQ_UQ);  // or not a number
    return _mm512_maskz_mul_ps(finite, near, _mm512_fnmadd_ps(near, y, two));
}

inline __m512 quick_gelu(__m512 x) { return _mm512_mul_ps(x, quick_sigmoid(x)); }

inline __m512 quick_gelu_slope(__m512 x) {  // s + 1.702 x s (1 - s)
    const __m512 s = quick_sigmoid(x), rest = _mm512_sub_ps(_mm512_set1_ps(1.0f), s);
    const __m512 by = _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(1.702f), x), rest);
    return _mm512_fmadd_ps(by, s, s);
}

// The rows of C + bias, narrowed, that exist.
struct Output {
    const FeedForwardArguments& a;
    int64_t row, count;
    Writer write;
    void operator()(int64_t m, int64_t panel, const float* C) const {
        const Bias bias(a.second_bias, panel);
        for (int64_t r = 0; r < smaller(kBlock, count - m); ++r, C += kBlock)
            write(row + m + r, panel * kPanel,
                  narrow(_mm512_add_ps(_mm512_load_ps(C), bias.low),
                         _mm512_add_ps(_mm512_load_ps(C + 16), bias.high)));
    }
};

// The hidden numbers of some rows: as tiles of A, and as they are kept for the backward pass, by
// panels (H / 32, rows, 32), so that a block of them is in one piece.
struct Hidden {
    const FeedForwardArguments& a;
    int64_t row, count;
    uint16_t* tiles;
    uint16_t* tile(int64_t row, int64_t panel) const {
        return tiles + row / 16 * 16 * a.first.columns + panel * kTile + row % 16 * 32;
    }
    int64_t kept(int64_t m, int64_t panel) const { return panel * a.rows + row + m; }
};

struct Activated : Hidden {
    Writer keep;
    void operator()(int64_t m, int64_t panel, const float* C) const {
        const Bias bias(a.first_bias, panel);
        for (int64_t r = 0; r < kBlock; ++r, C += kBlock) {
            const __m512 low = _mm512_load_ps(C), high = _mm512_load_ps(C + 16);
            if (a.hidden && m + r < count) keep(kept(m + r, panel), 0, narrow(low, high));
            _mm512_store_si512(tile(m + r, panel),
                               narrow(quick_gelu(_mm512_add_ps(low, bias.low)),
                                      quick_gelu(_mm512_add_ps(high, bias.high))));
        }
    }
};

struct Slope : Hidden {  // the gradient of what is activated
    void operator()(int64_t m, int64_t panel, const float* C) const {
        const int64_t rows = smaller(kBlock, count - m);
        const bool more = m + kBlock < count;  // the next block is below this one
        const int64_t next = more ? kept(m + kBlock, panel) : kept(0, panel + 1);
        prefetch(a.hidden + next * kPanel, kBlock * kPanel);
        const Bias bias(a.first_bias, panel);
        const uint16_t* x = a.hidden + kept(m, panel) * kPanel;
        for (int64_t r = 0; r < rows; ++r, C += kBlock, x += kPanel) {
            const __m512 low = _mm512_add_ps(widen(x), bias.low);
            const __m512 high = _mm512_add_ps(widen(x + 16), bias.high);
            _mm512_store_si512(
                tile(m + r, panel),
                narrow(_mm512_mul_ps(_mm512_load_ps(C), quick_gelu_slope(low)),
                       _mm512_mul_ps(_mm512_load_ps(C + 16), quick_gelu_slope(high))));
        }
        for (int64_t r = rows; r < kBlock; ++r)
            _mm512_store_si512(tile(m + r, panel), _mm512_setzero_si512());
    }
};

void feed_forward(const FeedForwardArguments& a, bool backward, int64_t row, int64_t count,
                  const uint16_t* first, const uint16_t* second, uint16_t* scratch) {
    const Unit unit;
    const int64_t rows = blocks(count), D = a.first.depth, H = a.first.columns;
    uint16_t* tiles = scratch + rows * D;
    pack_rows({a.input, a.rows, D}, row, rows, D, scratch);
    const Hidden hidden = {a, row, count, tiles};
    if (backward)
        product(scratch, rows, D, first, 0, H / kPanel, Slope{hidden});
    else
        product(scratch, rows, D, first, 0, H / kPanel,
                Activated{hidden, {a.hidden, a.rows * H / kPanel, kPanel}});
    product(tiles, rows, H, second, 0, D / kPanel,
            Output{a, row, count, {a.output, a.rows, D}});
}

}  // namespace

const FeedForwardKernels feed_forward_kernels = {feed_forward};

}  // namespace PECLIP_UNIT
}  // namespace peclip_fast
