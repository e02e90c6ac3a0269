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

struct QuickGelu {  // x sigmoid(1.702 x), as CLIP has it, and its slope s + 1.702 x s (1 - s)
    static __m512 value(__m512 x) { return _mm512_mul_ps(x, quick_sigmoid(x)); }
    static __m512 value_and_slope(__m512 x, __m512* slope) {
        const __m512 s = quick_sigmoid(x), rest = _mm512_sub_ps(_mm512_set1_ps(1.0f), s);
        const __m512 by = _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(1.702f), x), rest);
        *slope = _mm512_fmadd_ps(by, s, s);
        return _mm512_mul_ps(x, s);
    }
};

struct Gelu {  // x times the standard normal distribution function
    static __m512 value(__m512 x) {
        __m512 falls;
        return _mm512_mul_ps(x, distribution(x, &falls));
    }
    static __m512 value_and_slope(__m512 x, __m512* slope) {
        __m512 falls;
        const __m512 p = distribution(x, &falls);
        const __m512 density = _mm512_mul_ps(falls, _mm512_set1_ps(0.398942280f));
        *slope = _mm512_fmadd_ps(x, density, p);
        return _mm512_mul_ps(x, p);
    }

  private:
    // Of -|x| it is exp(-u^2) q(1 / (1 + u / 2)) / 2 with u = |x| / sqrt(2). q is a fit of this
    // file's own, good to 6e-7. `falls` is exp(-u^2).
    static __m512 distribution(__m512 x, __m512* falls) {
        const __m512 one = _mm512_set1_ps(1.0f), two = _mm512_set1_ps(2.0f);
        // In this order NaN stays NaN; far out there is nothing left.
        const __m512 u = _mm512_min_ps(
            _mm512_set1_ps(14.0f), _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(0.707106781f)));
        const __m512 y = _mm512_fmadd_ps(u, _mm512_set1_ps(0.5f), one), near = _mm512_rcp14_ps(y);
        const __m512 t = _mm512_mul_ps(near, _mm512_fnmadd_ps(near, y, two));
        __m512 q = _mm512_set1_ps(9.768416644e-2f);
        q = _mm512_fmadd_ps(q, t, _mm512_set1_ps(-3.922724389e-1f));
        q = _mm512_fmadd_ps(q, t, _mm512_set1_ps(4.435025635e-1f));
        q = _mm512_fmadd_ps(q, t, _mm512_set1_ps(-5.665960678e-3f));
        q = _mm512_fmadd_ps(q, t, _mm512_set1_ps(3.012316346e-1f));
        q = _mm512_fmadd_ps(q, t, _mm512_set1_ps(2.725606787e-1f));
        q = _mm512_fmadd_ps(q, t, _mm512_set1_ps(2.829948843e-1f));
        q = _mm512_fmadd_ps(q, t, _mm512_set1_ps(-3.511318276e-5f));
        *falls = exp2(_mm512_mul_ps(_mm512_mul_ps(u, u), _mm512_set1_ps(-kLog2E)));
        const __m512 below = _mm512_mul_ps(_mm512_mul_ps(*falls, q), _mm512_set1_ps(0.5f));
        const __mmask16 negative = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
        return _mm512_mask_mov_ps(_mm512_sub_ps(one, below), negative, below);
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

template <class F>
struct Activated : Hidden {
    Writer keep;
    void operator()(int64_t m, int64_t panel, int64_t panels, const float* C) const {
        for (int64_t p = 0; p < panels; ++p) block(m, panel + p, C + p * kApart);
    }
    void block(int64_t m, int64_t panel, const float* C) const {
        const Bias bias(a.first_bias, panel);
        for (int64_t r = 0; r < kBlock; ++r, C += kBlock) {
            const __m512 low = _mm512_load_ps(C), high = _mm512_load_ps(C + 16);
            if (a.hidden && m + r < count) keep(kept(m + r, panel), 0, narrow(low, high));
            _mm512_store_si512(tile(m + r, panel),
                               narrow(F::value(_mm512_add_ps(low, bias.low)),
                                      F::value(_mm512_add_ps(high, bias.high))));
        }
    }
};

template <class F>
struct Slope : Hidden {  // the gradient of what is activated
    void operator()(int64_t m, int64_t panel, int64_t panels, const float* C) const {
        for (int64_t p = 0; p < panels; ++p) block(m, panel + p, C + p * kApart);
    }
    void block(int64_t m, int64_t panel, const float* C) const {
        const int64_t rows = smaller(kBlock, count - m);
        const bool more = m + kBlock < count;  // the next block is below this one
        const int64_t next = more ? kept(m + kBlock, panel) : kept(0, panel + 1);
        prefetch(a.hidden + next * kPanel, kBlock * kPanel);
        const Bias bias(a.first_bias, panel);
        const uint16_t* x = a.hidden + kept(m, panel) * kPanel;
        for (int64_t r = 0; r < rows; ++r, C += kBlock, x += kPanel) {
            __m512 low, high;
            const __m512 value[2] = {
                F::value_and_slope(_mm512_add_ps(widen(x), bias.low), &low),
                F::value_and_slope(_mm512_add_ps(widen(x + 16), bias.high), &high)};
            const __m512i slope = narrow(_mm512_mul_ps(_mm512_load_ps(C), low),
                                         _mm512_mul_ps(_mm512_load_ps(C + 16), high));
            _mm512_store_si512(tile(m + r, panel), slope);
            const int64_t at = (row + m + r) * a.first.columns + panel * kPanel;
            if (a.activated) _mm512_storeu_si512(a.activated + at, narrow(value[0], value[1]));
            if (a.slope) _mm512_storeu_si512(a.slope + at, slope);
        }
        for (int64_t r = rows; r < kBlock; ++r)
            _mm512_store_si512(tile(m + r, panel), _mm512_setzero_si512());
    }
};

template <class F>
void feed_forward(const FeedForwardArguments& a, bool backward, int64_t row, int64_t count,
                  const uint16_t* first, const uint16_t* second, uint16_t* scratch) {
    const Unit unit;
    const int64_t rows = blocks(count), D = a.first.depth, H = a.first.columns;
    uint16_t* tiles = scratch + rows * D;
    pack_rows({a.input, a.rows, D}, row, rows, D, scratch);
    const Hidden hidden = {a, row, count, tiles};
    if (backward)
        product(scratch, rows, D, first, 0, H / kPanel, Slope<F>{hidden});
    else
        product(scratch, rows, D, first, 0, H / kPanel,
                Activated<F>{hidden, {a.hidden, a.rows * H / kPanel, kPanel}});
    product(tiles, rows, H, second, 0, D / kPanel,
            Output{a.second_bias, a.added, D, row, count, {a.output, a.rows, D}});
}

void run(const FeedForwardArguments& a, bool backward, int64_t row, int64_t count,
         const uint16_t* first, const uint16_t* second, uint16_t* scratch) {
    if (a.activation == Activation::kGelu)
        return feed_forward<Gelu>(a, backward, row, count, first, second, scratch);
    feed_forward<QuickGelu>(a, backward, row, count, first, second, scratch);
}

}  // namespace

const FeedForwardKernels feed_forward_kernels = {run};

}  // namespace PECLIP_UNIT
}  // namespace peclip_fast
