"""Other programs' files hold what was found, at its times."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from helpers.analyses import CLASSES, an_analysis, nobody, renamed

from peclip_fast.analyze.outputs.formats import FORMATS, write_formats
from peclip_fast.errors import InputError


def written(folder: Path, analysis, name: str) -> str:
    (path,) = write_formats(analysis, folder, [name])
    assert [p.name for p in folder.iterdir()] == [path.name]
    return path.read_bytes().decode()


def test_a_line_of_json_for_each_frame(tmp_path):
    made = an_analysis()
    lines = [json.loads(line) for line in written(tmp_path, made, "jsonl").splitlines()]
    assert [line["frame"] for line in lines] == list(range(60))
    assert [len(line["faces"]) for line in lines[:4]] == [1, 1, 1, 2]
    assert lines[-1] == {"frame": 59, "timestamp": 5.9, "faces": []}
    assert lines[12]["faces"][0] == {
        "track": 1, "box": None, "score": None, "prediction": "happiness",
        "probabilities": dict(zip(CLASSES, (0.8, 0.1, 0.1), strict=True)),
    }  # fmt: skip
    assert lines[20]["faces"][1]["box"] == [50.0, 12.5, 24.0, 30.0]


def test_boris_pastes_it(tmp_path):
    """Six fields a line, as an observation of a video has, and no empty line at the end."""
    text = written(tmp_path, an_analysis(), "boris")
    lines = [line.split("\t") for line in text.split("\n")]
    assert {len(line) for line in lines} == {6}
    assert [tuple(line[:3]) for line in lines] == [
        ("0.000", "track 1", "happiness"), ("0.300", "track 2", "anger"),
        ("0.500", "speech", "speech"), ("1.500", "speech", "speech"),
        ("2.700", "track 1", "happiness"), ("2.700", "track 1", "sadness"),
        ("5.500", "track 1", "sadness"), ("5.500", "track 2", "anger"),
    ]  # fmt: skip
    # State events: each is there twice, and the one stops before the next starts.
    state: dict[str, str | None] = {}
    for _, subject, code, *_ in lines:
        assert state.get(subject) in (None, code)
        state[subject] = None if state.get(subject) else code
    assert set(state.values()) == {None}
    assert lines[0][5] == "0"


def test_a_name_with_a_tab_stays_one_field(tmp_path):
    made = renamed(an_analysis(people=1), ("a\tb\nc", "d", "e"))
    made = replace(made, speech=None)
    for line in written(tmp_path, made, "boris").split("\n"):
        assert len(line.split("\t")) == 6


def elan(text: str) -> tuple[ElementTree.Element, dict[str, list[tuple[int, int, str]]]]:
    """The document, and start, end and value of the annotations of each tier."""
    root = ElementTree.fromstring(text)
    slots = {s.get("TIME_SLOT_ID"): int(s.get("TIME_VALUE", "")) for s in root.iter("TIME_SLOT")}
    assert list(slots.values()) == sorted(slots.values())
    tiers = {}
    for tier in root.iter("TIER"):
        tiers[tier.get("TIER_ID", "")] = [
            (slots[a.get("TIME_SLOT_REF1")], slots[a.get("TIME_SLOT_REF2")],
             a.findtext("ANNOTATION_VALUE", ""))
            for a in tier.iter("ALIGNABLE_ANNOTATION")
        ]  # fmt: skip
    return root, tiers


def test_elan_reads_it(tmp_path):
    root, tiers = elan(written(tmp_path, an_analysis(str(tmp_path / "a b.mp4")), "eaf"))
    assert tiers == {
        "track 1": [(0, 2700, "happiness"), (2700, 5500, "sadness")],
        "track 2": [(300, 5500, "anger")],
        "speech": [(500, 1500, "speech")],
        "scenes": [(2000, 5500, "scene 2")],
    }
    media = root.find("HEADER/MEDIA_DESCRIPTOR")
    assert media is not None
    assert media.get("MEDIA_URL") == (tmp_path / "a b.mp4").as_uri()
    assert (media.get("RELATIVE_MEDIA_URL"), media.get("MIME_TYPE")) == ("a b.mp4", "video/mp4")


def test_elans_schema(tmp_path):
    """The order of elements, the attributes that have to be there, and each reference's target."""
    root, _ = elan(written(tmp_path, an_analysis(), "eaf"))
    assert {"AUTHOR", "DATE", "FORMAT", "VERSION"} <= set(root.keys())
    names = list(dict.fromkeys(child.tag for child in root))
    assert names == ["HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE"]
    (header, *_), kinds = root, [t.get("LINGUISTIC_TYPE_ID") for t in root.iter("LINGUISTIC_TYPE")]
    assert [child.tag for child in header] == ["MEDIA_DESCRIPTOR", "PROPERTY"]
    identifiers = [a.get("ANNOTATION_ID", "") for a in root.iter("ALIGNABLE_ANNOTATION")]
    assert len(set(identifiers)) == len(identifiers) == int(header.findtext("PROPERTY", ""))
    assert {tier.get("LINGUISTIC_TYPE_REF") for tier in root.iter("TIER")} == set(kinds)


def test_elan_and_a_name_that_xml_cannot_hold(tmp_path):
    made = renamed(an_analysis(people=1), ("<&\x01>", "ж", "'\""))
    _, tiers = elan(written(tmp_path, made, "eaf"))
    assert [value for *_, value in tiers["track 1"]] == ["<&\N{REPLACEMENT CHARACTER}>", "ж"]


def test_elan_and_an_address(tmp_path):
    root, _ = elan(written(tmp_path, an_analysis("rtsp://camera/1"), "eaf"))
    (media,) = root.iter("MEDIA_DESCRIPTOR")
    assert (media.get("MEDIA_URL"), media.get("RELATIVE_MEDIA_URL")) == ("rtsp://camera/1", None)


@pytest.mark.parametrize("name", FORMATS)
def test_nobody(tmp_path, name):
    text = written(tmp_path, nobody(), name)
    assert text.count("\n") == {"jsonl": 20, "boris": 0}.get(name, text.count("\n"))
    if name == "eaf":
        assert elan(text)[1] == {}


def test_an_unknown_format_writes_nothing(tmp_path):
    with pytest.raises(InputError, match="format xls: expected some of jsonl, boris, eaf"):
        write_formats(an_analysis(), tmp_path, ["jsonl", "xls"])
    assert list(tmp_path.iterdir()) == []


def test_a_former_file_stays_when_writing_fails(tmp_path):
    made = an_analysis()
    (path,) = write_formats(made, tmp_path, ["jsonl"])
    before = path.read_bytes()

    class Broken(list):
        def __iter__(self):
            yield from made.frames[:9]
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space") as caught:
        write_formats(replace(made, frames=Broken()), tmp_path, ["jsonl"])
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
