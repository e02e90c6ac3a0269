"""CUDA kernels and the plan by which they are launched, brought together."""

from __future__ import annotations

from types import ModuleType
from unittest import mock

import pytest

from benchmarks.compile_checks import cubins, cuda_launches
from benchmarks.compile_checks.cases import Case
from benchmarks.compile_checks.occupancy import LIMITS
from benchmarks.compile_checks.usage import Key, Usage

CASE = Case(768, 96, "bf16", autocast=True)


def extension(*plan: tuple[str, int, int]) -> ModuleType:
    module = ModuleType("_C")
    module.__file__ = "_C.so"

    def temporal_adapter_cuda_plan(*arguments: int) -> list[tuple[str, int, int]]:
        assert arguments == (1, 768, 96, LIMITS[90].shared_per_block)
        return list(plan)

    module.__dict__["temporal_adapter_cuda_plan"] = temporal_adapter_cuda_plan
    return module


def test_launched_kernels_have_a_size_and_all_their_memory() -> None:
    compiled = {
        ("walk<bf16, 1>", 90): Usage(139, 0, 512),
        ("walk<bf16, 2>", 90): Usage(154, 0, 512),
        ("walk<bf16, 1>", 103): Usage(139, 0, 512),  # not one of the table's
        ("probe", 90): Usage(4, 0, 0),
    }
    with mock.patch.object(cubins, "read", return_value=compiled):
        found = cuda_launches.measure(extension(("walk", 384, 4096)), [CASE])
    walk = Key("cuda", "temporal_adapter", "walk<bf16, 1>", "768, 96, bf16 autocast", 90)
    assert found == {
        walk: Usage(139, 0, 4608, 384),
        walk._replace(kernel="walk<bf16, 2>", case=""): Usage(154, 0, 512),
    }


def test_a_plan_for_a_kernel_that_is_not_there_is_an_error() -> None:
    with (
        mock.patch.object(cubins, "read", return_value={("walk<bf16, 2>", 90): Usage(1, 0, 0)}),
        pytest.raises(KeyError, match="walk<bf16, 1>"),
    ):
        cuda_launches.measure(extension(("walk", 384, 4096)), [CASE])


@pytest.mark.parametrize(
    ("name", "case", "threads", "kernel"),
    [
        ("narrow", CASE, 384, "narrow<bf16, bf16, true>"),
        ("narrow_backward", CASE, 384, "narrow<bf16, fp32, false>"),
        ("walk", Case(768, 192, "fp16"), 384, "walk<fp16, 2>"),
        ("walk_backward", Case(512, 64, "fp32"), 256, "walk_backward<fp32, 1>"),
        ("widen", CASE, 384, "widen<bf16, 3, false>"),
        ("widen_backward", Case(1024, 128, "bf16"), 256, "widen<bf16, 6, true>"),
    ],
)
def test_forms_of_the_templates(name: str, case: Case, threads: int, kernel: str) -> None:
    assert cuda_launches.instance(name, case, threads) == kernel
