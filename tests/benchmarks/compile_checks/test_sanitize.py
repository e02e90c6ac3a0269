"""What compute-sanitizer is given to run, as far as Triton's interpreter can run it."""

from __future__ import annotations

import pytest
import torch

from benchmarks.compile_checks import sanitize
from peclip_fast.ops import declared
from peclip_fast.ops.temporal_adapter import SCALINGS


def test_the_cases_are_odd() -> None:
    cases = sanitize.CASES
    assert {case.scaling for case in cases} == set(SCALINGS)
    assert any(case.unaligned and case.width % 8 and case.hidden % 8 for case in cases)
    assert any(case.autocast for case in cases)
    assert any(not case.residual for case in cases)
    assert any(case.frames == 1 for case in cases)
    assert any(case.clips * case.tokens % 16 for case in cases)  # sequences of a block
    assert max(case.hidden for case in cases) == 192


def test_every_gpu_kernel_is_run() -> None:
    """Of those that are ours."""
    ours = {(op, name) for op, name in declared._kernels if name in ("cuda", "triton")}
    assert {(function.__name__, name) for function, name in sanitize.KERNELS} == ours


@pytest.mark.skipif(torch.cuda.is_available(), reason="without a GPU, Triton's interpreter runs")
@pytest.mark.parametrize("operator", [f for f, name in sanitize.KERNELS if name == "triton"])
@pytest.mark.parametrize("case", [case for case in sanitize.CASES if case.width < 64], ids=str)
def test_unaligned_cases_run(operator, case) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        expected = operator(case, dtype, "cpu", "reference")
        torch.manual_seed(0)
        found = operator(case, dtype, "cpu", "triton")
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.isfinite().all()
            scale = theirs.float().abs().max()
            assert (ours.float() - theirs.float()).abs().max() <= 0.05 * scale


def test_what_is_unaligned() -> None:
    aligned, unaligned = (sanitize.draw((3, 8), torch.bfloat16, "cpu", u) for u in (False, True))
    assert aligned.is_contiguous()
    assert unaligned.data_ptr() % 4
    assert not unaligned.is_contiguous()
    assert aligned.shape == unaligned.shape
