#include "linear_cpu.h"

#include <stdexcept>

#include "instruction_set.h"
#include "threads.h"

namespace peclip_fast {
#ifdef PECLIP_AMX
void linear_cpu(const LinearArguments& a, int threads) {
    using namespace cpu_amx;
    if (*amx_missing()) throw std::runtime_error(amx_missing());
    const int64_t panels = a.columns / kPanel;
    Aligned<uint16_t> packed(a.columns * a.depth);
    parallel(panels, threads,
             [&](int64_t first, int64_t last) { linear_pack(a, first, last, packed.get()); });
    // Few rows: their columns are parted too, so that there is something to do for every thread.
    const int64_t blocks = (a.rows + kRowsPerTask - 1) / kRowsPerTask;
    const int64_t wanted = (kPartsPerThread * threads + blocks - 1) / (blocks ? blocks : 1);
    const int64_t splits = threads == 1 ? 1 : std::max<int64_t>(1, std::min(wanted / 4, panels));
    parallel(blocks * splits, threads, [&](int64_t first, int64_t last) {
        for (int64_t index = first; index < last; ++index) {
            const int64_t split = index % splits;
            const LinearTask task = {index / splits * kRowsPerTask, panels * split / splits,
                                     panels * (split + 1) / splits};
            Aligned<char> scratch(linear_scratch(a, task));
            linear(a, task, packed.get(), scratch.get());
        }
    });
}
#else
void linear_cpu(const LinearArguments&, int) { throw std::runtime_error(amx_missing()); }
#endif
}  // namespace peclip_fast
