"""What counts as a clip, and what as a frame of one: the same rule for all datasets.

What doesn't count is never dropped without a word: it is given as ``PassedOver``, with the reason.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from peclip_fast.errors import InputError, printable
from peclip_fast.files import PARTIAL

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
VIDEO_SUFFIXES = frozenset(
    [
        ".3g2",
        ".3gp",
        ".apng",
        ".asf",
        ".avi",
        ".divx",
        ".dv",
        ".f4v",
        ".flv",
        ".gif",
        ".h264",
        ".h265",
        ".hevc",
        ".ivf",
        ".m1v",
        ".m2t",
        ".m2ts",
        ".m2v",
        ".m4v",
        ".mjpeg",
        ".mjpg",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpe",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".nut",
        ".ogg",
        ".ogm",
        ".ogv",
        ".qt",
        ".rm",
        ".rmvb",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
        ".y4m",
    ]
)
_SOUND = frozenset(
    [".aac", ".aif", ".aiff", ".flac", ".m4a", ".mka", ".mp3", ".oga", ".opus", ".wav", ".wma"]
)
_UNFINISHED = tuple([".crdownload", ".download", ".part", ".partial", ".tmp", ".aria2", ".!ut"])
# What archives, file managers, network storage and programs leave behind, in lower case.
_LEFTOVERS = frozenset(
    {"__macosx", "__pycache__", "$recycle.bin", "#recycle", "#snapshot", "@eadir", "@recycle"}
    | {"@recently-snapshot", "desktop.ini", "ehthumbs.db", "found.000", "icon\r", "lost+found"}
    | {"network trash folder", "recycler", "system volume information", "temporary items"}
    | {"thumbs.db"}
)
LEFTOVER = "left by the system or a program"
_NUMBER, _NUMBER_APART = re.compile(r"\d+"), re.compile(r"(\d+)")
# Kinds of optical flow, as it is written beside frames: flow_x_001.jpg, y_001.jpg, 001_flow.png
_FLOW = re.compile(r"(^|[\W_])flow([\W_]?[xyuv])?([\W_]|$)|^[xyuv][\W_]*#")


class PassedOver(NamedTuple):
    """A file or folder that is no clip, or no frame, where clips or frames are, and why."""

    path: Path
    reason: str


def natural_key(name: str) -> tuple[object, ...]:
    """Sorts ``frame_2`` before ``frame_10``; the name itself breaks ties such as 1 and 01."""
    pieces: list[object] = _NUMBER_APART.split(name.lower())
    pieces[1::2] = [_value(str(digits)) for digits in pieces[1::2]]
    return tuple(pieces), name


def _value(digits: str) -> tuple[int, str]:
    """Sorts digits by their value, of whatever script and however many they are."""
    if not digits.isascii():
        digits = "".join(str(unicodedata.decimal(digit)) for digit in digits)
    digits = digits.lstrip("0")
    return len(digits), digits


def passed_over(name: str) -> str | None:
    """Why a file or folder of such a name is never a clip or a frame; None where it may be."""
    name = name.lower()
    if name in _LEFTOVERS or name.startswith(("._", ".ds_store")):
        return LEFTOVER
    if name[:1] == ".":
        return "hidden"
    if PARTIAL in name or name.endswith(_UNFINISHED):
        return "not written to the end"
    return None


def entries(folder: Path) -> dict[str, bool]:
    """The names in a folder in natural order; whether each is a folder, through links as well.

    Raises:
        InputError: it can't be listed.
    """
    try:
        with os.scandir(folder) as found:
            names = {
                entry.name: os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()
                for entry in found
            }
    except OSError as error:
        raise InputError(f"{folder}: can't be listed: {error.strerror}") from None
    return {name: names[name] for name in sorted(names, key=natural_key)}


def list_clips(
    folder: Path, passed: list[PassedOver] | None = None, *, needed: bool = True
) -> list[Path]:
    """Video files and folders directly in a folder, in natural order; links are followed.

    Args:
        folder: of the clips.
        passed: gets all that is there and is no clip.
        needed: refuse a folder without clips.

    Raises:
        InputError: the folder can't be listed, or holds no clip; says what it holds.
    """
    clips, others = _parted(folder, _no_clip)
    if needed and not clips:
        raise InputError(_without(folder, "clip", "video files or folders of frames", others))
    if passed is not None:
        passed += others
    return [folder / name for name in clips]


def subfolders(folder: Path, passed: list[PassedOver]) -> list[Path]:
    """The folders directly in a folder, those of links too; ``passed`` gets all else."""
    folders, others = _parted(folder, _no_folder)
    passed += others
    return [folder / name for name in folders]


def frame_names(folder: Path, passed: list[PassedOver] | None = None) -> list[str]:
    """The names of a clip's frames: a folder's images, in the order of their numbers.

    Optical flow beside the frames is passed over.

    Args:
        folder: of the frames.
        passed: gets all that is there and is no frame.

    Raises:
        InputError: the folder can't be listed, has no images, or more than one for a frame.
    """
    images, others = _parted(folder, _no_image)
    if not images:
        kinds = " ".join(sorted(IMAGE_SUFFIXES))
        raise InputError(_without(folder, "frames", f"frames ({kinds})", others))
    kinds_of_images = _kinds(images)
    flow = {kind for kind in kinds_of_images if _FLOW.search(kind)}
    if len(flow) < len(kinds_of_images):
        names = {name for kind in flow for name in kinds_of_images.pop(kind)}
        others += [PassedOver(folder / name, "optical flow") for name in images if name in names]
        images = [name for name in images if name not in names]
    _check_one_sequence(folder, kinds_of_images)
    if passed is not None:
        passed += others
    return images


def _parted(
    folder: Path, why_not: Callable[[Path, str, bool], str | None]
) -> tuple[list[str], list[PassedOver]]:
    """The names in a folder that count, and what doesn't."""
    taken, others = [], []
    for name, is_folder in entries(folder).items():
        reason = passed_over(name) or why_not(folder, name, is_folder)
        if reason is None:
            taken.append(name)
        else:
            others.append(PassedOver(folder / name, reason))
    return taken, others


