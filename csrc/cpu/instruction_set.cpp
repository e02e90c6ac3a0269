#include "cpu/instruction_set.h"

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#ifdef PECLIP_X86
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace peclip_fast {
namespace {

const char* name_of(InstructionSet set) {
    switch (set) {
        case InstructionSet::kAvx512: return "avx512";
        case InstructionSet::kAvx2: return "avx2";
        default: return "baseline";
    }
}

std::vector<InstructionSet> supported() {  // by this processor, best first
    std::vector<InstructionSet> sets;
#ifdef PECLIP_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        sets.push_back(InstructionSet::kAvx512);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        sets.push_back(InstructionSet::kAvx2);
#endif
    sets.push_back(InstructionSet::kBaseline);
    return sets;
}

InstructionSet choose() {
    const auto sets = supported();
    const char* wanted = std::getenv("PECLIP_FAST_CPU_ISA");
    if (!wanted) return sets[0];
    std::string names;
    for (InstructionSet set : sets) {
        if (std::string(wanted) == name_of(set)) return set;
        names += std::string(names.empty() ? "" : ", ") + name_of(set);
    }
    throw std::invalid_argument("PECLIP_FAST_CPU_ISA is '" + std::string(wanted) +
                                "': this processor has " + names);
}

const char* find_amx() {
#ifndef PECLIP_AMX
    return "the extension was built for a processor, or by a compiler, without AMX";
#else
    if (instruction_set() != InstructionSet::kAvx512) return "it needs AVX-512";
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kBf16) == 0 || (d & kTile) == 0)
        return "this processor has no AMX for bfloat16";
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || (a & 1u << 5) == 0)
        return "this processor has no AVX-512 for bfloat16";
    // The tiles' registers are the system's to give: ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA.
    if (syscall(SYS_arch_prctl, 0x1023, 18) != 0) return "the system does not allow AMX";
    return "";
#endif
}

}  // namespace

InstructionSet instruction_set() {
    static const InstructionSet chosen = choose();
    return chosen;
}

const char* cpu_instruction_set() { return name_of(instruction_set()); }

const char* amx_missing() {
    static const char* const reason = find_amx();
    return reason;
}

}  // namespace peclip_fast
