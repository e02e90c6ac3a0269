// The Python module peclip_fast._C: facts about the build, and the kernels on raw pointers.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <sstream>
#include <string>
#include <vector>

#ifdef PECLIP_FAST_CUDA
#include "cuda_probe.h"
#endif

namespace py = pybind11;

namespace {

#ifdef PECLIP_FAST_CUDA
constexpr bool kCuda = true;
constexpr const char* kCudaVersion = PECLIP_FAST_CUDA_VERSION;
constexpr const char* kCudaArchitectures = PECLIP_FAST_CUDA_ARCHS;
std::string cuda_problem() { return peclip_fast::cuda_problem(); }
#else
constexpr bool kCuda = false;
constexpr const char* kCudaVersion = "";
constexpr const char* kCudaArchitectures = "";
std::string cuda_problem() { return "built without CUDA (PECLIP_FAST_CUDA=0)"; }
#endif

py::tuple cuda_architectures() {
    std::vector<int> capabilities;
    std::stringstream list(kCudaArchitectures);
    for (std::string name; std::getline(list, name, ',');) capabilities.push_back(std::stoi(name));
    return py::tuple(py::cast(capabilities));
}

}  // namespace

PYBIND11_MODULE(_C, m) {
    m.doc() = "Compiled kernels of peclip_fast and facts about their build.";
    m.attr("version") = PECLIP_FAST_VERSION;
    m.attr("cuda") = kCuda;
    m.attr("cuda_version") = kCuda ? py::object(py::str(kCudaVersion)) : py::object(py::none());
    m.attr("cuda_architectures") = cuda_architectures();  // e.g. (75, 90); empty without CUDA
    m.def("cuda_problem", &cuda_problem,
          "Empty when the CUDA kernels run on the current device, else the reason why not.");
}
