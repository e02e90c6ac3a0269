"""``python peers.py PROGRAM VIDEO SECONDS``: another package on the frames of a video.

It is run by the interpreter of an environment that has that package, needs nothing of ours, and
prints JSON: how many frames a second, in how many of them a face was found, and the version. A
first frame is not timed. What the packages would download is not looked for:

- ``fer``: its wheel holds all weights. Its Haar cascade, or MTCNN.
- ``deepface``: its emotion network has random weights, which take as long. The Haar cascades are
  those of OpenCV's wheel (before version 5).
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
Faces = Callable[[Any], int]


def fer(mtcnn: bool) -> Faces:
    """How many faces with an expression are in a frame."""
    from fer.fer import FER  # type: ignore[import-not-found]

    detector = FER(mtcnn=mtcnn)
    return lambda frame: len(detector.detect_emotions(frame))


def deepface() -> Faces:
    """The same of deepface."""
    from deepface.commons import weight_utils  # type: ignore[import-not-found]

    weight_utils.download_weights_if_necessary = lambda *_, **__: ""
    weight_utils.load_model_weights = lambda model, weight_file: model
    from deepface import DeepFace

    def faces(frame: Any) -> int:
        found = DeepFace.analyze(frame, actions=["emotion"], detector_backend="opencv",
                                 enforce_detection=False, silent=True)  # fmt: skip
        return sum(one["face_confidence"] > 0 for one in found)

    return faces


PROGRAMS: dict[str, tuple[str, Callable[[], Faces]]] = {
    "fer, Haar cascade": ("fer", lambda: fer(False)),
    "fer, MTCNN": ("fer", lambda: fer(True)),
    "deepface, Haar cascade": ("deepface", deepface),
}


def main() -> None:
    """Print what was measured."""
    program, path, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    package, make = PROGRAMS[program]
    import cv2  # type: ignore[import-not-found]

    faces, video = make(), cv2.VideoCapture(path)
    frames, found, begin = -1, 0, 0.0
    while True:
        there, frame = video.read()
        if not there:
            video.set(cv2.CAP_PROP_POS_FRAMES, 0)
            continue
        found += bool(faces(frame)) and frames >= 0
        frames += 1
        if frames == 0:
            begin = time.perf_counter()
        elif time.perf_counter() > begin + seconds:
            break
    took = time.perf_counter() - begin
    version = importlib.metadata.version(package)
    print(json.dumps({"frames_per_s": frames / took, "found": found / frames, "version": version}))


if __name__ == "__main__":
    main()
