"""Files of descriptions: written, read again, and read with what other programs do to them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peclip_fast.data.cues.descriptions import read_descriptions, write_descriptions
from peclip_fast.data.records import ClipRecord
from peclip_fast.errors import InputError

RECORDS = [ClipRecord(Path(f"/data/train/{name}"), 0) for name in ("a/1", "a/2", "b/1")]


def line(clip: object, text: object = "The lips part.") -> str:
    return json.dumps({"clip": clip, "text": text}, ensure_ascii=False)


def read(path: Path, *lines: str) -> dict[str, str]:
    path.write_text("\n".join(lines), encoding="utf-8")
    return read_descriptions(path, RECORDS)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    texts = {"/data/train/a/1": 'Ü "x"\n\\ 😀', "/data/train/b/1": "b"}
    write_descriptions(tmp_path / "fine.jsonl", texts)
    assert read_descriptions(tmp_path / "fine.jsonl", RECORDS) == texts
    assert len((tmp_path / "fine.jsonl").read_text(encoding="utf-8").splitlines()) == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_bom_line_ends_and_another_disk(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "fine.jsonl"
    lines = (line("E:\\sets\\a\\2", "Die Lippen öffnen sich."), line("E:\\sets\\b\\1", "b"))
    path.write_bytes(end.join((*lines, "")).encode(encoding))
    assert read_descriptions(path, RECORDS) == {
        "/data/train/a/2": "Die Lippen öffnen sich.",
        "/data/train/b/1": "b",
    }


def test_clips_that_the_dataset_lacks_are_left_out(tmp_path: Path) -> None:
    found = read(tmp_path / "f", line("x/a/1"), line("x/c/9"), line("x/c/10"))
    assert found == {"/data/train/a/1": "The lips part."}


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ('{"clip": "a/2", ', "f:2: broken JSON"),
        ("[" * 100_000, "f:2: broken JSON"),
        ('["a/2", "text"]', "f:2: expected an object, got a list"),
        (line("a/2", ""), 'no text in "text"'),
        (line("a/2", 3), "f:2: 'text': expected a text, got '3'"),
        (line("", "x"), 'no text in "clip"'),
        ('{"text": "x"}', "f:2: expected an object with clip, text; clip is missing"),
        (line("a/1"), "f:2: a second line for the clip of"),
        (line("x/a/1"), "f:2: a second line for the clip of"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, broken: str, told: str) -> None:
    with pytest.raises(InputError) as error:
        read(tmp_path / "f", line("a/1"), broken)
    assert told in str(error.value)


def test_no_clip_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"f: empty; expected a line"):
        read(tmp_path / "f", "")
    with pytest.raises(InputError, match=r"f:1: no name here is that of a clip"):
        read(tmp_path / "f", line("z/9"))
    with pytest.raises(InputError, match=r"f:1: '1' fits several clips"):
        read(tmp_path / "f", line("1"))
    with pytest.raises(InputError, match=r"nowhere: can't be read"):
        read_descriptions(tmp_path / "nowhere", RECORDS)
