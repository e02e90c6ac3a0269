"""Loading the compiled module, and why it can't be."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from peclip_fast.errors import InputError
from peclip_fast.ops import declared, extension


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    functions = (
        extension.load, extension.missing, extension.bf16_missing, extension.cuda_missing,
        extension.cuda_problem,
    )  # fmt: skip
    for function in functions:
        function.cache_clear()
    yield
    for function in functions:
        function.cache_clear()


def built(**parts: object) -> SimpleNamespace:
    """A stand-in for the module."""
    return SimpleNamespace(cpu_instruction_set=lambda: "baseline", **parts)


def test_a_module_that_is_not_built_is_the_reason_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(extension, "import_module", absent)
    reason = (
        "the extension peclip_fast._C is not built or does not load (No module named "
        "'peclip_fast._C')"
    )
    assert extension.missing() == extension.bf16_missing() == extension.cuda_missing() == reason
    with pytest.raises(ImportError, match="_C"):
        extension.load()


def test_what_a_built_module_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    module = built(cuda_architectures=(), bf16_missing=lambda: "this CPU has no AMX")
    monkeypatch.setattr(extension, "import_module", lambda name: module)
    assert extension.missing() is None
    assert extension.load() is module
    assert extension.bf16_missing() == "this CPU has no AMX"
    assert extension.cuda_missing() == "the extension peclip_fast._C was built without CUDA"


def test_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    module = built(cuda_architectures=(90,), bf16_missing=lambda: "")
    monkeypatch.setattr(extension, "import_module", lambda name: module)
    monkeypatch.setattr(extension, "gpu_missing", lambda: None)
    assert extension.bf16_missing() is None
    assert extension.cuda_missing() is None


@pytest.mark.parametrize(
    "problem",
    [
        "CUDA driver version is insufficient for CUDA runtime version",
        "no kernel image is available for execution on the device",
    ],
)
def test_a_gpu_that_cannot_run_the_build_is_told_before_a_launch(
    monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    """Each GPU is asked: two in one machine may differ."""
    current: list[torch.device] = []

    @contextlib.contextmanager
    def device(which: torch.device) -> Iterator[None]:
        current.append(which)
        yield
        current.pop()

    module = built(
        cuda_architectures=(75, 120),
        cuda_version="13.0",
        cuda_problem=lambda: problem if current == [torch.device("cuda", 1)] else "",
        temporal_adapter_cuda_plan=lambda *_: [],
    )
    monkeypatch.setattr(extension, "import_module", lambda name: module)
    monkeypatch.setattr(extension, "gpu_missing", lambda: None)
    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    properties = SimpleNamespace(shared_memory_per_block_optin=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)

    def why(index: int) -> str | None:
        call = (torch.device("cuda", index), torch.bfloat16, 768, 96, 16)
        return declared.why_not("temporal_adapter", "cuda", *call)

    assert why(0) is None
    assert why(1) == (
        "its kernels, compiled by CUDA 13.0 for compute capability 7.5, 12.0, don't run on this "
        f"GPU ({problem})"
    )
    with pytest.raises(InputError, match="backend 'cuda' can't run temporal_adapter: its kernels"):
        declared.search(
            "temporal_adapter", "cuda", torch.device("cuda", 1), torch.bfloat16, 768, 96, 16
        )
