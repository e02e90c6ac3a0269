"""From Python: a model that says who shows what, when, in any video."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peclip_fast.analyze.crop_of_run import crop_of_run
from peclip_fast.analyze.pipeline.classify import WindowClassifier, WindowQueue
from peclip_fast.analyze.pipeline.looking import look, look_ahead
from peclip_fast.analyze.pipeline.session import Rows, Session, Windows
from peclip_fast.analyze.pipeline.sources import OpenVideo, TimedFrame, TimeSpan, VideoSource
from peclip_fast.analyze.pipeline.windows import WindowOptions
from peclip_fast.analyze.recipe import Recipe
from peclip_fast.analyze.results import Analysis, FaceRow
from peclip_fast.analyze.tables import Collector
from peclip_fast.config.data import DataConfig
from peclip_fast.config.parser import resolve
from peclip_fast.config.run import RunConfig
from peclip_fast.engine.distributed import World, set_up
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError
from peclip_fast.faces.crop import USUAL, CropProfile
from peclip_fast.faces.finder import FaceFinder
from peclip_fast.faces.geometry import Frame
from peclip_fast.faces.models import FACEMESH
from peclip_fast.faces.named import open_detector
from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.models.pretrained import from_pretrained
from peclip_fast.version import __version__

_WINDOW = 2.0  # seconds, where nobody knows how long the training clips are
_SHORTEST, _LONGEST = 0.5, 10.0  # windows that are taken from the training clips
_BATCH = 8  # windows at a time, unless a run says otherwise


@dataclass(frozen=True)
class AnalyzeOptions:
    """How videos are analyzed.

    Args:
        window: length of a window in seconds; None is that of the training clips.
        stride: from the start of one window to the next, in seconds; None is half a window.
        every: each so many-th frame is looked at.
        min_face: smallest height of a face, in pixels of the video.
        max_faces: most faces in a frame, of which the largest are taken; None is all.
        smooth: seconds over which a track's probabilities are smoothed; 0 leaves them.
        detector: ``blazeface``, ``centerface``, or a file of weights.
        whole_frame: the model sees the whole frame and not the crop of the face, as with
            ``predict``; for videos that are crops already.

    Raises:
        InputError: a value that means nothing; names it.
    """

    window: float | None = None
    stride: float | None = None
    every: int = 1
    min_face: float = 0.0
    max_faces: int | None = None
    smooth: float = 0.0
    detector: str = "blazeface"
    whole_frame: bool = False

    def __post_init__(self) -> None:
        for name, value, least in (
            ("window", self.window, None), ("stride", self.stride, None), ("every", self.every, 1),
            ("max_faces", self.max_faces, 1), ("min_face", self.min_face, 0),
            ("smooth", self.smooth, 0),
        ):  # fmt: skip
            if value is None:
                continue
            low = value >= least if least is not None else value > 0
            if not (low and value < float("inf")):
                expected = "more than 0" if least is None else f"at least {least}"
                raise InputError(f"{name}: expected {expected}, got {value:g}")


class Analyzer:
    """Finds the faces in a video, follows each, and says what it shows, window by window.

    ```python
    analyzer = peclip_fast.Analyzer("runs/demo")
    result = analyzer.analyze("holiday.mp4")
    for track in result.tracks:
        print(track.track, track.start, track.end, track.probabilities)
    ```

    Args:
        run_or_model: the folder of a run, or a model.
        device: where the model computes, such as ``cuda``; a GPU if there is one, unless given.
        options: as AnalyzeOptions; its fields can be given by name, too.
        crop: how the model's training clips show a face; the run's, unless given.
        config: of the run, where options of it were changed.
        **changes: fields of AnalyzeOptions.

    Raises:
        InputError: the run or an option can't be used, or the extra ``faces`` isn't installed.
    """

    def __init__(
        self,
        run_or_model: str | Path | RunFolder | AdaptedCLIP,
        device: str | torch.device | None = None,
        options: AnalyzeOptions | None = None,
        *,
        crop: CropProfile | None = None,
        config: RunConfig | None = None,
        **changes: Any,
    ) -> None:
        self.options = _changed(options or AnalyzeOptions(), changes)
        finder = FaceFinder(
            open_detector(self.options.detector), self.options.min_face, self.options.max_faces
        )
        where: str | None = None
        if isinstance(run_or_model, AdaptedCLIP):
            data, self.batch = DataConfig(), _BATCH
            chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
            self.classifier = WindowClassifier(run_or_model, chosen)
        else:
            run = run_or_model if isinstance(run_or_model, RunFolder) else None
            run = run or RunFolder(Path(run_or_model))  # type: ignore[arg-type]
            run.check_trained()
            config = config or resolve(run.layers())
            where, data, self.batch = (
                str(run.path.absolute()),
                config.data,
                config.train.eval_batch_size,
            )
            self.classifier = classifier_of(run, config, device)
            crop = crop or crop_of_run(run, config, finder)
        self.model, self.finder = self.classifier.model, finder
        if "descriptions" in self.model.inputs:
            raise InputError("the model sees descriptions of clips; a video has none")
        self.crop = crop or USUAL
        self._where, self._data = where, data
        self._taken = self.recipe().taken()
        self._pushed: tuple[Session, Collector, WindowQueue] | None = None
        self._pushes = 0

    @property
    def classes(self) -> tuple[str, ...]:
        """What probabilities are of, in their order."""
        return tuple(self.model.classes)

    @property
    def windows(self) -> WindowOptions:
        """Length and stride of the windows."""
        options, usual = self.options, self.crop.seconds or _WINDOW
        seconds = options.window or round(min(max(usual, _SHORTEST), _LONGEST), 3)
        return WindowOptions(seconds, options.stride or seconds / 2, options.every)

    def about(self) -> dict[str, Any]:
        """What results depend on, for run.json."""
        options, windows = self.options, self.windows
        return {
            "model": {
                "run": self._where,
                "method": self.model.config.method,
                "backbone": self.model.config.backbone,
            },
            "crop": asdict(self.crop),
            "detector": self.finder.detector.weights.about(),
            "confirmed_by": FACEMESH.about(),
            "window": windows.seconds,
            "stride": windows.stride,
            "every": options.every,
            "min_face": options.min_face,
            "max_faces": options.max_faces,
            "smooth": options.smooth,
            "whole_frame": options.whole_frame,
        }

    def recipe(self) -> Recipe:
        """All but the model, for other processes."""
        options, model = self.options, self.model
        return Recipe(
            self._data,
            model.image_size,
            tuple(model.inputs),
            self.classes,
            None if options.whole_frame else self.crop,
            self.windows,
            options.smooth,
            options.detector,
            options.min_face,
            options.max_faces,
            self.batch,
            self.about(),
        )

    def session(self, rows: Rows, queue: Windows) -> Session:
        """A new video's state, for those who read frames themselves."""
        return Session(rows, queue, self.windows, self._taken, self.classes, self.options.smooth)

    def queue(self) -> WindowQueue:
        """A new queue of windows for the model."""
        return WindowQueue(self.classifier, self.batch)

    def analyze(
        self,
        source: str | Path | Iterable[tuple[Frame, float]],
        start: float | None = None,
        end: float | None = None,
    ) -> Analysis:
        """All that is found in one video.

        Args:
            source: a file's path, a URL, ``camera:0``, or frames uint8 RGB (H, W, 3) with their
                times in seconds, which ascend.
            start: first moment in seconds.
            end: end in seconds, exclusive.

        Raises:
            InputError: it can't be read; names it.
        """
        span = TimeSpan(start, end, self.options.every)
        found, queue = Collector(), self.queue()
        session = self.session(found, queue)
        about: dict[str, Any] = {}
        frames: Iterator[TimedFrame]
        if isinstance(source, (str, Path)):
            video = OpenVideo(VideoSource(str(source)), span)
            about, frames, name = video.about, iter(video), VideoSource(str(source)).place
        else:
            frames, name = _given(source, span), "frames"
        for looked in look_ahead(frames, self.finder):
            session.push(looked)
        return self._ended(session, found, queue, name, about)

    def push(self, frame: Frame, time: float) -> list[FaceRow]:
        """The next frame of a stream of one's own.

        Args:
            frame: uint8 RGB (H, W, 3).
            time: when it is shown, in seconds; more than before.

        Returns:
            a row for each face in it that is followed for certain, with what its last window
            showed. ``finish`` gives the rows of the whole stream, with the means over all windows.
        """
        if self._pushed is None:
            found, queue = Collector(), WindowQueue(self.classifier, 1)
            self._pushed, self._pushes = (self.session(found, queue), found, queue), 0
        session = self._pushed[0]
        number, self._pushes = self._pushes, self._pushes + 1
        if number % self.options.every:
            return []
        looked = look(self.finder, _timed(number, frame, time, session.time))
        placed = session.push(looked)
        return [
            FaceRow(
                number,
                time,
                track.person.number,
                looked.faces[k].face.corner,
                looked.faces[k].face.score,
                session.now(track),
            )
            for track, k in placed
            if track.person is not None
        ]

    def finish(self) -> Analysis:
        """Ends the stream of ``push``, and gives all that was found in it.

        Raises:
            InputError: nothing was pushed.
        """
        if self._pushed is None:
            raise InputError("finish: no frame was pushed")
        (session, found, queue), self._pushed = self._pushed, None
        return self._ended(session, found, queue, "frames", {})

    def _ended(
        self,
        session: Session,
        found: Collector,
        queue: WindowQueue,
        name: str,
        video: dict[str, Any],
    ) -> Analysis:
        session.end()
        queue.flush()
        session.finish()
        about = {**self.about(), "video": video, "versions": versions()}
        return Analysis(
            name,
            self.classes,
            found.frames,
            found.windows,
            sorted(found.tracks, key=lambda row: row.track),
            tuple(found.cuts),
            None,
            about,
        )


