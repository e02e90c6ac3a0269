// What the host side (runtime.cpp) wants of the fibers, and the other way round.
#pragma once

#include <string>

#include "cuda_runtime.h"

namespace shim {

bool run_grid(const Launch& launch);           // false after an error, which failure() tells
std::string failure();
// Of an instruction, as addr2line tells it, where that is installed.
std::string source_line(const void* address, const char* options);

}  // namespace shim
