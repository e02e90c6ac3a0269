// A weight in tiles, laid there by several threads.
#pragma once

#include "cpu/linear/kernels.h"
#include "cpu/threads.h"

namespace peclip_fast {
class PackedWeight {
  public:
    PackedWeight(const Weight& weight, const LinearKernels& kernels, int threads)
        : tiles_(weight.columns * weight.depth) {
        parallel(weight.columns / kPanel, threads, [&](int64_t first, int64_t last) {
            kernels.pack_weight(weight, first, last, tiles_.get());
        });
    }
    const uint16_t* get() { return tiles_.get(); }

  private:
    Aligned<uint16_t> tiles_;
};

}  // namespace peclip_fast
