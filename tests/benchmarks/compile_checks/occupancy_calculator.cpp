// NVIDIA's own occupancy rules (cuda_occupancy.h), for comparison. Lines of the standard input:
// compute capability, threads and shared memory of a multiprocessor, shared memory that a block may
// ask for, bytes reserved in a block; then threads, registers and shared memory of a kernel. Prints
// blocks per multiprocessor.
#include <cuda_occupancy.h>

#include <cstdio>

int main() {
    int sm, per_sm_threads, per_sm_shared, per_block_shared, reserved, threads, registers, shared;
    while (std::scanf("%d %d %d %d %d %d %d %d", &sm, &per_sm_threads, &per_sm_shared,
                      &per_block_shared, &reserved, &threads, &registers, &shared) == 8) {
        cudaOccDeviceProp device = {};
        device.computeMajor = sm / 10;
        device.computeMinor = sm % 10;
        device.maxThreadsPerBlock = 1024;
        device.maxThreadsPerMultiprocessor = per_sm_threads;
        device.regsPerBlock = device.regsPerMultiprocessor = 65536;
        device.warpSize = 32;
        device.sharedMemPerBlock = 48 * 1024;
        device.sharedMemPerMultiprocessor = per_sm_shared;
        device.numSms = 1;
        device.sharedMemPerBlockOptin = per_block_shared;
        device.reservedSharedMemPerBlock = reserved;
        cudaOccFuncAttributes kernel = {};
        kernel.maxThreadsPerBlock = 1024;
        kernel.numRegs = registers;
        kernel.maxDynamicSharedSizeBytes = shared;
        kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
        kernel.partitionedGCConfig = PARTITIONED_GC_OFF;
        kernel.numBlockBarriers = 1;
        cudaOccDeviceState state;
        cudaOccResult result;
        if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, threads,
                                                    size_t(shared)) != CUDA_OCC_SUCCESS)
            return 1;
        std::printf("%d\n", result.activeBlocksPerMultiprocessor);
    }
}
