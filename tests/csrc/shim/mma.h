// The tensor cores' instructions for the shim; csrc/cuda/tile.cuh takes these in place of PTX.
#pragma once

// Of the GPU that the sources are compiled for, as __CUDA_ARCH__ is.
#ifndef PECLIP_ARCH
#define PECLIP_ARCH 900
#endif

namespace shim {

// Adds A (16 x depth) times B (depth x 8) to `sums`. Each lane brings its registers of A, then of B;
// all lanes of the warp meet here. `type` is what PTX calls it: bf16 or f16.
void multiply(const char* type, unsigned depth, float* sums, const unsigned* registers,
              const char* file, int line);

}  // namespace shim

#define PECLIP_MMA_K16(kType, sums, a0, a1, a2, a3, b0, b1)                 \
    do {                                                                    \
        const unsigned registers[] = {a0, a1, a2, a3, b0, b1};              \
        shim::multiply(kType, 16, sums, registers, __FILE__, __LINE__);     \
    } while (false)
#define PECLIP_MMA_K8(kType, sums, a0, a1, b0)                              \
    do {                                                                    \
        const unsigned registers[] = {a0, a1, b0};                          \
        shim::multiply(kType, 8, sums, registers, __FILE__, __LINE__);      \
    } while (false)
