#pragma once

#include <pybind11/pybind11.h>

namespace peclip_fast {

void bind_cuda(pybind11::module_&);

}  // namespace peclip_fast
