"""What is refused of a kernel, and that right ones aren't."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import types
from collections.abc import Callable, Iterator

import pytest
import torch
from helpers import stand_in_kernels
from helpers.operator_calls import call_of

from peclip_fast.errors import InputError
from peclip_fast.ops import declared, implementations
from peclip_fast.ops.pixels import pixels_reference
from peclip_fast.ops.verdicts import proof
from peclip_fast.ops.verdicts.operands import Form, draw
from peclip_fast.ops.verdicts.proof import WrongError, prove
from peclip_fast.ops.verdicts.verdict import OperatorCall

CPU = torch.device("cpu")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Declares a kernel of a name, for one test; an operator of PyTorch stays what it is."""
    monkeypatch.setattr(declared, "_kernels", dict(declared._kernels))
    monkeypatch.setattr(proof, "REPEATS", 5)
    monkeypatch.setattr(proof, "DRAWS", 3)

    def add(name: str) -> str:
        if hasattr(torch.ops.peclip_fast, f"bottleneck_adapter_{name}"):
            declared.declare("bottleneck_adapter", name, declared.Kernel(("cpu",), lambda: None))
        else:
            stand_in_kernels.add(name)
        return name

    return add


def said(call: OperatorCall, backend: str) -> str:
    with pytest.raises(WrongError) as caught:
        prove(call, backend, CPU, lambda what: None)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("slightly", "result 0: error"),
        ("grossly", "result 0: error"),
        ("one_number", "result 0: error"),
        ("odd_sizes", "an odd size"),
        ("backward", "gradient of up_weight: error"),
        ("nan", "1 of 640 numbers are not finite"),
        ("unwritten", "640 of 640 numbers are not finite"),
        ("outside", "it writes 16 bytes after a tensor that it made"),
        ("before", "it writes 16 bytes before a tensor that it made"),
        ("in_gradient", "it writes 16 bytes after a tensor that it made"),
        ("input", "it changes its operand x"),
        ("random", "differs from the first one"),
    ],
)
def test_wrong_kernels(stand_in: Callable[[str], str], name: str, expected: str) -> None:
    assert expected in said(call_of("bottleneck_adapter"), stand_in(name))


