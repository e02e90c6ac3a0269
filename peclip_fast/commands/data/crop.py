"""``peclip-fast data crop CONFIG``: a dataset of face crops from one of whole videos."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from peclip_fast.commands.data.shared import data_line, read
from peclip_fast.commands.shared.options import required
from peclip_fast.commands.shared.running import run_command
from peclip_fast.files import check_writable, write_bytes, write_text
from peclip_fast.locks import locked

DESCRIPTION = """Crop the face out of every clip of whole videos, with the cropper that analyze
uses: of several people the one who is shown most. A frame without the face is cropped where it was
nearest in time; a clip without any face is a bad clip. The output folder gets clips/ (JPEG frames
in Matroska), train.csv, test.csv, crop.json (where the crops lie around faces; it goes into runs,
and analyze crops the same way), contact-sheet.png and NAME-cropped.yaml, which train takes as
--config. The same command again goes on where one was ended. The source is never written to."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_crop, argv)


def _crop(argv: list[str]) -> None:
    line = data_line("crop", DESCRIPTION, "--output FOLDER [options]", "data.descriptions")
    line.add("--output", metavar="FOLDER", help="where the cropped clips go; required")
    line.add("--side", type=int, default=224, help="of the crops, in pixels")
    line.add("--scale", type=float, default=1.5, help="side of a crop, in sides of the face")
    line.add("--align", action="store_true", help="turn faces so that their eyes are level")
    line.add("--quality", type=int, default=90, help="of the JPEG frames, 1 to 100")
    line.add("--min_face", type=float, default=0.0, metavar="PIXELS",
             help="smallest height of a face")  # fmt: skip
    line.add("--detector", default="blazeface", metavar="NAME",
             help="blazeface, centerface, or a file of CenterFace's weights (ONNX)")  # fmt: skip
    given, config = read(line, argv)
    options = given.own
    folder = required("output", options.output, "the folder of the cropped clips")

    from peclip_fast.data.splits import completed, open_splits
    from peclip_fast.faces.crop import FILE, USUAL, write_profile
    from peclip_fast.prepare import crop
    from peclip_fast.prepare.contact_sheet import contact_sheet
    from peclip_fast.prepare.make_files import processes_of
    from peclip_fast.prepare.pack import check_apart, copy_cues, write_lists

    profile = replace(USUAL, scale=options.scale, aligned=options.align)
    cropping = crop.Cropping(
        profile, options.side, options.quality, options.detector, options.min_face
    )
    splits, data = open_splits(config.data), completed(config.data)
    records = [replace(record, cues=None) for record in (*splits.train, *splits.test)]
    places = data.root, data.train_list, data.test_list, config.data.descriptions
    check_apart(folder, records, [path for path in places if path])
    check_writable(folder)
    skip, processes = data.on_bad_clip == "skip", processes_of(data)
    with locked(folder):
        done = crop.crop_clips(records, folder, cropping, processes, options.timeout, skip)
        lists = write_lists(folder, splits, done)
        _, descriptions = copy_cues(folder, records, done)
        write_profile(folder / FILE, crop.profile_of(done, cropping))
        data = replace(
            data,
            dataset="csv",
            root=folder,
            fold=1,
            classes=list(splits.classes),
            train_list=lists.get("train"),
            test_list=lists.get("test"),
            cues=None,
            descriptions=descriptions,
        )
        cropped = folder / f"{Path(options.config).stem}-cropped.yaml"
        write_text(cropped, replace(config, data=data).to_yaml())
        made = open_splits(data)
        texts = config.model.class_texts(splits.classes)
        sheet = contact_sheet(made, texts, [*made.train, *made.test], config.title, processes,
                              options.timeout)  # fmt: skip
        write_bytes(folder / "contact-sheet.png", sheet)
    print(crop.as_table(done))
    print(f"train with: peclip-fast train --config {cropped}", file=sys.stderr)
