"""Names of clips: what is written, and which clip a written name means."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from peclip_fast.data.cues.clip_names import clip_name, match_names
from peclip_fast.data.records import ClipRecord
from peclip_fast.errors import InputError


def record(path: str, **times: float) -> ClipRecord:
    return ClipRecord(Path(path), 0, **times)


def match(names: list[str], *paths: str) -> list[str | None]:
    written = [(f"names:{line}", name) for line, name in enumerate(names, start=1)]
    return match_names(written, [record(path) for path in paths])


def test_names() -> None:
    assert clip_name(record("/data/a/000")) == "/data/a/000"
    assert clip_name(record("a.mp4", start=1.5, end=2.0)) == "a.mp4#t=1.5,2"
    assert clip_name(record("a.mp4", end=2.25)) == "a.mp4#t=0,2.25"
    assert clip_name(record("a.mp4", start=3.0)) == "a.mp4#t=3,"


def test_names_below_a_root_begin_there() -> None:
    root = Path("/data/dfew")
    assert clip_name(record("/data/dfew/a/1"), root) == "a/1"
    assert clip_name(record("/data/dfew2/a/1"), root) == "/data/dfew2/a/1"
    assert clip_name(record("/data/dfew/a.mp4", start=1.0, end=2.0), root) == "a.mp4#t=1,2"


def test_any_disk_and_any_kind_of_slash() -> None:
    clips = ("/data/train/a/1", "/data/train/b/1", "/data/train/b/2")
    wanted = ["/data/train/b/2", "/data/train/a/1", None]
    for prefix, slash in (("/mnt/x/", "/"), ("D:\\old\\", "\\"), ("", "/"), ("./", "/")):
        names = [prefix + name.replace("/", slash) for name in ("b/2", "a/1", "c/1")]
        assert match(names, *clips) == wanted


def test_what_is_written_is_found_again_in_any_order() -> None:
    rng = random.Random()
    paths = sorted(
        {f"/d/{rng.randrange(3)}/{rng.randrange(9)}/{rng.randrange(99)}" for _ in range(60)}
    )
    records = [record(path) for path in paths]
    for root in (None, Path("/d")):
        names = [clip_name(r, root) for r in records]
        order = rng.sample(range(len(names)), len(names))
        written = [(f"f:{k}", names[k]) for k in order]
        assert match_names(written, records) == [paths[k] for k in order]


def test_parts_of_a_file_are_clips_of_their_own() -> None:
    records = [record("/d/a.mp4", start=float(k), end=k + 1.0) for k in range(3)]
    assert match_names([("f:1", "/x/a.mp4#t=1,2")], records) == ["/d/a.mp4#t=1,2"]


def test_no_name_is_a_clips() -> None:
    with pytest.raises(InputError, match="names:1: no name here is that of a clip"):
        match(["x/1", "x/2"], "/d/a/7")
    with pytest.raises(InputError, match="no name here"):
        match([], "/d/a/7")


def test_a_name_that_fits_several() -> None:
    with pytest.raises(InputError, match="names:1: '1' fits several clips"):
        match(["1"], "/d/a/1", "/d/b/1")


def test_two_names_of_one_clip() -> None:
    with pytest.raises(InputError, match="names:3: a second line for the clip of names:1"):
        match(["/x/a/1", "/x/b/1", "/y/a/1"], "/d/a/1", "/d/b/1")
