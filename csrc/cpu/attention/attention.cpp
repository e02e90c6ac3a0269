#include "cpu/attention/kernels.h"

#include <stdexcept>

#include "cpu/instruction_set.h"
#include "cpu/threads.h"

namespace peclip_fast {
#ifdef PECLIP_AMX
namespace {

// `written`: numbers of the output for each of (N, L, H, d).
void run(const AttentionArguments& a, int threads, int64_t written, int64_t bytes,
         void (*kernel)(const AttentionArguments&, int64_t, int64_t, char*)) {
    if (*amx_missing()) throw std::runtime_error(amx_missing());
    prefer_huge_pages(a.output, 2 * written * a.images * a.tokens * a.heads * a.width);
    parallel(a.images * a.heads, threads, [&](int64_t first, int64_t last) {
        Aligned<char> scratch(bytes);
        kernel(a, first, last, scratch.get());
    });
}

}  // namespace

void attention_cpu(const AttentionArguments& a, int threads) {
    run(a, threads, 1, cpu_amx::attention_scratch(a), cpu_amx::attention);
}

void attention_cpu_backward(const AttentionArguments& a, int threads) {
    run(a, threads, 3, cpu_amx::attention_backward_scratch(a), cpu_amx::attention_backward);
}
#else
void attention_cpu(const AttentionArguments&, int) { throw std::runtime_error(amx_missing()); }
void attention_cpu_backward(const AttentionArguments&, int) {
    throw std::runtime_error(amx_missing());
}
#endif
}  // namespace peclip_fast
