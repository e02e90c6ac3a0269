"""Inner loops, found in what the disassembler prints, and what of them is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.compile_checks import machine_code
from benchmarks.compile_checks.machine_code import Loop

CODE = """
	code for sm_90
		Function : void peclip_fast::(anonymous namespace)::up_kernel<__nv_bfloat16, 3>(Arguments)
        /*0000*/                   LDC R1, c[0x0][0x28] ;                     /* 0x1 */
                                                                              /* 0x2 */
        /*0010*/                   LDG.E R2, desc[UR4][R2.64] ;               /* 0x1 */
        /*0020*/               @P0 BRA 0x60 ;                                 /* 0x1 */
        /*0030*/                   LDS.128 R4, [R8] ;                         /* 0x1 */
        /*0040*/                   HMMA.16816.F32.BF16 R4, R8, R12, R4 ;      /* 0x1 */
        /*0050*/              @!P1 BRA 0x30 ;                                 /* 0x1 */
        /*0060*/                   LD.E.128 R4, desc[UR4][R8.64] ;            /* 0x1 */
        /*0070*/                   HMMA.16816.F32.BF16 R4, R8, R12, R4 ;      /* 0x1 */
        /*0080*/                   STL [R1], R4 ;                             /* 0x1 */
        /*0090*/                   NOP ;                                      /* 0x1 */
        /*00a0*/         @!UP0 UIADD3 UR4, UR4, 0x1, URZ ;                    /* 0x1 */
        /*00b0*/               @P2 BRA 0x60 ;                                 /* 0x1 */
        /*00c0*/               @P3 BRA 0x10 ;                                 /* 0x1 */
        /*00d0*/                   EXIT ;                                     /* 0x1 */
        /*00e0*/                   BRA 0xe0 ;                                 /* 0x1 */
		Function : pack_kernel
        /*0000*/                   EXIT ;                                     /* 0x1 */
"""
FIRST, SECOND = Loop(3, 1, 0, 0), Loop(5, 1, 1, 1)


def test_inner_loops_are_those_with_products_and_no_such_loop_within() -> None:
    assert machine_code.parse(CODE) == {"up<bf16, 3>": [FIRST, SECOND], "pack": []}


def test_what_no_inner_loop_may_have() -> None:
    assert machine_code.faults({"up": [FIRST]}) == []
    assert machine_code.faults({"up": [FIRST, SECOND], "down": []}) == [
        "down: no loop with a product was found",
        "up: 1 generic loads in an inner loop",
        "up: 1 spilled registers in an inner loop",
    ]


def test_more_instructions_than_in_the_table_are_a_regression() -> None:
    table = {"up": [Loop(100, 4, 0, 0)], "gone": [FIRST]}
    assert machine_code.regressions({"up": [Loop(105, 4, 0, 0)], "gone": [FIRST]}, table) == []
    assert machine_code.regressions({"up": [Loop(106, 4, 0, 0)], "new": [FIRST]}, table) == [
        "new: not in instructions.json",
        "gone: in instructions.json but not made",
        "up: 106 instructions in its inner loops, 100 in the table",
    ]


def test_the_table_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(machine_code.render("13.0.88", {"up": [FIRST, SECOND]}))
    assert machine_code.committed(path) == ("13.0.88", {"up": [FIRST, SECOND]})


def test_the_committed_table_has_nothing_that_is_refused() -> None:
    _, table = machine_code.committed()
    assert len(table) >= 14
    assert machine_code.faults(table) == []


@pytest.mark.parametrize("name", ["up<bf16, 3, false, 1>", "recurrence<bf16, 1, 2, true>"])
def test_the_papers_kernels_are_in_it(name: str) -> None:
    assert name in machine_code.committed()[1]
