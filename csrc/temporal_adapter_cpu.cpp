// Drives the CPU kernels of the temporal adapter: instruction set, threads, sums over chunks.
#include "temporal_adapter_cpu.h"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace peclip_fast {
namespace {

std::vector<const CpuKernels*> supported() {  // by this processor, best first
    std::vector<const CpuKernels*> sets;
#ifdef PECLIP_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        sets.push_back(&cpu_avx512::kernels);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        sets.push_back(&cpu_avx2::kernels);
#endif
    sets.push_back(&cpu_baseline::kernels);
    return sets;
}

// The best set, or the one that PECLIP_FAST_CPU_ISA names, so that each can be tested.
const CpuKernels& choose_kernels() {
    const auto sets = supported();
    const char* wanted = std::getenv("PECLIP_FAST_CPU_ISA");
    if (!wanted) return *sets[0];
    std::string names;
    for (const CpuKernels* set : sets) {
        if (std::string(wanted) == set->name) return *set;
        names += std::string(names.empty() ? "" : ", ") + set->name;
    }
    throw std::invalid_argument("PECLIP_FAST_CPU_ISA is '" + std::string(wanted) +
                                "': this processor has " + names);
}

const CpuKernels& kernels() {
    static const CpuKernels& chosen = choose_kernels();
    return chosen;
}

// Runs work(first, last) over [0, count) in one contiguous part per thread.
//
// On the threads of the OpenMP runtime that PyTorch has loaded, where there is one: its idle threads
// spin for milliseconds after each of PyTorch's own operators, and any other threads would have to
// share the cores with them. Else on threads started for the call.
using OpenMPParallel = void (*)(void (*)(void*), void*, unsigned, unsigned);

template <class Work>
void parallel(int64_t count, int threads, const Work& work) {
    static const auto openmp =
        reinterpret_cast<OpenMPParallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
    const int64_t parts = std::max<int64_t>(1, std::min<int64_t>(threads, count));
    std::atomic<int64_t> next{0};
    // Takes parts until none is left, so that fewer threads than parts do the work as well.
    const auto take = [&] {
        for (int64_t part; (part = next++) < parts;)
            work(count * part / parts, count * (part + 1) / parts);
    };
    if (parts > 1 && openmp) {
        openmp([](void* task) { (*static_cast<decltype(take)*>(task))(); },
               const_cast<void*>(static_cast<const void*>(&take)), unsigned(parts), 0);
        return;
    }
    std::vector<std::thread> started;
    started.reserve(parts);
    try {
        while (int64_t(started.size()) < parts - 1) started.emplace_back(take);
    } catch (const std::system_error&) {
        // No more threads to be had: those that run do the rest.
    }
    take();
    for (std::thread& thread : started) thread.join();
}

class Floats {  // on a cache line, as wide vectors want
  public:
    explicit Floats(int64_t count)
        : data_(static_cast<float*>(std::aligned_alloc(64, (count * 4 + 63) / 64 * 64))) {
        if (!data_) throw std::bad_alloc();
    }
    float* get() { return data_.get(); }

  private:
    struct Free {
        void operator()(float* data) const { std::free(data); }
    };
    std::unique_ptr<float, Free> data_;
};

int64_t chunks(const NormArguments& a) {
    return (a.batch * a.frames * a.tokens + kRowsPerChunk - 1) / kRowsPerChunk;
}

int64_t blocks(const CoreArguments& a) {
    return a.batch * ((a.tokens + kSequencesPerBlock - 1) / kSequencesPerBlock);
}

// `matrix` is (depth, columns) and goes to the kernel in panels of columns, each contiguous.
void run_core(CoreArguments a, const std::vector<float>& matrix, int64_t depth, int threads,
              void (*kernel)(const CoreArguments&, int64_t, int64_t, float*)) {
    const int64_t columns = int64_t(matrix.size()) / depth, panel = kernels().panel;
    Floats packed(depth * columns);
    float* to = packed.get();
    for (int64_t first = 0; first < columns; first += panel)
        for (int64_t k = 0; k < depth; ++k)
            to = std::copy_n(&matrix[k * columns + first], std::min(panel, columns - first), to);
    a.weight = packed.get();
    parallel(blocks(a), threads, [&](int64_t first, int64_t last) {
        Floats scratch(core_scratch(a.hidden));
        kernel(a, first, last, scratch.get());
    });
}

}  // namespace

const char* cpu_instruction_set() { return kernels().name; }

void temporal_adapter_cpu_enter(const NormArguments& a, int threads) {
    const CpuKernels& set = kernels();
    parallel(chunks(a), threads, [&](int64_t first, int64_t last) { set.enter(a, first, last); });
}

void temporal_adapter_cpu_leave(const NormArguments& a, int threads) {
    const int64_t length = 3 * a.width;
    Floats partial(chunks(a) * length);  // added in the order of the rows
    NormArguments per_chunk = a;
    per_chunk.sums = partial.get();
    const CpuKernels& set = kernels();
    parallel(chunks(a), threads,
             [&](int64_t first, int64_t last) { set.leave(per_chunk, first, last); });
    std::fill_n(a.sums, length, 0.0f);
    for (int64_t chunk = 0; chunk < chunks(a); ++chunk)
        for (int64_t i = 0; i < length; ++i) a.sums[i] += partial.get()[chunk * length + i];
}

void temporal_adapter_cpu_walk(const CoreArguments& a, int threads) {
    // (h, 3 padded h): the product W_hh g then runs along the gates' vectors.
    const int64_t h = a.hidden, hp = padded(h);
    const float* weight = static_cast<const float*>(a.weight);
    std::vector<float> matrix(h * 3 * hp);
    for (int64_t gate = 0; gate < 3; ++gate)
        for (int64_t j = 0; j < h; ++j)
            for (int64_t k = 0; k < h; ++k)
                matrix[(k * 3 + gate) * hp + j] = weight[(gate * h + j) * h + k];
    run_core(a, matrix, h, threads, kernels().core_forward);
}

void temporal_adapter_cpu_walk_backward(const CoreArguments& a, int threads) {
    // (3 padded h, padded h)
    const int64_t h = a.hidden, hp = padded(h);
    const float* weight = static_cast<const float*>(a.weight);
    std::vector<float> matrix(3 * hp * hp);
    for (int64_t gate = 0; gate < 3; ++gate)
        for (int64_t j = 0; j < h; ++j)
            std::copy_n(weight + (gate * h + j) * h, h, &matrix[(gate * hp + j) * hp]);
    run_core(a, matrix, 3 * hp, threads, kernels().core_backward);
}

}  // namespace peclip_fast
