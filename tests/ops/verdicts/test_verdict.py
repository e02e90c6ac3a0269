"""Which backend follows from verdicts and times."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from helpers.operator_calls import call_of

from peclip_fast.errors import InputError
from peclip_fast.ops import backends, declared
from peclip_fast.ops.verdicts.verdict import COMPILED, Record, Verdict, choice, choices

CALL = call_of("bottleneck_adapter")


def passed(**times: float) -> list[Verdict]:
    return [
        Verdict(CALL, n.replace("compiled", COMPILED), "passed", both=t) for n, t in times.items()
    ]


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    declared.install({})


@pytest.mark.parametrize(
    ("times", "taken"),
    [
        ({"reference": 10.0, "cuda": 5.0, "triton": 7.0}, "cuda"),
        ({"reference": 10.0, "cuda": 7.0, "triton": 5.0}, "triton"),
        # As fast as the other to 5 %: the one that comes first anyway.
        ({"reference": 10.0, "cuda": 5.2, "triton": 5.0}, "cuda"),
        # A winner needs 5 % over PyTorch's own ways, eager, compiled and cuDNN's.
        ({"reference": 10.0, "cuda": 9.6}, "reference"),
        ({"reference": 10.0, "cuda": 9.5}, "cuda"),
        ({"reference": 10.0, "compiled": 4.0, "cuda": 5.0}, "reference"),
        ({"reference": 10.0, "cudnn": 4.0, "cuda": 5.0}, "cudnn"),
        ({"reference": 10.0, "cudnn": 4.0, "cuda": 3.9}, "cudnn"),
        ({"reference": 10.0, "cudnn": 9.9, "cuda": 11.0}, "reference"),
        ({"reference": 10.0, "compiled": 1.0}, "reference"),
        ({"reference": 10.0, "someone": 2.0, "cpu": 3.0}, "someone"),
    ],
)
def test_the_fastest_that_passed(times: dict[str, float], taken: str) -> None:
    found = choice(passed(**times))
    assert found.backend == taken
    others = {name for name in times if name != "compiled"} - {taken}
    assert found.refused.keys() == others
    assert all("not faster here: " in why for why in found.refused.values())


@pytest.mark.parametrize("state", ["failed", "unknown"])
def test_only_those_that_passed(state: str) -> None:
    wrong = Verdict(CALL, "cuda", state, "said so", both=0.1)
    found = choice([*passed(reference=10.0, triton=5.0), wrong])
    assert found.backend == "triton"
    assert found.refused["cuda"].endswith(": said so")
    alone = choice([wrong])
    assert alone.backend is None, "as if nothing had been checked"
    assert alone.refused.keys() == {"cuda"}


def test_a_kind_of_call_needs_all_of_its_calls() -> None:
    """Of one kind are calls with other options, as a residual, or other numbers of rows."""
    other = call_of("bottleneck_adapter")
    other.tensors["x"][1] = 1
    rows = [*passed(reference=10.0, cuda=5.0), Verdict(other, "cuda", "failed", "one row")]
    (found,) = choices(rows, "cuda").values()
    assert found.backend == "reference"


def test_auto_does_what_is_installed() -> None:
    device, sizes = torch.device("cpu"), (torch.float32, 32, 6)
    plain = backends.select("bottleneck_adapter", "auto", device, *sizes)
    rows = passed(reference=1.0, cpu=10.0)
    declared.install(choices(rows, "cpu"))
    assert backends.select("bottleneck_adapter", "auto", device, *sizes) == "reference"
    assert backends.select("bottleneck_adapter", "cpu", device, *sizes) == "cpu", "when named"
    assert backends.select("bottleneck_adapter", "auto", device, torch.float32, 32, 7) == plain
    told = backends.describe(torch.float32, 32, 6)["bottleneck_adapter"]["cpu"]
    assert told["choice"] == "reference"
    assert told["not_taken"]["cpu"] == "not faster here: 10 ms, reference 1 ms"
    declared.install({})
    assert backends.select("bottleneck_adapter", "auto", device, *sizes) == plain


def test_a_failed_check_outweighs_that_it_is_verified() -> None:
    declared.install(choices([Verdict(CALL, "cpu", "failed", "crashed by SIGILL")], "cpu"))
    device = torch.device("cpu")
    assert (
        backends.select("bottleneck_adapter", "auto", device, torch.float32, 32, 6) == "reference"
    )


def test_scalings_are_told_apart() -> None:
    call = call_of("temporal_adapter")
    rows = [Verdict(call, n, "passed", both=t) for n, t in (("reference", 1.0), ("cpu", 9.0))]
    declared.install(choices(rows, "cpu"))
    ask = ("temporal_adapter", "auto", torch.device("cpu"), torch.float32, 32, 6, 3)
    assert backends.select(*ask, variant="after_up") == "reference"
    declared.install({})
    plain = backends.select(*ask, variant="input")
    declared.install(choices(rows, "cpu"))
    assert backends.select(*ask, variant="input") == plain


def test_verdicts_of_unknown_states_and_dtypes_are_refused() -> None:
    with pytest.raises(InputError, match="expected one of passed, failed, unknown"):
        Verdict(CALL, "cpu", "fine")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no such dtype"):
        call_of("bottleneck_adapter", "float33").kind("cpu")


def test_later_verdicts_take_the_place_of_earlier_ones() -> None:
    record = Record({"a": "b"}, passed(cpu=1.0), {"x": "one"})
    after = record.with_(passed(cpu=2.0, reference=3.0), {"y": "two"})
    assert [(v.backend, v.both) for v in after.verdicts] == [("cpu", 2.0), ("reference", 3.0)]
    assert after.models == {"x": "one", "y": "two"}
    assert after.of(CALL)["cpu"].both == 2.0
