"""Two hundred broken and odd files, read in a process of its own with little memory.

No file may end the process or hang it. Each gives an error that names it, or the frames that were
asked for. Of flipped bits the latter can be promised only as far as a format tells damage: none has
a checksum. The decoders of H.264 and MPEG-4 notice nearly all; those of VP8, VP9 and HEVC make a
picture of nearly anything.
"""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

COUNT, HEIGHT, WIDTH = 40, 80, 96
MEMORY = 1 << 30  # bytes of address space beyond what the imports take
SECONDS = 20  # for one file
WATCHED = {".mp4": "libx264", ".avi": "mpeg4", ".flv": "flv"}  # their decoders see damage
UNSEEN = 0.05  # of the files with flipped bits, for these
BLIND = {".webm": "libvpx-vp9", ".mov": "libx265", ".mkv": "libvpx"}

READER = f"""
import json, resource, signal, sys, warnings
import av
from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.data.transforms.sampling import sample_indices
from peclip_fast.errors import InputError

warnings.simplefilter("error")
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {MEMORY}, used + {MEMORY}))
for path in sys.stdin.read().splitlines():
    signal.alarm({SECONDS})  # ends the process
    answer = {{"path": path}}
    try:
        source = open_clip_source(path)
        indices = sample_indices(source.num_frames, 16)
        frames = source.read(indices)
        source.close()
        answer |= {{
            "count": source.num_frames,
            "indices": indices,
            "shape": list(frames.shape),
            "means": frames.reshape(len(frames), -1).mean(axis=1).tolist(),
        }}
    except InputError as error:
        answer["error"] = str(error)
    print(json.dumps(answer), flush=True)
"""


