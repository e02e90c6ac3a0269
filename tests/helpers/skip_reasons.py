"""Which reasons a test may be skipped for. Any other skip counts as a failure.

tests/conftest.py takes the two hooks from here.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any

import pytest

ALLOWED = {
    "a GPU, or none where a stand-in counts": r"CUDA GPU|needs a GPU|there is a GPU|the stand-in",
    "the instructions of another processor": (
        r"this processor has (no|neither) |it needs AVX-512|by a compiler, without AMX"
    ),
    "DALI": r"NVIDIA DALI is not installed",
    "transformers": r"could not import '(transformers|tokenizers)'",
    "Chromium": r"Chromium is not installed",
    "a build that was asked to have no CUDA kernels": r"PECLIP_FAST_CUDA is 0",
}


def allowed(reason: str) -> bool:
    """Whether a test that gives this reason may be skipped."""
    return any(re.search(pattern, reason) for pattern in ALLOWED.values())


def judge(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turns a skip for another reason into a failure. An expected failure is no skip."""
    if report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    reason = str(report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr)
    if not allowed(reason):
        report.outcome = "failed"
        report.longrepr = f"{reason}\nexpected one of these reasons to skip: {', '.join(ALLOWED)}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    judge(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, Any]:
    report = yield
    judge(report)
    return report
