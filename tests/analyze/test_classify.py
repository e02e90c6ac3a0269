"""The model on windows: which batches go through torch.compile, and that they say the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from helpers.stand_in_compiler import Compiler, stand_in_compiler

from peclip_fast.analyze.analyzer import classifier_of
from peclip_fast.analyze.pipeline import classify
from peclip_fast.analyze.pipeline.classify import WindowClassifier
from peclip_fast.config.parser import resolve
from peclip_fast.engine.graphs import CompiledModel
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError

FRAMES = 4


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    return stand_in_compiler(monkeypatch)


def of_run(run: Path, compiled: bool | str) -> WindowClassifier:
    """Its whole batches have three windows."""
    options = {"train": {"compile": compiled, "eval_batch_size": 3, "device": "cpu"}}
    folder = RunFolder(run)
    return classifier_of(folder, resolve([*folder.layers(), ("options", options)]))


def clips(classifier: WindowClassifier, count: int) -> list[dict[str, torch.Tensor]]:
    side = classifier.model.image_size
    generator = torch.Generator().manual_seed(count)
    shape = (FRAMES, 3, side, side)
    return [
        {"frames": torch.randint(256, shape, dtype=torch.uint8, generator=generator)}
        for _ in range(count)
    ]


def same(found: Sequence[Sequence[float]], plain: Sequence[Sequence[float]]) -> None:
    assert [pytest.approx(row, abs=1e-5) for row in plain] == found


def test_whole_batches_are_compiled_before_the_first(trained_run: Path, compiler: Compiler) -> None:
    compiled, plain = of_run(trained_run, True), of_run(trained_run, False)
    assert compiler.times == 1
    for count in (3, 2, 3, 1):
        given = clips(plain, count)
        same(compiled.probabilities(given), plain.probabilities(given))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_another_size_is_compiled_when_asked_for(trained_run: Path, compiler: Compiler) -> None:
    compiled, plain = of_run(trained_run, True), of_run(trained_run, False)
    compiled.compile(1, FRAMES)
    assert compiler.times == 2
    for count in (1, 3, 2):
        given = clips(plain, count)
        same(compiled.probabilities(given), plain.probabilities(given))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2


def test_auto_compiles_once_it_would_have_paid(
    trained_run: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole batches of 40 s each: the third makes 36 s of the 120 s that they took, over 30."""
    clock = iter(range(0, 10_000, 40))
    monkeypatch.setattr(classify, "perf_counter", lambda: next(clock))
    settled: list[tuple[object, int]] = []

    def settle(self: CompiledModel, choice: object, step: object, steps: int, tell: object) -> None:
        settled.append((choice, steps))

    monkeypatch.setattr(CompiledModel, "settle", settle)
    classifier = of_run(trained_run, "auto")
    for count in (3, 2, 3, 1):
        classifier.probabilities(clips(classifier, count))
    assert settled == []
    for _ in range(3):
        classifier.probabilities(clips(classifier, 3))
    assert settled == [("auto", 6)]


def test_what_cannot_be_compiled_ends_the_command(
    trained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: object, **options: object) -> object:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", fails)
    with pytest.raises(InputError, match=r"train.compile=true: can.t compile .*no compiler"):
        of_run(trained_run, True)
