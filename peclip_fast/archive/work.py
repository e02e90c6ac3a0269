"""What a worker does: one video after the other, each into its own folder."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peclip_fast.analyze.conclude import conclude
from peclip_fast.analyze.outputs.make import Wanted, clear_outputs, make_outputs
from peclip_fast.analyze.pipeline.classify import WindowClassifier
from peclip_fast.analyze.pipeline.looking import look_ahead
from peclip_fast.analyze.pipeline.session import Session
from peclip_fast.analyze.pipeline.sources import OpenVideo, TimeSpan, VideoSource
from peclip_fast.analyze.recipe import Recipe
from peclip_fast.analyze.results import Probabilities
from peclip_fast.analyze.speech import find_speech
from peclip_fast.analyze.tables import TableWriter
from peclip_fast.archive.fetching import fetched, stamp_of
from peclip_fast.archive.queue import Answer, Stacked, VideoQueue
from peclip_fast.errors import InputError


@dataclass(frozen=True)
class VideoTask:
    """A video to analyze.

    Args:
        number: in the account.
        source: its path or URL.
        folder: of its results.
    """

    number: int
    source: str
    folder: str


@dataclass(frozen=True)
class VideoEnd:
    """What became of a task.

    Args:
        number: in the account.
        error: why there is no result; None where there is one.
        people: who were followed.
        frames: that were looked at.
        faces: rows of frames.csv with a face.
        stamp: of the file as it was; None for what is no file.
    """

    number: int
    error: str | None = None
    people: int = 0
    frames: int = 0
    faces: int = 0
    stamp: str | None = None


@dataclass(frozen=True)
class Order:
    """What is asked for of every video.

    Args:
        recipe: how the model's input is made.
        span: which part of a video.
        speech: whether to find when somebody speaks.
        wanted: pictures, pages and other files for each video; None is the tables alone.
    """

    recipe: Recipe
    span: TimeSpan
    speech: bool
    wanted: Wanted | None

    @property
    def about(self) -> dict[str, Any]:
        """What all results depend on."""
        span = {"from": self.span.start, "to": self.span.end, "speech_asked": self.speech}
        return {**span, **self.recipe.about}


class VideoWorker:
    """Analyzes videos.

    Args:
        order: how.
        classify: begins to classify a batch of windows.
        alone: whether all is done in the caller's thread, on one core.
    """

    def __init__(
        self, order: Order, classify: Callable[[Stacked], Answer], alone: bool = False
    ) -> None:
        self._order, self._classify, self._alone = order, classify, alone
        self._finder = order.recipe.finder()

    def analyze(self, task: VideoTask) -> VideoEnd:
        """Fill the folder of a task.

        Raises:
            OSError: results can't be written.
        """
        source = file = VideoSource(task.source)
        try:
            with fetched(source) as file:
                return self._analyzed(task, source, file)
        except InputError as error:
            return VideoEnd(task.number, str(error).replace(file.name, source.name))

    def _analyzed(self, task: VideoTask, source: VideoSource, file: VideoSource) -> VideoEnd:
        order, recipe, folder = self._order, self._order.recipe, Path(task.folder)
        stamp = stamp_of(source.name)
        about = {"source": source.place, "stamp": source.stamp(), **order.about}
        with closing(OpenVideo(file, order.span, threads=int(self._alone))) as video:
            speech = find_speech(Path(file.name)) if order.speech else None
            clear_outputs(folder)
            tables = TableWriter(folder, recipe.classes, speech)
            queue = VideoQueue(self._classify, recipe.batch)
            session = Session(
                tables, queue, recipe.windows, recipe.taken(), recipe.classes, recipe.smooth
            )
            try:
                for looked in look_ahead(video, self._finder, 0 if self._alone else None):
                    session.push(looked)
                session.end()
                queue.flush()
            except BaseException:
                session.abandon()
                tables.close()
                raise
            conclude(session, tables, {**about, "video": video.about}, [])
        if order.wanted is not None:
            make_outputs(folder, order.wanted)
        return VideoEnd(task.number, None, tables.people, session.frames, tables.faces, stamp)


class AtOnce:
    """A model of this process, which classifies a batch while nothing else is done.

    Args:
        classifier: has the model.
    """

    def __init__(self, classifier: WindowClassifier) -> None:
        self._classifier = classifier

    def __call__(self, stacked: Stacked) -> Future[list[Probabilities]]:
        answer: Future[list[Probabilities]] = Future()
        answer.set_result(classify(self._classifier, stacked))
        return answer


class InThread:
    """A model of this process, which classifies a batch while frames are looked at.

    Args:
        classifier: has the model.
    """

    def __init__(self, classifier: WindowClassifier) -> None:
        self._classifier = classifier
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    def __call__(self, stacked: Stacked) -> Future[list[Probabilities]]:
        return self._thread.submit(classify, self._classifier, stacked)


def classify(classifier: WindowClassifier, stacked: Stacked) -> list[Probabilities]:
    """The probabilities of each window of a batch."""
    # Copied, as what comes from another process can't be written to.
    batch = {name: torch.from_numpy(np.array(images)) for name, images in stacked.items()}
    count = len(next(iter(batch.values())))
    return classifier.probabilities(
        [{name: images[k] for name, images in batch.items()} for k in range(count)]
    )
