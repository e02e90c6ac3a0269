// The tensor cores' instructions mma.m16n8k16 and mma.m16n8k8, with the fragments of matrices that
// lanes hold as the PTX ISA lays them out ("Matrix Fragments for mma"): registers of two numbers,
//     (row, k) of A in lane 4 (row % 8) + k % 8 / 2, register row / 8 + 2 (k / 8),
//     (k, column) of B in lane 4 column + k % 8 / 2, register k / 8,
// in its lower half for an even k, and sums of one number each,
//     (row, column) in lane 4 (row % 8) + column / 2, number 2 (row / 8) + column % 2.
#include <cstring>

#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "shim.h"

namespace shim {
namespace {

constexpr unsigned kRows = 16, kColumns = 8;

float number(bool bf16, unsigned bits, unsigned half) {
    const auto one = static_cast<unsigned short>(bits >> 16 * half);
    return bf16 ? __bfloat162float(__ushort_as_bfloat16(one)) : __half2float(__ushort_as_half(one));
}

}  // namespace

void multiply(const char* type, unsigned depth, float* sums, const unsigned* registers,
              const char* file, int line) {
    const bool bf16 = std::strcmp(type, "bf16") == 0;
    if (bf16 && depth != 16) fail(nullptr, nullptr, "there is no m16n8k8 of bf16 at %s:%d", file, line);
    const Product* warp = meet_to_multiply({sums, registers}, file, line);
    if (!warp) return;  // the last lane to come has multiplied for all of them
    const unsigned of_a = depth / 4;  // registers
    for (unsigned row = 0; row < kRows; ++row)
        for (unsigned column = 0; column < kColumns; ++column) {
            float& sum = warp[row % 8 * 4 + column / 2].sums[row / 8 * 2 + column % 2];
            for (unsigned k = 0; k < depth; ++k) {
                const unsigned* a = warp[row % 8 * 4 + k % 8 / 2].registers;
                const unsigned* b = warp[column * 4 + k % 8 / 2].registers + of_a;
                sum += number(bf16, a[row / 8 + k / 8 * 2], k % 2) *
                       number(bf16, b[k / 8], k % 2);
            }
        }
}

}  // namespace shim
