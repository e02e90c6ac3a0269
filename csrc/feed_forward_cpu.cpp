#include "feed_forward_cpu.h"

#include "instruction_set.h"
#include "threads.h"

namespace peclip_fast {
namespace {

void run(const ActivationArguments& a, int threads,
         void (*kernel)(const ActivationArguments&, int64_t, int64_t)) {
    parallel(a.rows, threads, [&](int64_t first, int64_t last) { kernel(a, first, last); });
}

}  // namespace

void feed_forward_cpu_activate(const ActivationArguments& a, int threads) {
    run(a, threads, PECLIP_CHOOSE(activation_kernels).forward);
}

void feed_forward_cpu_activate_backward(const ActivationArguments& a, int threads) {
    run(a, threads, PECLIP_CHOOSE(activation_kernels).backward);
}

}  // namespace peclip_fast
