"""Packed clips hold the same frames, and the source stays as it was."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.tiny_runs import write_config as tiny_config
from PIL import Image

from peclip_fast.commands.data.pack import main
from peclip_fast.commands.train import main as train
from peclip_fast.config.data import DataConfig
from peclip_fast.data.cues.descriptions import write_descriptions
from peclip_fast.data.cues.store import Cues, IndexRow, read_cues, write_cues, write_index
from peclip_fast.data.decoding import clip_source
from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.data.decoding.packed_file import packed_jpegs, read_note
from peclip_fast.data.records import ClipRecord, DatasetSplits
from peclip_fast.data.splits import open_splits
from peclip_fast.prepare import pack

Writer = Callable[..., Path]
Numbers = Callable[[np.ndarray], list[int]]


@pytest.fixture
def source(tmp_path: Path, frames_at: Writer, video_at: Writer) -> Path:
    """Folders and videos, as CSV files name them."""
    root = tmp_path / "source"
    frames_at(root / "small", 20)
    frames_at(root / "large", 5, height=300, width=320)
    frames_at(root / "png", 5, name="{:03d}.png")
    frames_at(root / "mixed", 5)
    Image.fromarray(np.full((50, 70, 3), 90, np.uint8)).save(root / "mixed/00005.jpg")
    video_at(root / "clip.mp4", 40, "libx264", {"g": "7"})
    video_at(root / "wide.avi", 10, "mpeg4", height=288, width=512)
    (root / "train.csv").write_text(
        "path,label\nsmall,calm\nlarge,fear\nmixed,calm\nclip.mp4,fear,,0.4\nclip.mp4,calm,0.4,0.8\n"
    )
    (root / "test.csv").write_text("path,label\nclip.mp4,calm\nwide.avi,fear\npng,calm\n")
    return root


def options(root: Path, output: Path, *more: str) -> list[str]:
    return [
        str(config_file(root)),
        *("--output", str(output)),
        *("--data.num_workers", "2"),
        *more,
    ]


def config_file(root: Path) -> Path:
    path = root.parent / "few.yaml"
    lists = {f"{split}_list": str(root / f"{split}.csv") for split in ("train", "test")}
    path.write_text(yaml.safe_dump({"data": {"dataset": "csv", "root": str(root), **lists}}))
    return path


def packed_splits(folder: Path) -> DatasetSplits:
    """The packed clips by the configuration that was written beside them."""
    data = yaml.safe_load((folder / "few-packed.yaml").read_text())["data"]
    names = ("dataset", "root", "train_list", "test_list", "classes")
    return open_splits(DataConfig(**{name: data[name] for name in names}))


def state(root: Path) -> dict[Path, tuple[bytes, int]]:
    """Content and time of every file."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_all_frames_are_there(
    source: Path, tmp_path: Path, numbers: Numbers, capsys: pytest.CaptureFixture[str]
) -> None:
    before, folder = state(source), tmp_path / "packed"
    assert main(options(source, folder)) == 0
    out = capsys.readouterr().out
    assert out.startswith("8 clips, 105 frames, ")
    assert "JPEG kept       1\n" in out
    assert state(source) == before
    splits = packed_splits(folder)
    assert splits.classes == ("calm", "fear")
    found = {}
    for record in [*splits.train, *splits.test]:
        clip = open_clip_source(record.path)
        frames = clip.read(range(clip.num_frames))
        found[record.path.name] = (splits.classes[record.label], frames.shape[:3])
        if "mixed" not in record.path.name:
            first = 10 if "@0.4" in record.path.name else 0
            assert numbers(frames) == list(range(first, first + clip.num_frames))
    assert found == {
        "small.mkv": ("calm", (20, 48, 64)),
        "large.mkv": ("fear", (5, 256, 273)),
        "mixed.mkv": ("calm", (5, 48, 64)),
        "clip.mp4@0-0.4.mkv": ("fear", (10, 48, 64)),
        "clip.mp4@0.4-0.8.mkv": ("calm", (10, 48, 64)),
        "clip.mp4.mkv": ("calm", (40, 48, 64)),
        "wide.avi.mkv": ("fear", (10, 256, 455)),
        "png.mkv": ("calm", (5, 48, 64)),
    }


