"""Detectors by name or file."""

from __future__ import annotations

from peclip_fast.faces.detect import BlazeFace, FaceDetector
from peclip_fast.faces.finder import FAINT


def open_detector(name: str) -> FaceDetector:
    """The detector of a name, ``blazeface`` or ``centerface``, or of a file of weights.

    Raises:
        InputError: there is none, it isn't installed, or the file is no detector; names it.
    """
    if name == "blazeface":
        return BlazeFace(FAINT)
    from peclip_fast.faces.centerface import open_centerface

    return open_centerface(name)
