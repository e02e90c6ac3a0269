"""The programs that are timed against each other compute the same."""

from __future__ import annotations

import functools
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.models.small_backbone import save_small_backbone
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import pe_clip
from peclip_fast.models.parts.adapters import GRU


@pytest.fixture(scope="module")
def small_backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_small_backbone(tmp_path_factory.mktemp("small"))


def test_programs_agree_on_one_clip(small_backbone: str) -> None:
    frames = pe_clip.make_frames(1, pe_clip.image_size(small_backbone), torch.device("cpu"))
    able = pe_clip.programs(small_backbone, "fp32", "cpu")
    with torch.no_grad():
        logits = {name: able[name]()[1](frames) for name in ("reference", "plain PyTorch", "ours")}
    assert logits["reference"].std() > 0.01
    differences = pe_clip.check(logits, "fp32")
    assert max(differences.values()) < 1e-4


@pytest.mark.parametrize(
    ("device", "dtype", "with_nn_gru"),
    [
        ("cpu", "bf16", set()),
        ("cpu", "fp32", {"plain PyTorch"}),
        ("cuda", "bf16", {"plain PyTorch", pe_clip.AROUND_GRU}),
    ],
)
def test_the_strong_baseline_walks_with_nn_gru(
    small_backbone: str, device: str, dtype: str, with_nn_gru: set[str]
) -> None:
    """In each TDA where that is its best form; torch.compile alone would unroll it."""
    able = pe_clip.programs(small_backbone, dtype, device)
    for name in set(able) - {"reference"}:
        kinds = {type(adapter.recurrence) for adapter in able[name]()[0].temporal}
        assert kinds == {torch.nn.GRU if name in with_nn_gru else GRU}


