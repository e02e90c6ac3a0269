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


def extension(*plan: tuple[str, int, int, bool]) -> ModuleType:
    module = ModuleType("_C")
    module.__file__ = "_C.so"

    def temporal_adapter_cuda_plan(*arguments: int) -> list[tuple[str, int, int, bool]]:
        assert arguments == (1, 768, 96, LIMITS[90].shared_per_block)
        return list(plan)

    module.__dict__["temporal_adapter_cuda_plan"] = temporal_adapter_cuda_plan
    return module


def test_launched_kernels_have_a_size_and_all_their_memory() -> None:
    compiled = {
        ("recurrence<bf16, 1, 1, true>", 90): Usage(139, 0, 512),
        ("recurrence<bf16, 2, 1, false>", 90): Usage(154, 0, 512),
        ("recurrence<bf16, 1, 1, true>", 103): Usage(139, 0, 512),  # not one of the table's
        ("probe", 90): Usage(4, 0, 0),
    }
    with mock.patch.object(cubins, "read", return_value=compiled):
        found = cuda_launches.measure(extension(("recurrence", 384, 4096, True)), [CASE])
    recurrence = Key(
        "cuda", "temporal_adapter", "recurrence<bf16, 1, 1, true>", "768, 96, bf16 autocast", 90
    )
    assert found == {
        recurrence: Usage(139, 0, 4608, 384),
        recurrence._replace(kernel="recurrence<bf16, 2, 1, false>", case=""): Usage(154, 0, 512),
    }


def test_a_plan_for_a_kernel_that_is_not_there_is_an_error() -> None:
    compiled = {("recurrence<bf16, 2, 1, false>", 90): Usage(1, 0, 0)}
    with (
        mock.patch.object(cubins, "read", return_value=compiled),
        pytest.raises(KeyError, match="recurrence<bf16, 1, 1, true>"),
    ):
        cuda_launches.measure(extension(("recurrence", 384, 4096, True)), [CASE])


@pytest.mark.parametrize(
    ("name", "case", "threads", "plain", "kernel"),
    [
        ("down", CASE, 384, True, "down<bf16, bf16, true, true>"),
        ("up_backward", CASE, 384, True, "down<bf16, fp32, false, true>"),
        ("recurrence", Case(768, 192, "fp16"), 384, False, "recurrence<fp16, 2, 1, false>"),
        ("recurrence of 32", CASE, 384, True, "recurrence<bf16, 1, 2, true>"),
        (
            "recurrence_backward", Case(512, 64, "fp32"), 256, False,
            "recurrence_backward<fp32, 1, 1, false>",
        ),
        ("recurrence_backward of 32", CASE, 384, True, "recurrence_backward<bf16, 1, 2, true>"),
        ("up", CASE, 512, True, "up<bf16, 3, false, 2>"),
        ("up", Case(768, 96, "bf16"), 512, True, "up<bf16, 3, false, 1>"),
        ("down_backward", Case(1024, 128, "bf16"), 256, False, "up<bf16, 6, true, 0>"),
    ],
)  # fmt: skip
def test_forms_of_the_templates(
    name: str, case: Case, threads: int, plain: bool, kernel: str
) -> None:
    assert cuda_launches.instance(name, case, threads, plain) == kernel


def test_plain_kernels_are_those_that_the_plan_says() -> None:
    plan = extension(("up", 512, 4096, True), ("down", 384, 4096, False))
    assert cuda_launches.plain_kernels(plan, [CASE], 90) == {"up<bf16, 3, false, 2>"}
