#include "cpu/attention/kernels.h"

#include "cpu/instruction_set.h"
#include "cpu/threads.h"

namespace peclip_fast {
#ifdef PECLIP_BF16
namespace {

// `written`: numbers of the output for each of (N, L, H, d).
void run(const AttentionArguments& a, int threads, int64_t written, int64_t bytes,
         void (*kernel)(const AttentionArguments&, int64_t, int64_t, char*)) {
    prefer_huge_pages(a.output, 2 * written * a.images * a.tokens * a.heads * a.width);
    parallel(a.images * a.heads, threads, [&](int64_t first, int64_t last) {
        Aligned<char> scratch(bytes);
        kernel(a, first, last, scratch.get());
    });
}

}  // namespace

void attention_cpu(const AttentionArguments& a, int threads) {
    const AttentionKernels& kernels = PECLIP_CHOOSE_UNIT(attention_kernels);
    run(a, threads, 1, kernels.scratch(a), kernels.forward);
}

void attention_cpu_backward(const AttentionArguments& a, int threads) {
    const AttentionKernels& kernels = PECLIP_CHOOSE_UNIT(attention_kernels);
    run(a, threads, 3, kernels.scratch_backward(a), kernels.backward);
}
#else
void attention_cpu(const AttentionArguments&, int) { require_bf16(); }
void attention_cpu_backward(const AttentionArguments&, int) { require_bf16(); }
#endif
}  // namespace peclip_fast