def classifier_of(
    run: RunFolder, config: RunConfig, device: str | torch.device | None = None
) -> WindowClassifier:
    """The trained model of a run, on the device of its configuration unless one is given."""
    chosen = set_up(config.train, World(0, 1, 0, 1)) if device is None else torch.device(device)
    model = from_pretrained(run.model, **asdict(config.model))
    train = config.train
    auto = train.eval_batch_size if train.compile == "auto" else None
    classifier = WindowClassifier(model, chosen, train.precision, auto)
    if train.compile is True:
        classifier.compile(train.eval_batch_size, config.data.frames)
    return classifier


def versions() -> dict[str, str]:
    """Of what results may depend on."""
    import av
    import onnxruntime

    return {
        "peclip_fast": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "av": av.__version__,
    }


def _changed(options: AnalyzeOptions, changes: dict[str, Any]) -> AnalyzeOptions:
    known = list(asdict(options))
    for name in changes:
        if name not in known:
            raise InputError(f"{name}: expected one of {', '.join(known)}")
    return replace(options, **changes)


def _given(frames: Iterable[tuple[Frame, float]], span: TimeSpan) -> Iterator[TimedFrame]:
    last = None
    for number, (image, time) in enumerate(frames):
        frame = _timed(number, image, time, last)
        last = time
        if span.end is not None and time >= span.end:
            return
        if number % span.every == 0 and time >= (span.start or 0.0):
            yield frame


def _timed(number: int, image: Frame, time: float, last: float | None) -> TimedFrame:
    """A frame of a caller's own, or InputError."""
    if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3):
        raise InputError(f"frame {number}: expected a uint8 array (height, width, 3)")
    if image.shape[2] != 3 or 0 in image.shape:
        raise InputError(f"frame {number}: expected (height, width, 3), got {image.shape}")
    if not (np.isfinite(time) and (last is None or time > last)):
        after = "" if last is None else f" after {last:g}"
        raise InputError(f"frame {number}: expected a time in seconds{after}, got {time:g}")
    return TimedFrame(number, float(time), image)
