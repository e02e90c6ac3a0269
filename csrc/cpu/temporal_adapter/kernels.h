// The CPU kernels of the temporal adapter. kernels.cpp is compiled once per instruction set;
// temporal_adapter.cpp runs the threads and adds partial sums.
#pragma once

#include "cpu/temporal_adapter/temporal_adapter.h"

namespace peclip_fast {

// Rows are handled in chunks of this many, whatever the number of threads: the partial sums of the
// weight gradients, and so their bits, do not depend on it.
constexpr int64_t kRowsPerChunk = 32;
constexpr int64_t kSequencesPerBlock = 32;

struct CpuKernels {
    int64_t panel;  // columns of a panel of the recurrence's weight
    // Each handles chunks [first, last) of kRowsPerChunk rows, or blocks of kSequencesPerBlock
    // neighbouring tokens of one clip. `scratch` holds recurrence_scratch(h) floats on a 64-byte
    // line.
    void (*down)(const DownArguments&, int64_t first, int64_t last);
    void (*down_backward)(const DownArguments&, int64_t first, int64_t last);
    void (*recurrence)(const RecurrenceArguments&, int64_t first, int64_t last, float* scratch);
    void (*recurrence_backward)(const RecurrenceArguments&, int64_t first, int64_t last,
                                float* scratch);
};

// h padded so that every instruction set's vectors fit.
static inline int64_t padded(int64_t hidden) { return (hidden + 15) / 16 * 16; }
static inline int64_t recurrence_scratch(int64_t hidden) {
    return kSequencesPerBlock * 8 * padded(hidden);
}

namespace cpu_baseline {
extern const CpuKernels kernels;
}
namespace cpu_avx2 {
extern const CpuKernels kernels;
}
namespace cpu_avx512 {
extern const CpuKernels kernels;
}

}  // namespace peclip_fast
