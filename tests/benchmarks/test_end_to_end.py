"""From files to steps: what is waited for, what is equal, and the rows of a run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.models.small_backbone import save_small_backbone

from benchmarks import data_loading, end_to_end
from benchmarks.data_loading import FOLDER, write_clip
from peclip_fast.config.data import DataConfig
from peclip_fast.data.records import ClipRecord


@pytest.fixture(scope="module", autouse=True)
def short_clips() -> Iterator[None]:
    """Of fewer frames than the benchmark's, as drawing them takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_loading, "FRAMES", 16)
        yield


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A clip of each kind of files."""
    folder = tmp_path_factory.mktemp("clips")
    return {files: write_clip(kind, folder, 3) for files, kind in end_to_end.FILES.items()}


def test_waited_share(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def batches() -> Iterator[int]:
        for number in range(3):
            clock[0] += 1.0
            yield number
        clock[0] += 2.0  # until it is known that no more come

    def step(batch: int) -> None:
        clock[0] += 5.0

    assert end_to_end.waited_share(batches(), step) == pytest.approx(5 / 20)


@pytest.mark.parametrize("files", list(end_to_end.FILES))
@pytest.mark.parametrize("train", [True, False])
def test_both_loaders_give_the_same_pictures(
    clips: dict[str, Path], files: str, train: bool
) -> None:
    records, config = [ClipRecord(clips[files], 2)], DataConfig(frames=4)
    loaders = end_to_end.datasets(files, records, config=config, image_size=64, train=train)
    theirs, ours = (loaders[name].load(0, epoch=1) for name in ("reference", "ours"))
    difference = (theirs["frames"].float() - ours["frames"].float()).abs().mean()
    assert difference < 1.5
    # The next frames are further off than that, or the clip, or the crop.
    other = loaders["ours"].load(0, epoch=2)["frames"].float()
    if train:
        assert (theirs["frames"].float() - other).abs().mean() > 5
    assert theirs["label"] == ours["label"] == 2


def test_other_pictures_end_the_benchmark(clips: dict[str, Path], tmp_path: Path) -> None:
    other = write_clip(end_to_end.FILES[FOLDER], tmp_path, 1)
    records = [ClipRecord(path, 0) for path in (clips[FOLDER], other)]
    common = {"config": DataConfig(frames=2), "image_size": 32, "train": False}
    one, other = (end_to_end.datasets(FOLDER, [record], **common) for record in records)
    loaders = {"reference": one["reference"], "ours": other["ours"]}
    with pytest.raises(SystemExit, match="other pictures"):
        end_to_end.check_pictures(loaders)


@pytest.mark.slow
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = save_small_backbone(tmp_path)
    arguments = ["--device", "cpu", "--backbone", backbone, "--frames", "2", "--batches", "1"]
    arguments += ["--dtype", "fp32", "--workers", "1", "--files", FOLDER, "--seconds", "0.1"]
    monkeypatch.setattr("sys.argv", ["end_to_end", *arguments, "--output", str(tmp_path)])
    end_to_end.main()
    found = json.loads((tmp_path / "end_to_end-cpu.json").read_text())
    assert [(row["what"], row["program"]) for row in found["rows"]] == [
        (what, program) for what in ("train step", "inference") for program in ("reference", "ours")
    ]
    for row in found["rows"]:
        assert 0 < row["waited_share"] < 1
        assert row["clips_per_s"] == pytest.approx(1e3 * row["clips"] / row["median_ms"])
    reference, ours = found["rows"][:2]
    assert ours["times_faster_than"]["reference"] == pytest.approx(
        reference["median_ms"] / ours["median_ms"]
    )
