"""Reading the compiler's report."""

from __future__ import annotations

import pytest

from benchmarks.compile_checks.cubins import parse, readable
from benchmarks.compile_checks.usage import Usage

# Of `cuobjdump -res-usage | c++filt`, nvcc 13.0, with its blanks. `stack` indexes a local array,
# `spill` holds too many numbers, `callee` calls a function that is not inlined and has an array;
# `both` declares 1 KB of shared memory.
REPORT = """
Fatbin elf code:
================
arch = sm_80
code version = [1,8]
host = linux
compile_size = 64bit

Resource usage:
 Common:
  GLOBAL:0
 Function void peclip_fast::(anonymous namespace)::recurrence_kernel<__half, true>(peclip_fast::(anonymous namespace)::A):
  REG:74 STACK:0 SHARED:0 LOCAL:0 CONSTANT[0]:480 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function both(float*):
  REG:10 STACK:0 SHARED:1024 LOCAL:0 CONSTANT[0]:360 TEXTURE:0 SURFACE:0 SAMPLER:0

Fatbin elf code:
================
arch = sm_90a
code version = [1,8]
host = linux
compile_size = 64bit

Resource usage:
 Common:
  GLOBAL:0
 Function stack(float*, int):
  REG:24 STACK:64 SHARED:0 LOCAL:0 CONSTANT[0]:540 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function spill(float*, int):
  REG:64 STACK:1528 SHARED:0 LOCAL:0 CONSTANT[0]:540 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function callee(float*, int):
  REG:22 STACK:64 SHARED:1024 LOCAL:0 CONSTANT[0]:540 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function both(float*):
  REG:12 STACK:0 SHARED:2048 LOCAL:0 CONSTANT[0]:536 TEXTURE:0 SURFACE:0 SAMPLER:0
"""  # noqa: E501


def test_report_of_several_architectures() -> None:
    assert parse(REPORT) == {
        ("recurrence<fp16, true>", 80): Usage(74, 0, 0),
        ("both", 80): Usage(10, 0, 1024),
        ("stack", 90): Usage(24, 64, 0),
        ("spill", 90): Usage(64, 1528, 0),
        ("callee", 90): Usage(22, 64, 0),
        ("both", 90): Usage(12, 0, 1024),
    }


def test_report_of_a_cubin_names_no_architecture() -> None:
    head, _, rest = REPORT.partition("Resource usage:")
    assert "arch" in head
    assert parse("\nResource usage:" + rest.partition("Fatbin")[0])["both", 0].shared == 1024


def test_unknown_stack_is_an_error() -> None:
    with pytest.raises(ValueError, match="UNKNOWN"):
        parse(REPORT.replace("STACK:64", "STACK:UNKNOWN"))


@pytest.mark.parametrize(
    ("signature", "name"),
    [
        ("forward_kernel", "forward"),
        ("peclip_fast::probe_kernel()", "probe"),
        (
            "void a::(anonymous namespace)::recurrence<float, true, -3>(float*, int)",
            "recurrence<fp32, true, -3>",
        ),
        ("void a::f<__nv_bfloat16, (a::Scaling)2>(a::B<float, (a::C)1>)", "f<bf16, (Scaling)2>"),
        ("void a::kernel_of<a::Pair<__half, float> >(int)", "kernel_of<Pair<fp16, fp32> >"),
    ],
)
def test_readable_names(signature: str, name: str) -> None:
    assert readable(signature) == name
