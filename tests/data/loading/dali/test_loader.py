"""The loader on DALI gives the batches that the other one gives."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.clips.drawn_clips import H264, VP8, VP9, hide_pictures, write_pictures
from helpers.tiny_runs import write_config

from peclip_fast.commands import train
from peclip_fast.config.data import DataConfig
from peclip_fast.data.loading import decoders
from peclip_fast.data.loading.dataset import ClipDataset
from peclip_fast.data.loading.loader import make_loader
from peclip_fast.data.records import ClipRecord
from peclip_fast.errors import InputError

try:
    import nvidia.dali  # noqa: F401

    from peclip_fast.data.loading.dali.loader import DaliLoader
except ImportError:
    DaliLoader = None

Writer = Callable[..., Path]

needs_dali = pytest.mark.skipif(DaliLoader is None, reason="NVIDIA DALI is not installed")
gpu = pytest.param(
    "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
)
devices = pytest.mark.parametrize("device", ["cpu", gpu])


@pytest.fixture
def records(tmp_path: Path, frames_at: Writer) -> list[ClipRecord]:
    """Nine clips: folders of images, and every third a video."""
    return [
        ClipRecord(write_pictures(tmp_path / f"{k}.webm", 17 + k), k)
        if k % 3 == 2
        else ClipRecord(frames_at(tmp_path / f"{k}", 12 + k), k, 12 + k, f"l.txt:{k + 1}")
        for k in range(9)
    ]


def loader_of(
    records: list[ClipRecord],
    device: str,
    decoder: str = "dali",
    train: bool = True,
    rank: int = 0,
    world: int = 1,
    **config: object,
) -> DaliLoader:
    settings = DataConfig(decoder=decoder, **{"num_workers": 2, **config})
    dataset = ClipDataset(records, settings, 16, train, seed=4)
    return make_loader(dataset, 4, rank=rank, world_size=world, device=torch.device(device))


def epoch_of(loader: DaliLoader, epoch: int = 0, start: int = 0) -> list[dict]:
    loader.set_epoch(epoch, start)
    assert len(loader) == loader.batch_sampler.batches_per_epoch - start
    return list(loader)


def same(a: list[dict], b: list[dict], tolerance: int = 0) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x["label"], y["label"])
        and torch.equal(x["index"], y["index"])
        and (x["frames"].cpu().int() - y["frames"].cpu().int()).abs().max() <= tolerance
        for x, y in zip(a, b, strict=True)
    )


@needs_dali
@devices
@pytest.mark.parametrize("train", [False, True])
def test_batches_are_those_of_pyav(records: list[ClipRecord], device: str, train: bool) -> None:
    others = loader_of(records, device, "pyav", train)
    with_dali = loader_of(records, device, "dali", train)
    assert isinstance(with_dali, DaliLoader)
    for epoch in (0, 3):
        expected, found = epoch_of(others, epoch), epoch_of(with_dali, epoch)
        assert same(expected, found, tolerance=12 if device == "cpu" else 40)
        for batch, other in zip(found, expected, strict=True):
            assert batch["frames"].dtype == torch.uint8
            assert batch["frames"].shape[1:] == (16, 3, 16, 16)
            assert batch["frames"].stride() == other["frames"].stride()
            assert batch["frames"].device.type == device
            assert batch["bad"] == []
    others.close()
    with_dali.close()


@needs_dali
@devices
def test_epochs_can_be_repeated_resumed_and_left(records: list[ClipRecord], device: str) -> None:
    loader = loader_of(records, device)
    first, second = epoch_of(loader, 1), epoch_of(loader, 2)
    assert not same(first, second, tolerance=12)
    loader.set_epoch(0)
    next(iter(loader))
    assert same(epoch_of(loader, 1), first)
    assert same(epoch_of(loader, 2, start=1), second[1:])
    loader.close()
    assert same(epoch_of(loader, 1), first)  # with new threads
    loader.close()
    another = loader_of(records, device, num_workers=0, prefetch=1)
    assert same(epoch_of(another, 2), second)
    another.close()


@needs_dali
def test_close_ends_the_threads(records: list[ClipRecord]) -> None:
    before = threading.active_count()
    loader = loader_of(records, "cpu", num_workers=3)
    next(iter(loader))
    assert threading.active_count() >= before + 2
    loader.close()
    loader.close()
    assert threading.active_count() == before


@needs_dali
@devices
@pytest.mark.parametrize("train", [False, True])
def test_processes_share_the_clips(records: list[ClipRecord], device: str, train: bool) -> None:
    seen = []
    for rank in range(2):
        loader = loader_of(records, device, train=train, rank=rank, world=2)
        seen += [index for batch in epoch_of(loader) for index in batch["index"].tolist()]
        loader.close()
    assert sorted(seen) == list(range(9))


def spoil(records: list[ClipRecord]) -> dict[int, str]:
    """Makes clips unreadable in several ways; what is said of each."""
    (records[0].path / "00012.jpg").unlink()
    bad = records[1].path / "00003.jpg"
    bad.write_bytes(bad.read_bytes()[:200])
    video = records[2].path
    video.write_bytes(video.read_bytes()[:400])
    records[5].path.unlink()
    return {
        0: f"{records[0].path}: 11 frames on disk, but l.txt:1 says 12",
        1: f"{bad}: DALI can't decode it: ",
        2: f"{video}: ",
        5: f"{records[5].path}: no such video file or frame folder",
    }


@needs_dali
@devices
def test_bad_clips_are_left_out_and_listed(records: list[ClipRecord], device: str) -> None:
    reasons = spoil(records)
    loader = loader_of(records, device, train=False, on_bad_clip="skip")
    found = epoch_of(loader)
    loader.close()
    assert [batch["index"].tolist() for batch in found] == [[3], [4, 6, 7], [8]]
    bad = [clip for batch in found for clip in batch["bad"]]
    assert [clip.clip for clip in bad] == list(reasons)
    for clip in bad:
        assert clip.reason.startswith(reasons[clip.clip])
    whole = loader_of(records[3:5], device, train=False)
    (other,) = epoch_of(whole)
    whole.close()
    assert torch.equal(other["frames"][0], found[0]["frames"][0])


@needs_dali
@devices
@pytest.mark.parametrize("bad", [1, 2])
def test_bad_clip_stops_the_run_in_one_line(
    records: list[ClipRecord], device: str, bad: int
) -> None:
    reason = spoil(records)[bad]
    loader = loader_of([*records[3:5], records[bad], *records[6:]], device, train=False)
    with pytest.raises(InputError) as caught:
        list(loader)
    assert str(caught.value).startswith(reason)
    assert "\n" not in str(caught.value)
    assert loader._work is None  # its threads are gone


@needs_dali
@devices
def test_a_whole_batch_of_bad_clips(records: list[ClipRecord], device: str) -> None:
    for record in records[:4]:
        record.path.rename(record.path.with_name("gone" + record.path.name))
    loader = loader_of(records, device, train=False, on_bad_clip="skip")
    found = epoch_of(loader)
    loader.close()
    assert found[0]["frames"].shape == (0, 16, 3, 16, 16)
    assert [len(batch["bad"]) for batch in found] == [4, 0, 0]


@needs_dali
@pytest.mark.parametrize("on_bad_clip", ["error", "skip"])
def test_codec_that_only_a_gpu_takes(tmp_path: Path, on_bad_clip: str) -> None:
    """Not a fault of the clip, so it isn't skipped."""
    clips = [write_pictures(tmp_path / f"{k}.mp4", 5, H264) for k in range(2)]
    records = [ClipRecord(path, 0) for path in clips]
    loader = loader_of(records, "cpu", train=False, on_bad_clip=on_bad_clip)
    with pytest.raises(InputError) as caught:
        list(loader)
    assert str(caught.value) == (
        f"{clips[0]}: h264 video, and DALI takes mjpeg, vp8, vp9 here: use --data.decoder pyav"
    )