def test_a_slow_kernel_is_not_repeated(
    stand_in: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "SLOW_SECONDS", 0.01)
    monkeypatch.setattr(proof, "SLOW", 1.0)
    assert "too slow: " in said(call_of("bottleneck_adapter"), stand_in("sleeps"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("op", ["bottleneck_adapter", "feed_forward", "temporal_adapter"])
@pytest.mark.parametrize("sizes", [(32, 6), (130, 13)])
def test_right_kernels(
    stand_in: Callable[[str], str], op: str, dtype: str, sizes: tuple[int, int]
) -> None:
    backends = ["cpu"] + ([stand_in("right")] if op == "bottleneck_adapter" else [])
    for backend in backends:
        prove(call_of(op, dtype, *sizes), backend, CPU, lambda what: None)


PIXELS = {
    "right": lambda x: x,
    "wrong": lambda x: x * 1.02,
    "writes": lambda x: x.fill_(0.5),
}


@pytest.fixture
def pixels_kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Declares a kernel for `pixels` that does something to what is right."""
    monkeypatch.setattr(declared, "_kernels", dict(declared._kernels))
    monkeypatch.setattr(implementations, "_found", dict(implementations._found))
    monkeypatch.setattr(proof, "REPEATS", 5)

    def add(name: str) -> str:
        def run(
            frames: torch.Tensor, mean: torch.Tensor | None, std: torch.Tensor | None,
            partners: torch.Tensor | None, keep: torch.Tensor | None, share: float,
            dtype: torch.dtype,
        ) -> torch.Tensor:  # fmt: skip
            if name == "writes":
                frames.fill_(3)
            right = pixels_reference(frames, mean, std, partners, keep, share)
            return PIXELS[name](right).to(dtype)

        declared.declare("pixels", name, declared.Kernel(("cpu",), lambda: None))
        implementations.implement("pixels", name, run)
        return name

    yield add
    declared.search.cache_clear()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("mixing", ["none", "mixup", "fmix"])
def test_operands_of_other_dtypes(
    pixels_kernel: Callable[[str], str], mixing: str, dtype: str
) -> None:
    """Bytes, indices, a mask and constants: what is right passes, in each form, and no other."""
    call = call_of("pixels", dtype)
    left_out = {"none": {"partners", "keep"}, "mixup": {"keep"}, "fmix": set()}[mixing]
    tensors = {n: shape for n, shape in call.tensors.items() if n not in left_out}
    call = dataclasses.replace(call, tensors=tensors, options=call.options | {"share": 0.4})
    prove(call, pixels_kernel("right"), CPU, lambda what: None)
    assert "result 0: error" in said(call, pixels_kernel("wrong"))
    assert "it changes its operand frames" in said(call, pixels_kernel("writes"))


def test_drawn_operands_of_other_dtypes() -> None:
    call = call_of("pixels")
    for odd in (False, True):
        drawn = draw(call, Form(torch.bfloat16, odd=odd), CPU, 1)
        assert {name: list(t.shape) for name, t in drawn.items()} == call.tensors
        own = {name: str(t.dtype).removeprefix("torch.") for name, t in drawn.items()}
        assert own == call.dtypes
        assert drawn["frames"].is_contiguous() == (not odd)
        assert sorted(drawn["partners"].tolist()) == [0, 1, 2]
        assert drawn["std"].min() > 0.2
        assert drawn["frames"].max() > 250
        assert 0 < drawn["keep"].float().mean() < 1
    strange = dataclasses.replace(call, dtypes=call.dtypes | {"frames": "int64"})
    with pytest.raises(InputError, match="an operand of 5 dimensions in int64"):
        draw(strange, Form(torch.float32), CPU, 1)


def test_the_operator_has_to_call_the_kernel(
    stand_in: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator that runs something else in its place proves nothing about it."""
    from peclip_fast.ops import backends

    name, select = stand_in("right"), backends.select
    monkeypatch.setattr(backends, "select", lambda op, _, *rest: select(op, "reference", *rest))
    assert "never calls right's kernel" in said(call_of("bottleneck_adapter"), name)


def test_all_that_is_checked_is_told(stand_in: Callable[[str], str]) -> None:
    events: list[str] = []
    prove(call_of("bottleneck_adapter", "bfloat16"), stand_in("right"), CPU, events.append)
    forms = [Form(torch.bfloat16), Form(torch.bfloat16, torch.bfloat16),
             Form(torch.float32, torch.bfloat16), Form(torch.bfloat16, odd=True)]  # fmt: skip
    assert [e for e in events if "repeat" not in e] == [
        f"{form}: {what}"
        for form, what in itertools.product(forms, ("the reference", "forward and backward"))
    ]
    assert events[2] == "the first of its repeats"
    assert f"repeat 5 of {proof.REPEATS}" in events


class FakeCUDA:
    """Streams that do nothing, and a graph that computes again what was called while capturing."""

    def __init__(self, patch: pytest.MonkeyPatch, replays: bool = True) -> None:
        self.replays, self.capturing = replays, False
        self.calls: list[tuple[tuple[object, ...], dict[str, torch.Tensor]]] = []
        real = proof.both_ways

        def both_ways(*args: object, **named: object) -> dict[str, torch.Tensor]:
            result = real(*args, **named)  # type: ignore[arg-type]
            if self.capturing:
                self.calls.append((args, result))
            return result

        def replay() -> None:
            for args, result in self.calls if self.replays else ():
                for name, t in real(*args).items():  # type: ignore[arg-type]
                    result[name].copy_(t)

        @contextlib.contextmanager
        def graph(graph: object) -> Iterator[None]:
            self.capturing = True
            yield
            self.capturing = False

        stream = types.SimpleNamespace(wait_stream=lambda other: None, synchronize=lambda: None)
        patch.setattr(proof, "both_ways", both_ways)
        for name, value in {
            "Stream": lambda device: stream, "stream": lambda s: contextlib.nullcontext(),
            "current_stream": lambda device: stream, "synchronize": lambda device: None,
            "_sleep": lambda cycles: None, "graph": graph,
            "CUDAGraph": lambda: types.SimpleNamespace(replay=replay),
        }.items():  # fmt: skip
            patch.setattr(torch.cuda, name, value)


def test_streams_and_graphs_as_far_as_a_cpu_can_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """That what is compared differs where a replay does nothing, or a stream isn't waited for."""
    call, form = call_of("temporal_adapter"), Form(torch.float32)
    fake = FakeCUDA(monkeypatch)
    proof._check_graph(call, "cpu", CPU, form)
    proof._check_stream(call, "cpu", CPU, form)
    fake.replays = False
    with pytest.raises(WrongError, match="a CUDA graph gives other bits"):
        proof._check_graph(call, "cpu", CPU, form)
    monkeypatch.setattr(torch.Tensor, "copy_", lambda self, other: self)  # operands come too late
    with pytest.raises(WrongError, match="another stream gives other bits"):
        proof._check_stream(call, "cpu", CPU, form)