@pytest.mark.slow
def test_nn_gru_is_called_between_the_graphs(
    tiny_backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Into no C++, which takes a compiler minutes; three blocks, as the reference isn't asked.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    few = functools.partial(pe_clip.create_model, prompt_depth=2)
    monkeypatch.setattr(pe_clip, "create_model", few)
    able = pe_clip.programs(tiny_backbone, "fp32", "cuda")
    (_, eager), (model, program) = able["plain PyTorch"](), able[pe_clip.AROUND_GRU]()
    calls: list[bool] = []
    gru = torch._VF.gru

    def counted(*arguments):
        calls.append(torch.compiler.is_compiling())
        return gru(*arguments)

    monkeypatch.setattr(torch._VF, "gru", counted)
    frames = pe_clip.make_frames(2, pe_clip.image_size(tiny_backbone), torch.device("cpu"))
    with torch.no_grad():
        found = program(frames)
        assert calls == [False] * len(model.temporal)
        torch.testing.assert_close(found, eager(frames))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_it_is_cudnns(small_backbone: str) -> None:
    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            names.append(str(function))
            return function(*args, **(kwargs or {}))

    names: list[str] = []
    model, program = pe_clip.programs(small_backbone, "bf16", "cuda")["plain PyTorch"]()
    frames = pe_clip.make_frames(2, model.image_size, torch.device("cuda"))
    model.to("cuda")
    with Seen():
        program(frames).sum().backward()
    assert names.count("aten._cudnn_rnn.default") == len(model.temporal)
    assert names.count("aten._cudnn_rnn_backward.default") == len(model.temporal)


def test_a_train_step_trains_the_same_parameters(small_backbone: str) -> None:
    frames = pe_clip.make_frames(1, pe_clip.image_size(small_backbone), torch.device("cpu"))
    able = pe_clip.programs(small_backbone, "fp32", "cpu")
    losses = {}
    for name in ("reference", "ours"):
        model, program = able[name]()
        step = pe_clip.train_step(model, program, torch.tensor([2]))
        losses[name] = [step(frames).item() for _ in range(4)]
    assert losses["ours"] == pytest.approx(losses["reference"], abs=2e-3)
    assert losses["ours"][-1] < losses["ours"][0]


@pytest.mark.slow
def test_a_program_that_fails_on_a_gpu_is_left_out(
    small_backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """But not one that the table can't do without."""

    def able(failing: str) -> Callable[..., dict[str, pe_clip.Maker]]:
        def fail() -> None:
            raise RuntimeError("no capture\nof this")

        return lambda backbone, dtype, device: {
            "reference": programs(backbone, dtype, device)["reference"], failing: fail
        }  # fmt: skip

    programs = pe_clip.programs
    arguments = ["--device", "cpu", "--backbone", small_backbone, "--clips", "1"]
    arguments += ["--seconds", "0", "--what", "train step", "--output", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["pe_clip", *arguments])
    monkeypatch.setattr(pe_clip, "peak_memory_alone", lambda *_: 1.0)
    monkeypatch.setattr(pe_clip, "programs", able("ours"))
    with pytest.raises(RuntimeError, match="no capture"):
        pe_clip.main()
    monkeypatch.setattr(pe_clip, "programs", able(pe_clip.GRAPHED))
    pe_clip.main()
    assert "ours as CUDA graphs left out: no capture\n" in capsys.readouterr().out
    rows = json.loads((tmp_path / "pe_clip-cpu.json").read_text())["rows"]
    assert [row.get("not_run", row["program"]) for row in rows] == [
        "no capture", "reference", pe_clip.FLOOR, "reference"
    ]  # fmt: skip


def test_other_logits_end_the_benchmark() -> None:
    with pytest.raises(SystemExit, match="ours gives other logits"):
        pe_clip.check({"reference": torch.zeros(1), "ours": torch.ones(1)}, "fp32")


@pytest.mark.slow
def test_peak_memory_is_of_a_process_of_its_own(small_backbone: str) -> None:
    """This one's highest was reached before, so that two small steps wouldn't show in it."""
    make = pe_clip.programs(small_backbone, "bf16", "cpu")["ours"]
    torch.ones(2**29, dtype=torch.uint8)
    size = pe_clip.image_size(small_backbone)
    assert 0 < pe_clip.peak_memory_alone(make, 1, size, "cpu") < 2**29


def test_without_the_reference_the_programs_are_still_checked(
    small_backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--device", "cpu", "--backbone", small_backbone, "--clips", "1"]
    arguments += ["--seconds", "0", "--what", "inference", "--programs", "ours"]
    monkeypatch.setattr("sys.argv", ["pe_clip", *arguments, "--output", str(tmp_path)])
    monkeypatch.setattr(pe_clip, "peak_memory_alone", lambda *_: 1.0)
    pe_clip.main()
    row, floor, memory = json.loads((tmp_path / "pe_clip-cpu.json").read_text())["rows"]
    assert (row["program"], floor["program"], memory["program"]) == ("ours", pe_clip.FLOOR, "ours")
    assert (
        0
        < row["times_faster_than"].pop(pe_clip.FLOOR)
        == pytest.approx(floor["median_ms"] / row["median_ms"])
    )
    assert 0 < row["logits_differ_by"] < pe_clip.NEAR["bf16"]
    assert row["times_faster_than"] == {}
    reference_logits = pe_clip.reference_logits
    monkeypatch.setattr(pe_clip, "reference_logits", lambda *given: reference_logits(*given) + 1)
    with pytest.raises(SystemExit, match="ours gives other logits than the reference"):
        pe_clip.main()


@pytest.mark.slow
def test_the_command(small_backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--device", "cpu", "--backbone", small_backbone, "--clips", "1"]
    arguments += ["--seconds", "0", "--programs", "reference", "ours", "--output", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["pe_clip", *arguments])
    # The processes are above; what is sent to them is here.
    monkeypatch.setattr(pe_clip, "peak_memory_alone", lambda *sent: len(pickle.dumps(sent)))
    pe_clip.main()
    rows = json.loads((tmp_path / "pe_clip-cpu.json").read_text())["rows"]
    assert [(row["what"], row["program"]) for row in rows] == [
        *((what, program) for what in ("inference", "train step")
          for program in ("reference", "ours", pe_clip.FLOOR)),
        ("peak memory", "reference"), ("peak memory", "ours"),
    ]  # fmt: skip
    assert all(row["runs"] == 5 and row["median_ms"] > 0 for row in rows[:-2])
    assert all(row["bytes"] > 0 for row in rows[-2:])
    # Another size beside it, in place of none of these.
    more = ["--clips", "2", "--what", "inference", "--no-memory", "--add"]
    monkeypatch.setattr("sys.argv", ["pe_clip", *arguments, *more])
    pe_clip.main()
    both = json.loads((tmp_path / "pe_clip-cpu.json").read_text())["rows"]
    assert both[: len(rows)] == rows
    assert [row["clips"] for row in both[len(rows) :]] == [2, 2, 2]
