// The CUDA kernels' bindings as a module of their own: to compile all others takes as long again.
#include "bindings/cuda.cpp"

PYBIND11_MODULE(_C, m) { peclip_fast::bind_cuda(m); }
