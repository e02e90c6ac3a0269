"""Which backend runs, and the reasons given for the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from peclip_fast import ops
from peclip_fast.errors import InputError
from peclip_fast.ops import backends, declared
from peclip_fast.ops.declared import Kernel
from peclip_fast.ops.verdicts import store
from peclip_fast.ops.verdicts.verdict import OperatorCall, Record, Verdict

CPU = torch.device("cpu")
SIZES = (768, 96)
Kernels = dict[tuple[str, str], Kernel]


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernels]:
    """An operator `op` with made-up kernels: cpu is there, triton lacks something."""
    made_up = {
        ("op", "cpu"): Kernel(
            ("cpu",), lambda: None, width=(8, 1024), hidden=(1, 192), frames=(1, 256)
        ),
        ("op", "triton"): Kernel(("cuda",), lambda: "triton has a cold"),
    }
    monkeypatch.setattr(declared, "_kernels", made_up)
    declared.search.cache_clear()
    yield made_up
    declared.search.cache_clear()


def verify(kernels: Kernels, backend: str) -> None:
    kernels["op", backend] = replace(kernels["op", backend], verified=True)


def select(backend: str, dtype: torch.dtype = torch.float32, frames: int = 16, **sizes: int) -> str:
    width, hidden = sizes.get("width", 768), sizes.get("hidden", 96)
    return backends.select("op", backend, CPU, dtype, width, hidden, frames)


def test_auto_takes_verified_kernels_only(kernels: Kernels) -> None:
    assert select("auto") == "reference"
    verify(kernels, "cpu")
    assert select("auto") == "reference", "the choice is remembered"
    declared.search.cache_clear()
    assert select("auto") == "cpu"
    assert select("auto", hidden=193) == "reference"
    assert select("auto", dtype=torch.float64) == "reference"


def test_named_backends_run_or_raise(kernels: Kernels) -> None:
    assert select("cpu") == "cpu"
    assert select("reference") == "reference"
    for backend, sizes, reason in (
        ("cpu", {"hidden": 193}, "it takes a hidden width h from 1 to 192, not 193"),
        ("cpu", {"width": 4}, "it takes a width D from 8 to 1024, not 4"),
        ("cpu", {"frames": 257}, "it takes a number of frames T from 1 to 256, not 257"),
        ("cpu", {"dtype": torch.float64}, "it takes float32, bfloat16, float16, not float64"),
        ("triton", {}, "triton has a cold"),
        ("cuda", {}, "op has no cuda kernel"),
    ):
        with pytest.raises(InputError, match=f"backend '{backend}' can't run op: {reason}"):
            select(backend, **sizes)
    with pytest.raises(
        InputError, match="'gpu' is not one of auto, reference, cpu, triton, cuda, cudnn"
    ):
        select("gpu")


def test_a_kernel_stays_on_its_device(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels["op", "triton"] = Kernel(("cuda",), lambda: None)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(InputError, match="it runs on cuda tensors, or on cpu with TRITON_INTERPR"):
        select("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert select("triton") == "triton"
    verify(kernels, "triton")
    assert select("auto") == "reference", "the interpreter is for tests and never chosen"


def test_capability(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    device = torch.device("cuda", 0)
    kernels["op", "cuda"] = Kernel(("cuda",), lambda: None, capability=(8, 0))
    call = (device, torch.bfloat16, *SIZES, 16)
    verify(kernels, "cuda")
    assert backends.select("op", "auto", *call) == "reference"
    with pytest.raises(InputError, match=r"needs compute capability 8\.0, this GPU has 7\.5"):
        backends.select("op", "cuda", *call)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert backends.select("op", "cuda", *call) == "cuda"
    declared.search.cache_clear()
    assert backends.select("op", "auto", *call) == "cuda"


def test_a_name_that_an_operator_has_no_kernel_of(kernels: Kernels) -> None:
    names = {name: backends.named_or_auto("op", name) for name in backends.BACKENDS}
    assert names == {
        "auto": "auto", "reference": "reference", "cpu": "cpu", "triton": "triton",
        "cuda": "auto", "cudnn": "auto",
    }  # fmt: skip


def test_describe() -> None:
    """Every operator, every device, every backend: a choice or a reason."""
    answer = backends.describe()
    assert (
        set(answer) == set(declared.operators()) == set(ops.__all__) - {"gru_weights", "gru_with"}
    )
    for devices in answer.values():
        assert set(devices) == {"cpu", "cuda"}
        for entry in devices.values():
            named = {entry["choice"], *entry["not_taken"]} - {None}
            assert named == set(backends.BACKENDS[1:])
            assert all(entry["not_taken"].values())
    for op, devices in answer.items():
        choice = devices["cpu"]["choice"]
        assert choice == "reference" or declared._kernels[op, choice].verified


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_describe_without_a_gpu() -> None:
    cuda = backends.describe()["bottleneck_adapter"]["cuda"]
    assert cuda["choice"] is None
    assert set(cuda["not_taken"].values()) <= {
        "torch sees no CUDA GPU", "this torch is built without CUDA",
    }  # fmt: skip


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_auto_on_a_gpu_is_verified() -> None:
    for op, devices in backends.describe().items():
        choice = devices["cuda"]["choice"]
        assert choice == "reference" or declared._kernels[op, choice].verified


def test_what_we_measured_of_an_instruction_set_holds_for_near_sizes(
    kernels: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only until this machine has verdicts of its own."""

    def kind(width: int) -> declared.Kind:
        return declared.Kind("op", "cpu", torch.float32, width, 96, 16, "")

    slower = declared.Choice("reference", {"cpu": "not faster here: 2 ms, reference 1 ms"})
    measured = {kind(768): slower, kind(64): declared.Choice("cpu", {})}
    monkeypatch.setattr(declared, "_shipped", lambda: measured)
    verify(kernels, "cpu")
    assert select("auto") == select("auto", width=1024) == select("auto", width=512) == "reference"
    assert select("auto", width=32) == select("auto", width=128) == "cpu"
    assert select("auto", dtype=torch.bfloat16) == "cpu", "nothing was measured: as declared"
    assert select("cpu", width=1024) == "cpu", "who names it gets it"
    reason = backends.why_not_auto("op", "cpu", CPU, torch.float32, 1024, 96, 16)
    assert reason == "not faster here: 2 ms, reference 1 ms"
    declared.install({kind(1024): declared.Choice("cpu", {})})
    try:
        assert select("auto", width=1024) == "cpu"
        assert select("auto") == "reference"
    finally:
        declared.install({})


def test_shipped_verdicts_are_this_instruction_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SHIPPED", tmp_path)
    monkeypatch.setattr(store.extension, "missing", lambda: None)
    monkeypatch.setattr(
        store.extension, "load", lambda: SimpleNamespace(cpu_instruction_set=lambda: "avx2")
    )
    call = OperatorCall("linear", {"x": [4, 32]}, [], {}, "float32", 32, 32, 0, "")
    for name, times in (("avx2", (3.0, 1.0)), ("amx", (1.0, 3.0))):
        verdicts = [
            Verdict(call, backend, "passed", forward=ms)
            for backend, ms in zip(("cpu", "reference"), times, strict=True)
        ]
        facts = {"device": "cpu", "instruction_set": name}
        store.write(tmp_path / f"cpu_{name}.json", Record(facts, verdicts))
    store.shipped_choices.cache_clear()
    try:
        found = declared.choice_for(call.kind("cpu"))
        assert found is not None
        assert found.backend == "reference"
        assert found.refused["cpu"] == "not faster here: 3 ms, reference 1 ms"
        assert declared.choice_for(call.kind("cuda")) is None
    finally:
        store.shipped_choices.cache_clear()