def test_small_jpeg_files_are_kept_bit_for_bit(source: Path, tmp_path: Path) -> None:
    assert main(options(source, tmp_path / "packed", "--side", "48")) == 0
    path = tmp_path / "packed/clips/small.mkv"
    files = [file.read_bytes() for file in sorted((source / "small").iterdir())]
    assert packed_jpegs(path.read_bytes()) == files
    packed, folder = open_clip_source(path), open_clip_source(source / "small")
    assert np.array_equal(packed.read(range(20)), folder.read(range(20)))
    note = read_note(path)
    assert note is not None
    assert note["psnr"] is None
    assert main(options(source, tmp_path / "smaller", "--side", "32")) == 0
    assert open_clip_source(tmp_path / "smaller/clips/small.mkv").read([0]).shape == (1, 32, 43, 3)


def test_real_video_stays_what_it_was(
    assets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = assets / "videos/single_face_640x360_h264.mp4"
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/train.csv").write_text(f"{clip},calm")
    config = tmp_path / "real.yaml"
    config.write_text(f"data: {{dataset: csv, train_list: {tmp_path / 'lists/train.csv'}}}")
    folder = tmp_path / "packed"
    arguments = [str(config), "--output", str(folder), "--side", "360"]
    assert main([*arguments, "--data.num_workers", "1"]) == 0
    packed, before = open_clip_source(folder / f"clips/{clip.name}.mkv"), open_clip_source(clip)
    error = (packed.read(range(72)) - before.read(range(72)).astype(float)).ravel()
    psnr = 10 * np.log10(255**2 / np.mean(error**2))
    assert psnr > 38
    assert f"PSNR {psnr:.1f} dB" in capsys.readouterr().out
    assert packed.index.seconds() == pytest.approx(before.index.seconds(), abs=0.0011)
    assert not (folder / "test.csv").exists()


def test_what_is_whole_is_not_packed_again(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "packed"
    assert main(options(source, folder)) == 0
    before = state(folder / "clips")
    (folder / "clips/png.mkv").unlink()
    left = folder / "clips/png.mkv.tmp-123"
    left.write_bytes(b"half of it")
    (source / "small/00020.jpg").unlink()
    capsys.readouterr()
    assert main(options(source, folder)) == 0
    assert "packed now      2\npacked before   6\n" in capsys.readouterr().out
    after = state(folder / "clips")
    assert not left.exists()
    assert {path.name for path in before if before[path] != after[path]} == {"png.mkv", "small.mkv"}
    assert {path.name for path in before if before[path][0] != after[path][0]} == {"small.mkv"}
    assert main(options(source, folder, "--quality", "80")) == 0
    assert "packed now      8\n" in capsys.readouterr().out


def test_a_killed_process_leaves_whole_files(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write = pack.write_bytes

    def killed(path: Path, data: bytes) -> None:
        if path.name == "wide.avi.mkv":
            path.with_name(f"{path.name}.tmp-{os.getpid()}").write_bytes(data[:100])
            time.sleep(1)
            os.kill(os.getpid(), signal.SIGKILL)
        write(path, data)

    folder = tmp_path / "packed"
    with monkeypatch.context() as patch:
        patch.setattr(pack, "write_bytes", killed)
        assert main(options(source, folder)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.endswith("wide.avi: the process that read it was ended by SIGKILL")
    packed = state(folder / "clips")
    assert packed
    assert all(path.suffix == ".mkv" for path in packed)
    assert not (folder / "train.csv").exists()
    assert main(options(source, folder)) == 0
    again = state(folder / "clips")
    assert len(again) == 8
    assert packed.items() <= again.items()


@pytest.mark.parametrize("place", ["source", "source/packed", "source/small/packed", "."])
def test_an_output_folder_in_the_source_is_refused(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    before = state(tmp_path)
    assert main(options(source, tmp_path / place)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --output {tmp_path / place}: ")
    assert error.count("\n") == 1
    assert "the source" in error
    assert state(tmp_path).keys() - before.keys() <= {tmp_path / "few.yaml"}


def test_a_linked_output_folder_is_seen_through(source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source)
    assert main(options(source, tmp_path / "link/packed")) == 2


def test_bad_clips(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (source / "small/00003.jpg").write_bytes(b"\xff\xd8 no image")
    (source / "clip.mp4").unlink()
    folder = tmp_path / "packed"
    assert main(options(source, folder)) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert main(options(source, folder, "--data.on_bad_clip", "skip")) == 0
    out = capsys.readouterr().out
    assert out.count("skipped: ") == 4
    assert f"skipped: {source}/small/00003.jpg: not a readable image" in out
    assert f"skipped: {source}/clip.mp4: no such video file" in out
    splits = packed_splits(folder)
    assert [record.path.name for record in splits.train] == ["large.mkv", "mixed.mkv"]
    assert [record.path.name for record in splits.test] == ["wide.avi.mkv", "png.mkv"]


def test_sources_that_may_not_be_read(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refusing(path: Path) -> str:
        if path.name == "clip.mp4":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stamp(path)

    stamp = clip_source.clip_stamp
    monkeypatch.setattr(clip_source, "clip_stamp", refusing)
    for line in ("a" * 300 + ".mp4,calm", "loop.mp4,calm"):
        with (source / "train.csv").open("a") as lines:
            lines.write(f"{line}\n")
    (source / "loop.mp4").symlink_to("loop.mp4")
    folder = tmp_path / "packed"
    assert main(options(source, folder)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {source}/")
    assert ": can't be read: " in error
    assert error.count("\n") == 1
    assert main(options(source, folder, "--data.on_bad_clip", "skip")) == 0
    out = capsys.readouterr().out
    assert out.startswith("5 clips, ")
    assert out.count("skipped: ") == 5
    assert out.count(f"skipped: {source}/clip.mp4: can't be read: Permission denied") == 3
    assert f"skipped: {source}/{'a' * 300}.mp4: can't be read: File name too long" in out
    assert f"skipped: {source}/loop.mp4: can't be read: Too many levels of symbolic links" in out
    assert len(packed_splits(folder).train) == 3


def test_training_takes_it(tiny_backbone: str, tiny_clips: Path, tmp_path: Path) -> None:
    config = tiny_config(tmp_path / "tiny.yaml", tiny_backbone, tiny_clips, epochs=2)
    folder = tmp_path / "packed"
    assert main([str(config), "--output", str(folder)]) == 0
    packed = folder / "tiny-packed.yaml"
    assert train(["--config", str(packed), "--output", str(tmp_path / "run")]) == 0
    predictions = (tmp_path / "run/predictions.csv").read_text()
    assert predictions.count(".mkv") == 9


def test_cues_and_descriptions_go_along(source: Path, tmp_path: Path) -> None:
    """Under the packed clips' names, of those clips that have them."""
    cues, texts = tmp_path / "cues", tmp_path / "texts.jsonl"
    points = np.random.default_rng().uniform(0, 64, (20, 468, 2))
    points[7:9] = np.nan
    write_cues(cues / "a.npz", Cues(points, (64, 64)))
    write_index(cues, [IndexRow("small", "a.npz", 20, 18)], {"parsing": "topology"})
    write_descriptions(texts, {"other/large": "The jaw drops.", "other/small": "Brows rise."})
    output = tmp_path / "packed"
    given = ("--data.cues", str(cues), "--data.descriptions", str(texts))
    assert main(options(source, output, *given)) == 0
    shutil.rmtree(cues)
    texts.unlink()
    (config,) = output.glob("*-packed.yaml")
    data = yaml.safe_load(config.read_text())["data"]
    places = {name: Path(data[name]) for name in ("root", "train_list", "test_list")}
    beside = {name: Path(data[name]) for name in ("cues", "descriptions")}
    splits = open_splits(DataConfig(dataset="csv", classes=data["classes"], **places, **beside))
    said = [record.description for record in splits.train]
    assert said == ["Brows rise.", "The jaw drops.", None, None, None]
    found = [record.cues for record in splits.train]
    assert found[1:] == [None] * 4
    assert read_cues(found[0], range(20)).points == pytest.approx(points, abs=0.01, nan_ok=True)
    assert (output / "cues/cues.csv").read_text().endswith(",20,18\n")
    assert "topology" in (output / "cues/cues.json").read_text()


def test_the_output_folder_is_needed(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(config_file(source))]) == 2
    assert capsys.readouterr().err == "error: --output: expected the folder of the packed clips\n"


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--quality", "0"], "error: --quality 0: expected 1 to 100"),
        (["--side", "8"], "error: --side 8: expected at least 16"),
    ],
)
def test_options(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], line: str
) -> None:
    assert main(options(source, tmp_path / "packed", *more)) == 2
    assert capsys.readouterr().err == f"{line}\n"
    assert not (tmp_path / "packed").exists()


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    records = [ClipRecord(tmp_path / f"d/{name}/a.mp4", 0) for name in ("caf\udce9", "café")]
    assert [path.relative_to(tmp_path).as_posix() for path in pack.targets(records, tmp_path)] == [
        "clips/caf%E9/a.mp4.mkv",
        "clips/café/a.mp4.mkv",
    ]
