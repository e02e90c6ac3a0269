"""A dataset of crops from one of whole videos: in each clip the face that is shown most."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np

from peclip_fast.data.decoding.clip_source import locate_record, open_record
from peclip_fast.data.decoding.jpeg import encode_jpeg
from peclip_fast.data.decoding.packed_file import read_note
from peclip_fast.data.decoding.stamps import content_stamp
from peclip_fast.data.records import ClipRecord
from peclip_fast.errors import InputError
from peclip_fast.faces.crop import CropProfile, SteadyPlaces, cut, outside
from peclip_fast.faces.finder import FaceFinder, FacePlace
from peclip_fast.faces.named import open_detector
from peclip_fast.faces.track import TrackedPerson, Tracker
from peclip_fast.prepare.make_files import make_files
from peclip_fast.prepare.pack import milliseconds, targets, write_packed


@dataclass(frozen=True)
class Cropping:
    """How clips are cropped.

    Args:
        profile: where the crop lies around a face.
        side: of the crops, in pixels.
        quality: of the JPEG frames, 1 to 100.
        detector: as ``open_detector`` takes it.
        min_face: smallest height of a face, in pixels of the source.
    """

    profile: CropProfile
    side: int = 224
    quality: int = 90
    detector: str = "blazeface"
    min_face: float = 0.0

    def __post_init__(self) -> None:
        if not 16 <= self.side <= 4096:
            raise InputError(f"--side {self.side}: expected 16 to 4096")
        if not 1 <= self.quality <= 100:
            raise InputError(f"--quality {self.quality}: expected 1 to 100")
        if not 0 <= self.min_face < float("inf"):
            raise InputError(f"--min_face {self.min_face:g}: expected at least 0")


@dataclass(frozen=True)
class Cropped:
    """A clip of crops.

    Args:
        frames: how many.
        faces: frames that show the face; the others are cropped where it was nearest in time.
        people: who were followed; the one who was shown most is in the crops.
        pixels: the face's side in the source, in the median.
        outside: which share of a crop lies outside of the source's frame, in the median.
        seconds: how long it is.
        found: it was made before.
    """

    frames: int
    faces: int
    people: int
    pixels: float
    outside: float
    seconds: float
    found: bool = False


def crop_clips(
    records: Sequence[ClipRecord],
    folder: Path,
    cropping: Cropping,
    processes: int,
    seconds: float,
    skip: bool,
) -> dict[Path, Cropped | InputError]:
    """Crops clips that aren't cropped yet; arguments and errors as of ``pack``.

    A clip in which no face is found counts as bad.
    """
    open_detector(cropping.detector)  # an error of its own, before there are processes
    jobs = dict(zip(targets(records, folder), records, strict=True))
    work = functools.partial(_crop_clip, cropping=cropping)
    return make_files(work, jobs, processes, seconds, skip, "cropping")


def profile_of(done: Mapping[Path, Cropped | InputError], cropping: Cropping) -> CropProfile:
    """The profile that goes with the dataset, and from there into runs."""
    clips = [clip for clip in done.values() if isinstance(clip, Cropped)]
    wanted = cropping.profile
    return CropProfile(
        wanted.scale,
        wanted.x,
        wanted.y,
        wanted.aligned,
        round(median(clip.seconds for clip in clips), 3) if clips else None,
        sum(clip.faces for clip in clips) / max(1, sum(clip.frames for clip in clips)),
        f"made by peclip-fast data crop with {cropping.detector}",
    )


def as_table(done: Mapping[Path, Cropped | InputError]) -> str:
    """What became of the clips, for people."""
    clips = [clip for clip in done.values() if isinstance(clip, Cropped)]
    bad = [str(error) for error in done.values() if isinstance(error, InputError)]
    frames, faces = (sum(getattr(clip, name) for clip in clips) for name in ("frames", "faces"))
    lines = [
        f"clips                    {len(clips)}",
        f"cropped now              {sum(not clip.found for clip in clips)}",
        f"cropped before           {sum(clip.found for clip in clips)}",
        f"frames                   {frames}",
        f"frames with the face     {faces}" + (f" ({faces / frames:.2%})" if frames else ""),
        f"clips of several people  {sum(clip.people > 1 for clip in clips)}",
    ]
    if clips:
        pixels = sorted(clip.pixels for clip in clips)
        lines += [
            f"face's side in pixels    {pixels[0]:.0f} to {pixels[-1]:.0f}, median "
            f"{median(pixels):.0f}",
            f"crops beyond the picture {sum(clip.outside > 0.05 for clip in clips)}",
        ]
    return "\n".join([*lines, *(f"skipped: {reason}" for reason in bad)])


def _crop_clip(job: tuple[Path, ClipRecord], cropping: Cropping) -> Cropped | InputError:
    """One clip cropped, verified and written, or why it can't be."""
    target, record = job
    finder = _opened(cropping)
    try:
        index, part = locate_record(record)
        moments = milliseconds(index, part)
        expected = {"source": content_stamp(record.path), **asdict(cropping)}
        note = read_note(target)
        if note is not None and {k: note.get(k) for k in expected} == expected and "made" in note:
            return Cropped(**note["made"], found=True)
        places, people = _places(record, finder, [moment / 1000 for moment in moments])
        jpegs, off = [], []
        source = open_record(record)
        try:
            for frame, place in zip(source.frames(), _nearest(places), strict=True):
                where = cropping.profile.rectangle(place)
                off.append(outside(where, *frame.shape[:2]))
                jpegs.append(encode_jpeg(cut(frame, where, cropping.side), cropping.quality))
        finally:
            source.close()
    except InputError as error:
        return error
    known = [place.side for place in places if place is not None]
    step = moments[-1] / max(1, len(moments) - 1)
    seconds = (moments[-1] + step) / 1000
    made = Cropped(len(jpegs), len(known), people, median(known), median(off), seconds)
    facts = {name: value for name, value in asdict(made).items() if name != "found"}
    size = cropping.side, cropping.side
    write_packed(target, record, jpegs, size, moments, {**expected, "made": facts})
    return made


