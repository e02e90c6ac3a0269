#include "cpu/instruction_set.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <string>

#ifdef PECLIP_X86
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace peclip_fast {

bool is_intel() {
#ifdef PECLIP_X86
    __builtin_cpu_init();
    return __builtin_cpu_is("intel");
#else
    return false;
#endif
}

namespace {

struct Named {
    const char* name;
    InstructionSet set;
};
constexpr Named kSets[] = {{"baseline", InstructionSet::kBaseline},
                           {"avx2", InstructionSet::kAvx2},
                           {"avx512_core", InstructionSet::kAvx512Core},
                           {"avx512", InstructionSet::kAvx512},
                           {"amx", InstructionSet::kAmx}};

#ifdef PECLIP_BF16
bool has(unsigned subleaf, char reg, unsigned bit) {  // of leaf 7
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, subleaf, &a, &b, &c, &d) && ((reg == 'a' ? a : d) & 1u << bit);
}
bool has_avx512_bf16() { return has(1, 'a', 5); }
// The tiles' registers are the system's to give: ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA.
bool has_amx() {
    return has(0, 'd', 22) && has(0, 'd', 24) && syscall(SYS_arch_prctl, 0x1023, 18) == 0;
}
#else
bool has_avx512_bf16() { return false; }
bool has_amx() { return false; }
#endif

InstructionSet best() {  // of this processor, as far as the extension is built for it
#ifdef PECLIP_X86
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return InstructionSet::kBaseline;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512dq") ||
        !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl"))
        return InstructionSet::kAvx2;
    if (!has_avx512_bf16()) return InstructionSet::kAvx512Core;
    if (has_amx()) return InstructionSet::kAmx;
    // Intel's AVX-512 multiplies bfloat16 at half its rate of float32, where it was measured.
    return is_intel() ? InstructionSet::kAvx512Core : InstructionSet::kAvx512;
#else
    return InstructionSet::kBaseline;
#endif
}

InstructionSet choose() {
    const char* most = std::getenv("PECLIP_FAST_MAX_CPU_ISA");
    if (!most) return best();
    std::string names;
    for (const Named& known : kSets) {
        if (std::string(most) == known.name) return std::min(best(), known.set);
        names += std::string(names.empty() ? "" : ", ") + known.name;
    }
    throw std::invalid_argument("PECLIP_FAST_MAX_CPU_ISA is '" + std::string(most) +
                                "': expected one of " + names);
}

}  // namespace

InstructionSet instruction_set() {
    static const InstructionSet chosen = choose();
    return chosen;
}

const char* cpu_instruction_set() { return kSets[int(instruction_set())].name; }

const char* bf16_missing() {
    if (instruction_set() >= InstructionSet::kAvx512) return "";
#ifndef PECLIP_BF16
    return "the extension was built for a processor, or by a compiler, without AMX and AVX-512 for "
           "bfloat16";
#else
    if (instruction_set() < best())
        return "it needs AVX-512 for bfloat16, and PECLIP_FAST_MAX_CPU_ISA allows less";
    return "this processor has neither AMX nor AVX-512 that multiplies bfloat16 faster than "
           "float32";
#endif
}

void require_bf16() {
    if (*bf16_missing()) throw std::runtime_error(bf16_missing());
}

}  // namespace peclip_fast
