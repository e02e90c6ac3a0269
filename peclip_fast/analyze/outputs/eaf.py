"""ELAN's annotation documents (EAF 3.0), as its published schema has them."""

from __future__ import annotations

import mimetypes
import os
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from xml.etree import ElementTree

from peclip_fast.analyze.outputs.digest import Segment
from peclip_fast.analyze.results import Analysis

_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_TYPE = "default-lt"  # ELAN's own name for a tier whose annotations have times
_ADDRESS = re.compile(r"[a-z]+://")
# What XML 1.0 can't hold.
_UNFIT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Span = tuple[float, float, str]  # start and end in seconds, and what is said of them


def eaf_xml(analysis: Analysis, segments: Sequence[Segment], folder: Path) -> str:
    """The document.

    Args:
        analysis: for the video's name, speech and cuts.
        segments: of all tracks.
        folder: where the document will be: it names the video from there too.
    """
    tiers: dict[str, list[Span]] = {f"track {row.track}": [] for row in analysis.tracks}
    for one in segments:
        tiers[f"track {one.track}"].append((one.start, one.end, one.prediction))
    if analysis.speech is not None:
        tiers["speech"] = [(start, end, "speech") for start, end in analysis.speech]
    if analysis.cuts:
        ends = [*analysis.cuts[1:], max([one.end for one in segments], default=0.0)]
        tiers["scenes"] = [
            (start, end, f"scene {number}")
            for number, (start, end) in enumerate(zip(analysis.cuts, ends, strict=True), 2)
        ]
    document = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "peclip-fast",
            "DATE": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": _SCHEMA,
        },
    )
    header = ElementTree.SubElement(
        document, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"}
    )
    _media(header, analysis.source, folder)
    order = ElementTree.SubElement(document, "TIME_ORDER")
    count = _tiers(document, order, tiers.items())
    last = ElementTree.SubElement(header, "PROPERTY", {"NAME": "lastUsedAnnotationId"})
    last.text = str(count)
    ElementTree.SubElement(
        document,
        "LINGUISTIC_TYPE",
        {"LINGUISTIC_TYPE_ID": _TYPE, "TIME_ALIGNABLE": "true", "GRAPHIC_REFERENCES": "false"},
    )
    ElementTree.indent(document)
    text = ElementTree.tostring(document, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _media(header: ElementTree.Element, source: str, folder: Path) -> None:
    if _ADDRESS.match(source):
        names = {"MEDIA_URL": source}
    else:
        path = Path(source).absolute()
        relative = os.path.relpath(path, folder.absolute())
        names = {"MEDIA_URL": path.as_uri(), "RELATIVE_MEDIA_URL": Path(relative).as_posix()}
    kind = mimetypes.guess_type(source)[0] or "video/mp4"
    named = {key: _fit(value) for key, value in names.items()}
    ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", named | {"MIME_TYPE": kind})


def _tiers(
    document: ElementTree.Element,
    order: ElementTree.Element,
    tiers: Iterable[tuple[str, list[Span]]],
) -> int:
    """The tiers and their time slots; how many annotations there are."""
    slots: list[int] = []
    count = 0
    for name, spans in tiers:
        tier = ElementTree.SubElement(
            document, "TIER", {"LINGUISTIC_TYPE_REF": _TYPE, "TIER_ID": name}
        )
        for start, end, text in spans:
            begin, close = round(1000 * start), round(1000 * end)
            if close <= begin:  # ELAN knows no annotation without a length
                continue
            count += 1
            slots += [begin, close]
            annotation = ElementTree.SubElement(
                ElementTree.SubElement(tier, "ANNOTATION"),
                "ALIGNABLE_ANNOTATION",
                {
                    "ANNOTATION_ID": f"a{count}",
                    "TIME_SLOT_REF1": f"ts{len(slots) - 1}",
                    "TIME_SLOT_REF2": f"ts{len(slots)}",
                },
            )
            ElementTree.SubElement(annotation, "ANNOTATION_VALUE").text = _fit(text)
    for number in sorted(range(len(slots)), key=slots.__getitem__):
        ElementTree.SubElement(
            order,
            "TIME_SLOT",
            {"TIME_SLOT_ID": f"ts{number + 1}", "TIME_VALUE": str(slots[number])},
        )
    return count


def _fit(text: str) -> str:
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)
