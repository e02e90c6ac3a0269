// The host side of the shim: one device, whose facts come from environment variables, and launches
// with the limits that a GPU has.
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "launch.h"
#include "shim.h"

extern "C" [[gnu::visibility("hidden")]] const char __ehdr_start;

namespace shim {
namespace {

constexpr int kDefaultSharedBytes = 48 << 10;

cudaError_t last_error = cudaSuccess;
std::string last_failure;

int setting(const char* name, int otherwise) {
    const char* text = std::getenv(name);
    return text ? std::atoi(text) : otherwise;
}

int shared_limit() { return setting("PECLIP_SHIM_SHARED", 227 << 10); }

std::map<const void*, int>& allowed() {  // bytes of shared memory that a kernel may ask for
    static std::map<const void*, int> bytes;
    return bytes;
}

cudaError_t note(cudaError_t error) {
    if (error != cudaSuccess) last_error = error;
    return error;
}

}  // namespace

std::string source_line(const void* address, const char* options) {
    Dl_info info;
    if (!dladdr(&__ehdr_start, &info)) return "?";
    char command[4096];
    std::snprintf(command, sizeof command, "addr2line -Ce '%s' %s 0x%tx 2>&1", info.dli_fname,
                  options, static_cast<const char*>(address) - &__ehdr_start);
    std::string text;
    if (FILE* pipe = popen(command, "r")) {
        char part[512];
        while (std::fgets(part, sizeof part, pipe)) text += part;
        pclose(pipe);
    }
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
}

cudaError_t set_attribute(const void* kernel, cudaFuncAttribute attribute, int value) {
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
        value > shared_limit())
        return note(cudaErrorInvalidValue);
    int& allows = allowed()[kernel];
    // On a GPU that is allowed, but another thread may be about to launch what needs more.
    if (value < allows) return note(cudaErrorNotPermitted);
    allows = value;
    return cudaSuccess;
}

cudaError_t get_attributes(cudaFuncAttributes* attributes, const void* kernel) {
    const auto found = allowed().find(kernel);
    attributes->maxDynamicSharedSizeBytes =
        found == allowed().end() ? kDefaultSharedBytes : found->second;
    return cudaSuccess;
}

cudaError_t launch(const Launch& launch) {
    const cudaLaunchConfig_t& config = *launch.config;
    const dim3 &grid = config.gridDim, &block = config.blockDim;
    const uint64_t threads = uint64_t(block.x) * block.y * block.z;
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || threads == 0 || threads > kMaxThreads ||
        block.z > 64 || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535)
        return note(cudaErrorInvalidConfiguration);
    cudaFuncAttributes attributes;
    get_attributes(&attributes, launch.kernel);
    const int most = std::min(attributes.maxDynamicSharedSizeBytes, shared_limit());
    if (config.dynamicSmemBytes > size_t(most) || config.numAttrs != 0)
        return note(cudaErrorInvalidValue);
    if (run_grid(launch)) return cudaSuccess;
    last_failure = source_line(launch.kernel, "-fps") + ", " + failure();
    return note(cudaErrorLaunchFailure);
}

}  // namespace shim

cudaError_t cudaGetDeviceCount(int* count) {
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
    return shim::note(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
    if (device != 0) return shim::note(cudaErrorInvalidDevice);
    switch (attribute) {
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = shim::shared_limit(); break;
        case cudaDevAttrMultiProcessorCount: *value = shim::setting("PECLIP_SHIM_SMS", 132); break;
        case cudaDevAttrComputeCapabilityMajor:
            *value = shim::setting("PECLIP_SHIM_CAPABILITY", 90) / 10;
            break;
        case cudaDevAttrComputeCapabilityMinor:
            *value = shim::setting("PECLIP_SHIM_CAPABILITY", 90) % 10;
            break;
    }
    return cudaSuccess;
}

cudaError_t cudaGetLastError() {
    const cudaError_t error = shim::last_error;
    shim::last_error = cudaSuccess;
    return error;
}

const char* cudaGetErrorString(cudaError_t error) {
    switch (error) {
        case cudaSuccess: return "no error";
        case cudaErrorInvalidValue: return "invalid argument";
        case cudaErrorInvalidConfiguration: return "invalid configuration argument";
        case cudaErrorNoDevice: return "no CUDA-capable device is detected";
        case cudaErrorInvalidDevice: return "invalid device ordinal";
        case cudaErrorNotPermitted: return "a kernel's shared memory is limited to less than before";
        case cudaErrorLaunchFailure: return shim::last_failure.c_str();
    }
    return "unknown error";
}
