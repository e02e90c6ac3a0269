#include "cpu/feed_forward/kernels.h"

#include "cpu/instruction_set.h"
#include "cpu/packed_weight.h"

namespace peclip_fast {
namespace {

void activate(const ActivationArguments& a, int threads,
              void (*kernel)(const ActivationArguments&, int64_t, int64_t)) {
    parallel(a.rows, threads, [&](int64_t first, int64_t last) { kernel(a, first, last); });
}

#ifdef PECLIP_BF16
// Rows of a task: as many as keep their hidden numbers in the second cache, some of which others use, and few
// enough that each thread gets several tasks.
int64_t rows_per_task(const FeedForwardArguments& a, int threads) {
    constexpr int64_t kCached = 384 << 10, kBlock = 32, kMost = 4 * kBlock;
    const int64_t fitting = kCached / (a.first.depth + a.first.columns);
    const int64_t several = threads == 1 ? kMost : a.rows / (4 * threads);
    const int64_t rows = std::min(fitting, several) / kBlock * kBlock;
    return std::max(kBlock, std::min(kMost, rows));
}

void run(const FeedForwardArguments& a, bool backward, int threads) {
    const LinearKernels& packing = PECLIP_CHOOSE_UNIT(linear_kernels);
    const FeedForwardKernels& kernels = PECLIP_CHOOSE_UNIT(feed_forward_kernels);
    if (!backward) prefer_huge_pages(a.hidden, 2 * a.rows * a.first.columns);
    PackedWeight first(a.first, packing, threads), second(a.second, packing, threads);
    const int64_t rows = rows_per_task(a, threads), tasks = (a.rows + rows - 1) / rows;
    parallel(tasks, threads, [&](int64_t from, int64_t to) {
        Aligned<uint16_t> scratch(rows * (a.first.depth + a.first.columns));
        for (int64_t row = from * rows; row < std::min(to * rows, a.rows); row += rows)
            kernels.run(a, backward, row, std::min(rows, a.rows - row), first.get(), second.get(),
                        scratch.get());
    });
}
#else
void run(const FeedForwardArguments&, bool, int) { require_bf16(); }
#endif

}  // namespace

void feed_forward_cpu_activate(const ActivationArguments& a, int threads) {
    activate(a, threads, PECLIP_CHOOSE(activation_kernels).forward);
}

void feed_forward_cpu_activate_backward(const ActivationArguments& a, int threads) {
    activate(a, threads, PECLIP_CHOOSE(activation_kernels).backward);
}

void feed_forward_cpu(const FeedForwardArguments& a, int threads) { run(a, false, threads); }

void feed_forward_cpu_backward(const FeedForwardArguments& a, int threads) {
    run(a, true, threads);
}

}  // namespace peclip_fast
