// Says whether the CUDA kernels of this build can run on the current device.
#include "cuda/probe.h"

#include <cuda_runtime.h>

namespace peclip_fast {

__global__ void probe_kernel() {}

std::string cuda_problem() {
    int devices = 0;
    cudaError_t error = cudaGetDeviceCount(&devices);
    if (error == cudaSuccess && devices == 0) error = cudaErrorNoDevice;
    // Fails when the binary holds neither machine code nor PTX that the device can take.
    cudaFuncAttributes attributes;
    if (error == cudaSuccess) error = cudaFuncGetAttributes(&attributes, probe_kernel);
    if (error == cudaSuccess) return "";
    cudaGetLastError();  // the failed query must not show up as the error of a later call
    return cudaGetErrorString(error);
}

}  // namespace peclip_fast
