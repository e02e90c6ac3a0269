// Which of the CPU kernels, compiled once per instruction set, this processor runs.
#pragma once

namespace peclip_fast {

// Each has the ones before it. From kAvx512 on there is a unit that multiplies bfloat16;
// kAvx512Core is what processors of before that have.
enum class InstructionSet { kBaseline, kAvx2, kAvx512Core, kAvx512, kAmx };

// The best one, or at most the one that PECLIP_FAST_MAX_CPU_ISA names, so that each can be tested.
InstructionSet instruction_set();
const char* cpu_instruction_set();  // its name

bool is_intel();  // the processor

const char* bf16_missing();  // why nothing multiplies bfloat16, else empty
void require_bf16();         // throws that

// The object of that name in the namespace of the chosen instruction set, or unit.
#ifdef PECLIP_X86
#define PECLIP_CHOOSE(name)                                             \
    (instruction_set() >= InstructionSet::kAvx512Core ? cpu_avx512::name \
     : instruction_set() == InstructionSet::kAvx2     ? cpu_avx2::name   \
                                                      : cpu_baseline::name)
#else
#define PECLIP_CHOOSE(name) (cpu_baseline::name)
#endif
#define PECLIP_CHOOSE_UNIT(name) \
    (require_bf16(),             \
     instruction_set() == InstructionSet::kAmx ? cpu_amx::name : cpu_avx512_bf16::name)

}  // namespace peclip_fast