def _places(
    record: ClipRecord, finder: FaceFinder, times: Sequence[float]
) -> tuple[list[FacePlace | None], int]:
    """Where the face that is shown most is in each frame, and how many people there are."""
    tracker = Tracker()
    found = []  # of each frame, each track with its place
    source = open_record(record)
    try:
        for time, frame in zip(times, source.frames(), strict=True):
            seen = finder.find(frame)
            tracks = tracker.update(time, seen)
            found.append(
                [
                    (track, FacePlace.of(face.points))
                    for track, face in zip(tracks, seen, strict=True)
                    if track is not None
                ]
            )
    finally:
        source.close()
    shown: Counter[TrackedPerson] = Counter()
    for frame_places in found:
        for track, place in frame_places:
            if track.person is not None:
                shown[track.person] += round(place.side**2)
    if not shown:
        raise InputError(f"{record.path}: no face is found in it")
    main = shown.most_common(1)[0][0]
    steady = SteadyPlaces()
    places: list[FacePlace | None] = []
    for time, frame_places in zip(times, found, strict=True):
        mine = next((place for track, place in frame_places if track.person == main), None)
        places.append(None if mine is None else steady.next(time, mine))
    return places, len(shown)


def _nearest(places: Sequence[FacePlace | None]) -> list[FacePlace]:
    """For each frame its own place, or that of the nearest frame with one."""
    known = np.array([number for number, place in enumerate(places) if place is not None])
    nearest = [int(known[np.abs(known - number).argmin()]) for number in range(len(places))]
    return [place for number in nearest if (place := places[number]) is not None]


@functools.cache
def _opened(cropping: Cropping) -> FaceFinder:
    """This process's networks."""
    return FaceFinder(open_detector(cropping.detector), cropping.min_face)
