#include "cpu/linear/kernels.h"

#include "cpu/instruction_set.h"
#include "cpu/packed_weight.h"

namespace peclip_fast {
#ifdef PECLIP_BF16
void linear_cpu(const LinearArguments& a, int threads) {
    const LinearKernels& kernels = PECLIP_CHOOSE_UNIT(linear_kernels);
    const int64_t panels = a.weight.columns / kPanel;
    prefer_huge_pages(a.output, 2 * a.rows * a.weight.columns);
    PackedWeight packed(a.weight, kernels, threads);
    // Few rows: their columns are parted too, so that there is something to do for every thread.
    const int64_t blocks = (a.rows + kRowsPerTask - 1) / kRowsPerTask;
    const int64_t wanted = (kPartsPerThread * threads + blocks - 1) / (blocks ? blocks : 1);
    const int64_t splits = threads == 1 ? 1 : std::max<int64_t>(1, std::min(wanted / 4, panels));
    parallel(blocks * splits, threads, [&](int64_t first, int64_t last) {
        Aligned<uint16_t> scratch(kRowsPerTask * a.weight.depth);
        for (int64_t index = first; index < last; ++index) {
            const int64_t split = index % splits;
            const LinearTask task = {index / splits * kRowsPerTask, panels * split / splits,
                                     panels * (split + 1) / splits};
            kernels.linear(a, task, packed.get(), scratch.get());
        }
    });
}

void weight_gradient_cpu(const WeightGradientArguments& a, int threads) {
    const LinearKernels& kernels = PECLIP_CHOOSE_UNIT(linear_kernels);
    const int64_t row_blocks = (a.rows + 31) / 32, strips = (a.depth + kStrip - 1) / kStrip;
    Aligned<uint16_t> packed(a.columns * row_blocks * 32);
    parallel(row_blocks, threads, [&](int64_t first, int64_t last) {
        kernels.pack_transposed(a, first, last, packed.get());
    });
    parallel(strips, threads, [&](int64_t first, int64_t last) {
        Aligned<uint16_t> scratch(kRowsPerStep * kStrip);
        Aligned<float> sums(a.columns * kStrip);
        for (int64_t column = first * kStrip; column < last * kStrip; column += kStrip)
            kernels.weight_gradient(a, column, std::min(column + kStrip, a.depth), packed.get(),
                                    scratch.get(), sums.get());
    });
}
#else
void linear_cpu(const LinearArguments&, int) { require_bf16(); }
void weight_gradient_cpu(const WeightGradientArguments&, int) { require_bf16(); }
#endif
}  // namespace peclip_fast