def _no_folder(folder: Path, name: str, is_folder: bool) -> str | None:
    if not is_folder:
        return "outside of a folder of clips"
    return "a link to a folder around it" if _leads_back(folder / name) else None


def _no_clip(folder: Path, name: str, is_folder: bool) -> str | None:
    if is_folder:
        return _no_folder(folder, name, is_folder)
    suffix = _suffix(name)
    if suffix in VIDEO_SUFFIXES:
        path = folder / name  # a link to nothing is a clip that is missing
        return None if path.is_file() or path.is_symlink() else "no regular file"
    if suffix in IMAGE_SUFFIXES:
        return "a picture outside of a clip's folder"
    if suffix in _SOUND:
        return "sound"
    return f"of unknown suffix {suffix}" if suffix else "without a suffix"


def _no_image(_: Path, name: str, is_folder: bool) -> str | None:
    if is_folder:
        return "a folder"
    return None if _suffix(name) in IMAGE_SUFFIXES else "not an image"


def _leads_back(path: Path) -> bool:
    """Whether a path is a link to a folder that it is in."""
    if not path.is_symlink():
        return False
    target = os.path.realpath(path)
    return os.path.commonpath([target, os.path.realpath(path.parent)]) == target


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _without(folder: Path, what: str, expected: str, others: Sequence[PassedOver]) -> str:
    if not others:
        return f"{folder}: empty folder: expected {expected}"
    return f"{folder}: no {what}: expected {expected}, got {in_words(others)}"


def _kinds(images: Sequence[str]) -> dict[str, list[str]]:
    """Images by their names with # for numbers; one kind is all one sequence."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for name in images:
        kinds[_NUMBER.sub("#", os.path.splitext(name)[0].lower())].append(name)
    return kinds


def _check_one_sequence(folder: Path, kinds: Mapping[str, Sequence[str]]) -> None:
    """InputError where a frame has two images.

    Several kinds are one sequence (001_anger.jpg, 002_fear.jpg) unless both count the same numbers
    (001.jpg, 001_mask.jpg), or one has none while others do.
    """
    firsts, lasts = set[str](), set[str]()
    numbered = any("#" in kind for kind in kinds)
    for kind, names in sorted(kinds.items(), key=lambda item: -len(item[1])):
        stems = {os.path.splitext(name)[0].lower(): name for name in reversed(names)}
        if len(stems) < len(names):
            twice = next(n for n in names if n not in stems.values())
            raise InputError(
                f"{folder}: {twice} has the name of another image: expected one for each frame"
            )
        numbers = [_NUMBER.findall(name) for name in stems]
        first, last = ({n[end].lstrip("0") for n in numbers if n} for end in (0, -1))
        if len(kinds) > 1 and numbered and ("#" not in kind or (first & firsts and last & lasts)):
            examples = ", ".join(names[0] for names in list(kinds.values())[:3])
            raise InputError(
                f"{folder}: {len(kinds)} kinds of images, such as {examples}: expected the frames "
                "of one clip, whose names differ in their numbers"
            )
        firsts |= first
        lasts |= last


def remark(passed: Sequence[PassedOver]) -> str:
    """A line that says what was passed over."""
    things = "a file or folder" if len(passed) == 1 else f"{len(passed)} files or folders"
    return f"passed over {things}: {in_words(passed)}"


def in_words(passed: Iterable[PassedOver]) -> str:
    """How many files and folders, with their reasons and some of their names."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for path, reason in passed:
        reasons[reason].append(path.name)
    parts = []
    for reason, names in sorted(reasons.items(), key=lambda item: -len(item[1])):
        different = list(dict.fromkeys(names))
        more = ", ..." if len(different) > 3 else ""
        parts.append(f"{len(names)} {reason} ({', '.join(different[:3])}{more})")
    return printable(", ".join(parts))