@needs_dali
def test_hidden_pictures_are_left_to_pyav(tmp_path: Path) -> None:
    """DALI takes each packet for a frame."""
    path = hide_pictures(write_pictures(tmp_path / "clip.webm", 20, VP8), {7, 9})
    records = [ClipRecord(path, 0)]
    (batch,) = loader_of(records, "cpu", "pyav", train=False)
    assert batch["index"].tolist() == [0]
    loader = loader_of(records, "cpu", train=False)
    with pytest.raises(InputError, match=rf"^{path}: its packets are not its frames, .* pyav$"):
        list(loader)


def test_auto_is_pyav_until_dali_is_verified(
    monkeypatch: pytest.MonkeyPatch, records: list[ClipRecord]
) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert decoders.choose_decoder("auto", cpu) == "pyav"
    assert decoders.choose_decoder("auto", cuda) == "pyav"
    monkeypatch.setattr(decoders, "VERIFIED", {"cuda"})
    monkeypatch.setattr(decoders, "dali_missing", lambda: None)
    assert decoders.choose_decoder("auto", cpu) == "pyav"
    assert decoders.choose_decoder("auto", cuda) == "dali"
    monkeypatch.setattr(decoders, "dali_missing", lambda: "not here: pip install it")
    assert decoders.choose_decoder("auto", cuda) == "pyav"
    with pytest.raises(InputError, match=r"^data\.decoder=dali: not here: pip install it$"):
        loader_of(records, "cpu")


@needs_dali
@devices
def test_train_command(tmp_path: Path, tiny_backbone: str, tiny_clips: Path, device: str) -> None:
    config = write_config(tmp_path / "tiny.yaml", tiny_backbone, tiny_clips)
    options = ["--data.decoder", "dali", "--train.device", device]
    run = tmp_path / "run"
    assert train.main(["--config", str(config), "--output", str(run), *options]) == 0
    report = json.loads((run / "report.json").read_text())
    assert "decoder: dali" in (run / "config.yaml").read_text()
    assert report


@needs_dali
def test_decoder_may_not_change_on_resume(
    tmp_path: Path, tiny_backbone: str, tiny_clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "tiny.yaml", tiny_backbone, tiny_clips)
    run = ["--config", str(config), "--output", str(tmp_path / "run")]
    assert train.main(run) == 0
    assert train.main([*run, "--resume", "--data.decoder", "dali"]) == 2
    assert "data.decoder" in capsys.readouterr().err


@needs_dali
def test_video_in_the_middle_of_a_long_file(tmp_path: Path) -> None:
    path = write_pictures(tmp_path / "clip.webm", 60, VP9)
    records = [ClipRecord(path, 0, None, "", 0.4 * k, 0.4 * (k + 1)) for k in range(6)]
    loader = loader_of(records, "cpu", train=False)
    others = loader_of(records, "cpu", "pyav", train=False)
    assert same(epoch_of(loader), epoch_of(others), tolerance=8)
    loader.close()
    others.close()
