// What the parts of the shim share: who runs now, and how a kernel is ended with an error.
#pragma once

#include <cstddef>
#include <cstdint>

namespace shim {

constexpr unsigned kMaxThreads = 1024, kWarp = 32;
constexpr size_t kSharedBytes = 256 << 10;  // more than any GPU has

// Time is counted in intervals between block-wide barriers, over all blocks and launches. Within
// an interval only the warp's own barriers order its lanes; different warps are not ordered at all.
struct Running {
    bool kernel;  // in a kernel, not in host code
    unsigned thread;
    uint32_t interval, first_of_block, first_of_launch;
    uint32_t warp_syncs[kMaxThreads / kWarp];
    const char *stack, *stack_end;  // of the thread
    const char *arguments, *arguments_end;
    size_t shared_bytes;
};
extern Running running;

// Ends the running kernel; its launch returns cudaErrorLaunchFailure. Up to two addresses of code
// are shown as lines of source behind the message: `at`, and what it collides with.
[[noreturn, gnu::format(printf, 3, 4)]] void fail(const void* at, const void* other,
                                                  const char* format, ...);

char* shared_memory();

// What a lane brings to a product of tensor cores, see mma.h.
struct Product {
    float* sums;
    const unsigned* registers;
};
// Waits for all lanes of the warp. Gives what each has brought to the last one, while the others
// wait, and nothing to those.
const Product* meet_to_multiply(const Product& mine, const char* file, int line);

}  // namespace shim
