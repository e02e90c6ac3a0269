// Drives the CPU kernels of the temporal adapter: threads, sums over chunks.
#include "cpu/temporal_adapter/kernels.h"

#include <algorithm>
#include <vector>

#include "cpu/instruction_set.h"
#include "cpu/threads.h"

namespace peclip_fast {
namespace {

const CpuKernels& kernels() { return PECLIP_CHOOSE(kernels); }

int64_t chunks(const DownArguments& a) {
    return (a.batch * a.frames * a.tokens + kRowsPerChunk - 1) / kRowsPerChunk;
}

int64_t blocks(const RecurrenceArguments& a) {
    return a.batch * ((a.tokens + kSequencesPerBlock - 1) / kSequencesPerBlock);
}

// `matrix` is (depth, columns) and goes to the kernel in panels of columns, each contiguous.
void run_recurrence(RecurrenceArguments a, const std::vector<float>& matrix, int64_t depth,
                    int threads,
                    void (*kernel)(const RecurrenceArguments&, int64_t, int64_t, float*)) {
    const int64_t columns = int64_t(matrix.size()) / depth, panel = kernels().panel;
    Aligned<float> packed(depth * columns);
    float* to = packed.get();
    for (int64_t first = 0; first < columns; first += panel)
        for (int64_t k = 0; k < depth; ++k)
            to = std::copy_n(&matrix[k * columns + first], std::min(panel, columns - first), to);
    a.weight = packed.get();
    parallel(blocks(a), threads, [&](int64_t first, int64_t last) {
        Aligned<float> scratch(recurrence_scratch(a.hidden));
        kernel(a, first, last, scratch.get());
    });
}

}  // namespace

void temporal_adapter_cpu_down(const DownArguments& a, int threads) {
    const CpuKernels& set = kernels();
    parallel(chunks(a), threads, [&](int64_t first, int64_t last) { set.down(a, first, last); });
}

void temporal_adapter_cpu_down_backward(const DownArguments& a, int threads) {
    const int64_t length = 3 * a.width;
    Aligned<float> partial(chunks(a) * length);  // added in the order of the rows
    DownArguments per_chunk = a;
    per_chunk.sums = partial.get();
    const CpuKernels& set = kernels();
    parallel(chunks(a), threads,
             [&](int64_t first, int64_t last) { set.down_backward(per_chunk, first, last); });
    std::fill_n(a.sums, length, 0.0f);
    for (int64_t chunk = 0; chunk < chunks(a); ++chunk)
        for (int64_t i = 0; i < length; ++i) a.sums[i] += partial.get()[chunk * length + i];
}

void temporal_adapter_cpu_recurrence(const RecurrenceArguments& a, int threads) {
    // (h, 3 padded h): the product W_hh g then runs along the gates' vectors.
    const int64_t h = a.hidden, hp = padded(h);
    const float* weight = static_cast<const float*>(a.weight);
    std::vector<float> matrix(h * 3 * hp);
    for (int64_t gate = 0; gate < 3; ++gate)
        for (int64_t j = 0; j < h; ++j)
            for (int64_t k = 0; k < h; ++k)
                matrix[(k * 3 + gate) * hp + j] = weight[(gate * h + j) * h + k];
    run_recurrence(a, matrix, h, threads, kernels().recurrence);
}

void temporal_adapter_cpu_recurrence_backward(const RecurrenceArguments& a, int threads) {
    // (3 padded h, padded h)
    const int64_t h = a.hidden, hp = padded(h);
    const float* weight = static_cast<const float*>(a.weight);
    std::vector<float> matrix(3 * hp * hp);
    for (int64_t gate = 0; gate < 3; ++gate)
        for (int64_t j = 0; j < h; ++j)
            std::copy_n(weight + (gate * h + j) * h, h, &matrix[(gate * hp + j) * hp]);
    run_recurrence(a, matrix, 3 * hp, threads, kernels().recurrence_backward);
}

}  // namespace peclip_fast
