// Which of the CPU kernels, compiled once per instruction set, this processor runs.
#pragma once

namespace peclip_fast {

enum class InstructionSet { kBaseline, kAvx2, kAvx512 };

// The best one, or the one that PECLIP_FAST_CPU_ISA names, so that each can be tested.
InstructionSet instruction_set();
const char* cpu_instruction_set();  // its name

// Empty where AMX multiplies bfloat16 tiles, else what it lacks. Asks the system for leave to use it.
const char* amx_missing();

// The object of that name in the namespace of the chosen instruction set.
#ifdef PECLIP_X86
#define PECLIP_CHOOSE(name)                                         \
    (instruction_set() == InstructionSet::kAvx512 ? cpu_avx512::name \
     : instruction_set() == InstructionSet::kAvx2 ? cpu_avx2::name   \
                                                  : cpu_baseline::name)
#else
#define PECLIP_CHOOSE(name) (cpu_baseline::name)
#endif

}  // namespace peclip_fast