def frame(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Texture around a grey that names the frame."""
    noise = np.random.default_rng(0).integers(-15, 16, (height, width, 3))
    return (20 + 5 * number + noise).astype(np.uint8)


def write(
    path: Path, codec: str, pixels: str = "yuv420p", height: int = HEIGHT, width: int = WIDTH
) -> Path:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {"g": "12"}
    with av.open(str(path), mode="w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, pixels
        stream.bit_rate = 2_000_000
        for number in range(COUNT):
            image = av.VideoFrame.from_ndarray(frame(number, height, width), format="rgb24")
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    return path


def write_folder(folder: Path, suffix: str) -> Path:
    folder.mkdir()
    for number in range(COUNT):
        Image.fromarray(frame(number)).save(folder / f"{number:03d}{suffix}", quality=95)
    return folder


def flip(data: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice([1, 4, 16])):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def odd_files(folder: Path) -> Iterator[Path]:
    """Unusual and whole: they must be read."""
    yield write(folder / "yuv444.mp4", "libx264", "yuv444p")
    yield write(folder / "ten-bits.mp4", "libx264", "yuv420p10le")
    yield write(folder / "odd.mp4", "libx264", "yuv444p", 79, 95)
    yield write(folder / "odd.webm", "libvpx-vp9", "yuv420p", 79, 95)
    yield write(folder / "portrait.mp4", "libx264", height=160, width=90)
    yield write(folder / "lossless.mkv", "ffv1", "bgr0")
    for name, suffix in (("video.mp4", ".webm"), ("video.webm", ".mp4"), ("video.avi", ".mp4")):
        whole = write(folder / name, (WATCHED | BLIND)[Path(name).suffix])
        yield whole.rename(folder / f"{name}-is-no{suffix}")
    yield write_folder(folder / "webp", ".webp")
    yield write_folder(folder / "png", ".png")


def hopeless_files(folder: Path) -> Iterator[Path]:
    """Nothing can be read from them: each must be an error."""
    for suffix in (*WATCHED, *BLIND, ".jpg"):
        path = folder / f"empty{suffix}"
        path.write_bytes(b"")
        yield path
        path = folder / f"text{suffix}"
        path.write_text("not a video\n" * 1000)
        yield path
        path = folder / f"noise{suffix}"
        path.write_bytes(random.Random(suffix).randbytes(20_000))
        yield path
    sound = folder / "sound.mp4"
    with av.open(str(sound), mode="w") as container:
        stream = container.add_stream("aac", rate=16000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        silence.sample_rate = 16000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    yield sound
    bomb = write_folder(folder / "huge.png", ".png")
    for path in bomb.iterdir():  # 60,000 by 60,000 pixels, by its header
        data = bytearray(path.read_bytes())
        data[16:24] = (60_000).to_bytes(4, "big") * 2
        path.write_bytes(data)
    yield bomb
    bomb = write_folder(folder / "huge.jpg", ".jpg")
    for path in bomb.iterdir():
        data = bytearray(path.read_bytes())
        start = data.index(b"\xff\xc0") + 5
        data[start : start + 4] = (60_000).to_bytes(2, "big") * 2
        path.write_bytes(data)
    yield bomb
    (folder / "empty-folder").mkdir()
    yield folder / "empty-folder"
    yield folder / "nothing-there.mp4"


def damaged_files(folder: Path) -> Iterator[Path]:
    """Cut short, or with flipped bits."""
    rng = random.Random(7)
    for suffix, codec in (WATCHED | BLIND).items():
        data = write(folder / f"whole{suffix}", codec).read_bytes()
        for share in (0.02, 0.3, 0.7, 0.95):
            path = folder / f"cut-{share}{suffix}"
            path.write_bytes(data[: int(len(data) * share)])
            yield path
        for number in range(20):
            path = folder / f"flipped-{number}{suffix}"
            path.write_bytes(flip(data, rng))
            yield path
    for number in range(12):
        path = write_folder(folder / f"flipped-{number}-jpg", ".jpg")
        for image in path.iterdir():
            image.write_bytes(flip(image.read_bytes(), rng))
        yield path
        path = write_folder(folder / f"cut-{number}-png", ".png")
        for image in path.iterdir():
            data = image.read_bytes()
            image.write_bytes(data[: rng.randrange(len(data))])
        yield path


def read_all(paths: list[Path]) -> dict[Path, dict]:
    """What the reader says of each file."""
    process = subprocess.run(
        [sys.executable, "-c", READER],
        input="\n".join(map(str, paths)),
        capture_output=True,
        text=True,
    )
    answers = [json.loads(line) for line in process.stdout.splitlines()]
    assert process.returncode == 0, f"{paths[len(answers)]}: {process.stderr[-2000:]}"
    return {Path(answer["path"]): answer for answer in answers}


def is_right(answer: dict) -> bool:
    """Whether the frames are the ones that were asked for, by their greys."""
    expected = [20 + 5 * index for index in answer["indices"]]
    near = np.allclose(answer["means"], expected, atol=2.4)
    return answer["count"] == COUNT and near


def is_reported_or_right(answer: dict) -> bool:
    return "error" in answer or is_right(answer)


@pytest.mark.slow
def test_no_file_ends_the_process_and_each_is_right_or_reported(tmp_path: Path) -> None:
    kinds = {"odd": odd_files, "hopeless": hopeless_files, "damaged": damaged_files}
    for kind in kinds:
        (tmp_path / kind).mkdir()
    paths = {kind: list(make(tmp_path / kind)) for kind, make in kinds.items()}
    answers = read_all(list(itertools.chain(*paths.values())))
    assert len(answers) >= 200
    for path, answer in answers.items():
        if "error" in answer:
            assert str(path) in answer["error"]
            assert "\n" not in answer["error"]
    for path in paths["odd"]:
        assert is_right(answers[path]), answers[path]
    for path in paths["hopeless"]:
        assert "error" in answers[path], answers[path]
    flipped = [path for path in paths["damaged"] if path.name.startswith("flipped")]
    for path in set(paths["damaged"]) - set(flipped):
        assert is_reported_or_right(answers[path]), answers[path]
    seen = [path for path in flipped if path.suffix not in BLIND]
    unseen = [path.name for path in seen if not is_reported_or_right(answers[path])]
    assert len(unseen) <= UNSEEN * len(seen), unseen
