// Self-attention in bfloat16, one head at a time, all its numbers in the cache. Matrices
// of a head are (tokens, d); see tiles.h for how they lie as factors.
//
// Everything here has internal linkage and uses no library template, see elementary.h.
#include "cpu/unit.h"
#include "cpu/attention/kernels.h"

namespace peclip_fast {
namespace PECLIP_UNIT {
namespace {

void copy_rows(const Rows& M, int64_t first, int64_t count, int64_t d, uint16_t* to) {
    for (int64_t row = first; row < first + count; ++row)
        for (int64_t j = 0; j < d; j += 32, to += 32) _mm512_store_si512(to, M.at(row, j));
}

void pair_rows(const Rows& M, int64_t padded, int64_t d, uint16_t* to) {
    const PairRows pair;
    for (int64_t row = 0; row < padded; row += 2)
        for (int64_t j = 0; j < d; j += 32) {
            uint16_t* tile = to + (row / 32 * (d / 16) + j / 16) * kTile;
            pair(M.at(row, j), M.at(row + 1, j), tile, row % 32 / 2);
        }
}

void pair_columns(const Rows& M, int64_t padded, int64_t d, uint16_t* to) {
    for (int64_t j = 0; j < d; j += 32)
        for (int64_t row = 0; row < padded; row += 16, to += kTile) {
            __m512i r[16];
            for (int i = 0; i < 16; ++i) r[i] = M.at(row + i, j);
            transpose(r);
            for (int i = 0; i < 16; ++i) _mm512_store_si512(to + i * 32, r[i]);
        }
}

// The transpose (d, padded) of M (padded, d), from its paired columns.
void unpair_columns(const uint16_t* paired, int64_t padded, int64_t d, uint16_t* to) {
    for (int64_t j = 0; j < d; j += 32)
        for (int64_t row = 0; row < padded; row += 16, paired += kTile)
            for (int i = 0; i < 16; ++i) {
                const __m512i pair = _mm512_load_si512(paired + i * 32);
                uint16_t* at = to + (j + 2 * i) * padded + row;
                _mm256_store_si256(reinterpret_cast<__m256i*>(at), _mm512_cvtepi32_epi16(pair));
                _mm256_store_si256(reinterpret_cast<__m256i*>(at + padded),
                                   _mm512_cvtepi32_epi16(_mm512_srli_epi32(pair, 16)));
            }
}

inline __mmask16 below(int64_t limit, int64_t first) {  // lanes whose number is below the limit
    return limit - first >= 16 ? 0xffff : limit <= first ? 0 : __mmask16((1u << (limit - first)) - 1);
}

// P = exp2(factor (s - its largest)) of `limit` numbers, zero up to `padded`. Gives the sum, and the
// base-2 logarithm of the sum of all 2^(factor s) in `lse`.
inline float softmax(const float* s, int64_t limit, int64_t padded, float factor, uint16_t* P,
                     float* lse) {
    const __m512 lowest = _mm512_set1_ps(-__builtin_inff());
    __m512 most = lowest;
    for (int64_t j = 0; j < limit; j += 16)
        most = _mm512_max_ps(most, _mm512_mask_loadu_ps(lowest, below(limit, j), s + j));
    const float largest = _mm512_reduce_max_ps(most) * factor;
    const __m512 shift = _mm512_set1_ps(largest), by = _mm512_set1_ps(factor);
    __m512 sum = _mm512_setzero_ps();
    int64_t j = 0;
    for (; j < limit; j += 16) {
        const __m512 p = _mm512_maskz_mov_ps(
            below(limit, j), exp2(_mm512_fmsub_ps(_mm512_loadu_ps(s + j), by, shift)));
        sum = _mm512_add_ps(sum, p);
        store_narrow(P + j, p);
    }
    for (; j < padded; j += 16) store_narrow(P + j, _mm512_setzero_ps());
    const float total = _mm512_reduce_add_ps(sum);
    if (lse) *lse = largest + __builtin_log2f(total);
    return total;
}

struct Head {  // one of the N * H
    Rows q, k, v;
    int64_t offset;  // of its first number in (N, L, H, d)
    Head(const AttentionArguments& a, int64_t index) {
        const int64_t image = index / a.heads, head = index % a.heads, D = a.heads * a.width;
        const uint16_t* first = a.qkv + image * a.tokens * 3 * D + head * a.width;
        q = {first, a.tokens, 3 * D};
        k = {first + D, a.tokens, 3 * D};
        v = {first + 2 * D, a.tokens, 3 * D};
        offset = image * a.tokens * D + head * a.width;
    }
};

inline float scale(const AttentionArguments& a) { return 1.0f / __builtin_sqrtf(float(a.width)); }

int64_t attention_scratch(const AttentionArguments& a) {
    const int64_t padded = blocks(a.tokens), d = a.width;
    return 2 * 2 * padded * d + kBlock * (2 * d + 4 * padded + 2 * padded + 4 * d);
}

void attention(const AttentionArguments& a, int64_t first, int64_t last, char* memory) {
    const Unit unit;
    const int64_t L = a.tokens, d = a.width, D = a.heads * d, padded = blocks(L);
    Scratch scratch = {memory};
    uint16_t *K = scratch.take<uint16_t>(padded * d), *V = scratch.take<uint16_t>(padded * d),
             *Q = scratch.take<uint16_t>(kBlock * d), *P = scratch.take<uint16_t>(kBlock * padded);
    float *S = scratch.take<float>(kBlock * padded), *O = scratch.take<float>(kBlock * d);
    for (int64_t index = first; index < last; ++index) {
        const Head head(a, index);
        pair_columns(head.k, padded, d, K);
        pair_rows(head.v, padded, d, V);
        for (int64_t row = 0; row < L; row += kBlock) {
            const int64_t rows = smaller(kBlock, L - row);
            copy_rows(head.q, row, kBlock, d, Q);
            multiply_rows(Q, d, K, d, padded, S, padded);
            float sums[kBlock];
            for (int64_t r = 0; r < rows; ++r) {
                const int64_t i = row + r;
                sums[r] = softmax(S + r * padded, a.causal ? i + 1 : L, padded, scale(a) * kLog2E,
                                  P + r * padded, a.lse ? a.lse + index * L + i : nullptr);
            }
            for (int64_t i = rows * padded; i < kBlock * padded; i += 32)
                _mm512_store_si512(P + i, _mm512_setzero_si512());
            multiply_rows(P, padded, V, padded, d, O, d);
            for (int64_t r = 0; r < rows; ++r) {
                const __m512 by = _mm512_set1_ps(1.0f / sums[r]);
                for (int64_t j = 0; j < d; j += 16)
                    store_narrow(a.output + head.offset + (row + r) * D + j,
                                 _mm512_mul_ps(_mm512_load_ps(O + r * d + j), by));
            }
        }
    }
}

int64_t attention_backward_scratch(const AttentionArguments& a) {
    const int64_t padded = blocks(a.tokens), d = a.width;
    return 2 * 8 * padded * d + 8 * padded + 2 * 4 * padded * padded + 2 * 2 * padded * padded +
           2 * kBlock * padded + 4 * kBlock * d + 4 * d * padded;
}

// With i for queries and j for keys, everything is computed transposed, keys as rows:
//
//     P'[j, i] = 2^(factor k_j q_i - lse_i)     dV = P' dO
//     delta_i  = sum_j P'[j, i] dP'[j, i]       with dP' = V dO'
//     dS'      = P' (dP' - delta)               dK = dS' Q,   dQ' = K' dS'
void attention_backward(const AttentionArguments& a, int64_t first, int64_t last, char* memory) {
    const Unit unit;
    const int64_t L = a.tokens, d = a.width, D = a.heads * d, padded = blocks(L);
    const __m512 factor = _mm512_set1_ps(scale(a) * kLog2E), scaled = _mm512_set1_ps(scale(a));
    Scratch scratch = {memory};
    const auto matrix = [&] { return scratch.take<uint16_t>(padded * d); };
    uint16_t *K = matrix(), *V = matrix(), *Kt = matrix(), *paired = matrix(),
             *Q_columns = matrix(), *Q_rows = matrix(), *G_columns = matrix(), *G_rows = matrix();
    float *lse = scratch.take<float>(padded), *delta = scratch.take<float>(padded);
    float *P = scratch.take<float>(padded * padded), *dP = scratch.take<float>(padded * padded);
    uint16_t *dS = scratch.take<uint16_t>(padded * padded),  // as A
        *dS_rows = scratch.take<uint16_t>(padded * padded),  // as B
        *P_block = scratch.take<uint16_t>(kBlock * padded);
    float *block = scratch.take<float>(kBlock * d), *dQ = scratch.take<float>(d * padded);
    // Rows [row, row + 32) of a gradient (tokens, d) into the part of dqkv that `to` begins.
    const auto write = [&](uint16_t* to, int64_t row, __m512 by) {
        for (int64_t r = 0; r < smaller(kBlock, L - row); ++r)
            for (int64_t c = 0; c < d; c += 16)
                store_narrow(to + (row + r) * 3 * D + c,
                             _mm512_mul_ps(_mm512_load_ps(block + r * d + c), by));
    };
    for (int64_t index = first; index < last; ++index) {
        const Head head(a, index);
        const Rows G = {a.grad + head.offset, L, D};
        uint16_t* dq = a.output + (head.q.data - a.qkv);
        copy_rows(head.k, 0, padded, d, K);
        copy_rows(head.v, 0, padded, d, V);
        pair_columns(head.k, padded, d, paired);
        unpair_columns(paired, padded, d, Kt);
        pair_columns(head.q, padded, d, Q_columns);
        pair_rows(head.q, padded, d, Q_rows);
        pair_columns(G, padded, d, G_columns);
        pair_rows(G, padded, d, G_rows);
        for (int64_t i = 0; i < padded; ++i) {
            lse[i] = i < L ? a.lse[index * L + i] : __builtin_inff();  // no query: P' = 0
            delta[i] = 0.0f;
        }
        for (int64_t row = 0; row < padded; row += kBlock) {
            float *p = P + row * padded, *dp = dP + row * padded;
            multiply_rows(K + row * d, d, Q_columns, d, padded, p, padded);
            multiply_rows(V + row * d, d, G_columns, d, padded, dp, padded);
            for (int64_t r = 0; r < kBlock; ++r)
                for (int64_t i = 0; i < padded; i += 16) {
                    float* at = p + r * padded + i;
                    const __m512 x =
                        _mm512_fmsub_ps(_mm512_load_ps(at), factor, _mm512_load_ps(lse + i));
                    // Causal: a key is seen by the queries from its own place on.
                    const __mmask16 seen = row + r >= L ? 0
                                           : a.causal   ? __mmask16(~below(row + r, i))
                                                        : 0xffff;
                    const __m512 value = _mm512_maskz_mov_ps(seen, exp2(x));
                    _mm512_store_ps(at, value);
                    store_narrow(P_block + r * padded + i, value);
                    const __m512 slope = _mm512_load_ps(dp + r * padded + i);
                    _mm512_store_ps(delta + i,
                                    _mm512_fmadd_ps(value, slope, _mm512_load_ps(delta + i)));
                }
            multiply_rows(P_block, padded, G_rows, padded, d, block, d);
            write(dq + 2 * D, row, _mm512_set1_ps(1.0f));
        }
        for (int64_t row = 0; row < padded; row += 2)
            for (int64_t i = 0; i < padded; i += 16) {
                __m256i narrowed[2];
                for (int odd = 0; odd < 2; ++odd) {
                    const int64_t at = (row + odd) * padded + i;
                    const __m512 ds = _mm512_mul_ps(
                        _mm512_load_ps(P + at),
                        _mm512_sub_ps(_mm512_load_ps(dP + at), _mm512_load_ps(delta + i)));
                    narrowed[odd] = narrow(ds);
                    _mm256_store_si256(reinterpret_cast<__m256i*>(dS + at), narrowed[odd]);
                }
                uint16_t* tile = dS_rows + (row / 32 * (padded / 16) + i / 16) * kTile;
                _mm512_store_si512(
                    tile + row % 32 / 2 * 32,
                    _mm512_or_si512(_mm512_cvtepu16_epi32(narrowed[0]),
                                    _mm512_slli_epi32(_mm512_cvtepu16_epi32(narrowed[1]), 16)));
            }
        for (int64_t row = 0; row < L; row += kBlock) {
            multiply_rows(dS + row * padded, padded, Q_rows, padded, d, block, d);
            write(dq + D, row, scaled);
        }
        for (int64_t row = 0; row < d; row += kBlock)
            multiply_rows(Kt + row * padded, padded, dS_rows, padded, padded, dQ + row * padded, padded);
        for (int64_t row = 0; row < L; row += 16)
            for (int64_t j = 0; j < d; j += 16) {
                __m512i r[16];
                for (int i = 0; i < 16; ++i)
                    r[i] = _mm512_load_si512(dQ + (j + i) * padded + row);
                transpose(r);
                for (int64_t i = 0; i < smaller(16, L - row); ++i)
                    store_narrow(dq + (row + i) * 3 * D + j,
                                 _mm512_mul_ps(_mm512_castsi512_ps(r[i]), scaled));
            }
    }
}

}  // namespace

const AttentionKernels attention_kernels = {attention_scratch, attention_backward_scratch, attention,
                                           attention_backward};

}  // namespace PECLIP_UNIT
}  // namespace peclip_fast
