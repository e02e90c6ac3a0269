#pragma once

#include <string>

namespace peclip_fast {

// Empty when the kernels run on the current device, else the reason why they cannot.
std::string cuda_problem();

}  // namespace peclip_fast
