"""Many sources, one after the other, whose windows share batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from peclip_fast.analyze.analyzer import Analyzer
from peclip_fast.analyze.conclude import conclude
from peclip_fast.analyze.live import NewestFrames, SpokenRows
from peclip_fast.analyze.outputs.make import clear_outputs
from peclip_fast.analyze.pipeline.classify import LiveQueue
from peclip_fast.analyze.pipeline.looking import look_ahead
from peclip_fast.analyze.pipeline.session import Session, Windows
from peclip_fast.analyze.pipeline.sources import OpenVideo, TimeSpan, VideoSource, folder_names
from peclip_fast.analyze.speech import find_speech
from peclip_fast.analyze.tables import TableWriter, check_same, finished
from peclip_fast.errors import InputError
from peclip_fast.stopping import Stopped

_MOST_WAITING = 4  # windows of a camera


@dataclass
class Outcome:
    """What became of one source.

    Args:
        source: which.
        folder: its results.
        people: who were followed, or None where ``error`` says why there is none.
        frames: that were looked at.
        faces: rows of frames.csv with a face.
        error: why it was skipped.
        kept: the results were there already.
        notes: what else a user should know.
    """

    source: VideoSource
    folder: Path
    people: int | None = None
    frames: int = 0
    faces: int = 0
    error: str | None = None
    kept: bool = False
    notes: list[str] = field(default_factory=list)


@dataclass
class _Job:
    """A source that is not finished."""

    outcome: Outcome
    tables: TableWriter
    session: Session
    about: dict[str, Any]


Finish = Callable[[Path], object]


class Batch:
    """Analyzes sources into folders.

    Args:
        analyzer: the model and options.
        output: gets a folder for each source.
        span: which part of each source.
        finish: is called with each folder whose tables are whole, those of before too.
        speech: whether to find when somebody speaks.
        tell: gets a camera's lines.
    """

    def __init__(
        self,
        analyzer: Analyzer,
        output: Path,
        span: TimeSpan,
        finish: Finish = lambda folder: None,
        speech: bool = False,
        tell: Callable[[str], None] = print,
    ) -> None:
        self._analyzer, self._output, self._span = analyzer, output, span
        self._finish, self._speech, self._tell = finish, speech, tell
        self._queue = analyzer.queue()
        self._open: list[_Job] = []

    def run(self, sources: Sequence[VideoSource]) -> list[Outcome]:
        """What became of each source; those that were finished before are left as they are.

        Raises:
            InputError: a folder holds results of something else.
            OSError: results can't be written.
        """
        names = folder_names(sources)
        outcomes = [Outcome(source, self._output / names[source.place]) for source in sources]
        for outcome in outcomes:
            self._keep(outcome)
        for number, outcome in enumerate(outcomes, 1):
            if outcome.kept:
                continue
            title = f"{outcome.source.stem[:24]} {number}/{len(outcomes)}"
            try:
                self._analyze(outcome, title)
            except InputError as error:
                outcome.error = str(error)
            self._complete()
        self._queue.flush()
        self._complete()
        return outcomes

    def _asked(self, source: VideoSource) -> dict[str, Any]:
        """What results of a source depend on."""
        span = self._span
        return {
            "source": source.place,
            "stamp": source.stamp(),
            "from": span.start,
            "to": span.end,
            "speech_asked": self._speech,
            **self._analyzer.about(),
        }

    def _keep(self, outcome: Outcome) -> None:
        about = finished(outcome.folder)
        if about is None or not outcome.source.is_file:
            return
        try:
            asked = self._asked(outcome.source)
        except InputError as error:
            outcome.kept, outcome.error = True, str(error)
            return
        if about.get("source") == asked["source"] and about.get("stamp") != asked["stamp"]:
            return  # another video than then
        check_same(outcome.folder, about, asked)
        outcome.kept = True
        outcome.people, outcome.faces = about["people"], about["faces"]
        outcome.frames = about["frames_analyzed"]
        self._made(outcome)

    def _analyze(self, outcome: Outcome, title: str) -> None:
        source = outcome.source
        about = self._asked(source)
        with closing(OpenVideo(source, self._span)) as video:
            speech = find_speech(Path(source.place)) if self._finds_speech(source) else None
            clear_outputs(outcome.folder)
            tables = TableWriter(outcome.folder, self._analyzer.classes, speech)
            if source.is_live:
                self._live(outcome, video, tables, about)
                return
            job = self._job(outcome, tables, self._queue, about)
            try:
                frames = tqdm(video, title, total=video.total, unit="frame", disable=None,
                              leave=False, dynamic_ncols=True)  # fmt: skip
                for looked in look_ahead(frames, self._analyzer.finder):
                    job.session.push(looked)
                    self._complete()
            except BaseException:
                job.session.abandon()
                tables.close()
                raise
            job.session.end()
            about["video"] = video.about
            self._open.append(job)

    def _finds_speech(self, source: VideoSource) -> bool:
        if self._speech and not source.is_file:
            raise InputError(f"--speech: {source.name} is no file, whose sound could be read first")
        return self._speech

    def _live(
        self, outcome: Outcome, video: OpenVideo, tables: TableWriter, about: dict[str, Any]
    ) -> None:
        """Until the source ends, or Ctrl-C, after which all rows are written, too."""
        queue = LiveQueue(self._analyzer.classifier, _MOST_WAITING)
        job = self._job(outcome, tables, queue, about, spoken=True)
        newest = NewestFrames(video)
        try:
            try:
                for looked in look_ahead(newest, self._analyzer.finder):
                    job.session.push(looked)
            finally:
                newest.close()
        except Stopped as stopped:
            self._end_live(job, video, queue, newest)
            raise Stopped(stopped.number, f"all until then is in {outcome.folder}") from None
        self._end_live(job, video, queue, newest)

    def _end_live(
        self, job: _Job, video: OpenVideo, queue: LiveQueue, newest: NewestFrames
    ) -> None:
        job.session.end()
        queue.flush()
        queue.close()
        job.about |= {
            "video": video.about,
            "dropped_windows": queue.dropped,
            "dropped_frames": newest.left_out,
        }
        if queue.dropped or newest.left_out:
            job.outcome.notes.append(
                f"dropped {queue.dropped} windows and {newest.left_out} frames to keep up"
            )
        self._written(job)

    def _job(
        self,
        outcome: Outcome,
        tables: TableWriter,
        queue: Windows,
        about: dict[str, Any],
        spoken: bool = False,
    ) -> _Job:
        rows = SpokenRows(tables, tables.classes, self._tell) if spoken else tables
        return _Job(outcome, tables, self._analyzer.session(rows, queue), about)

    def _complete(self) -> None:
        """Finish the sources of which no window is on its way."""
        for job in [job for job in self._open if not job.session.pending]:
            self._open.remove(job)
            self._written(job)

    def _written(self, job: _Job) -> None:
        outcome, tables = job.outcome, job.tables
        conclude(job.session, tables, job.about, outcome.notes)
        outcome.people, outcome.frames = tables.people, job.session.frames
        outcome.faces = tables.faces
        self._made(outcome)

    def _made(self, outcome: Outcome) -> None:
        try:
            self._finish(outcome.folder)
        except InputError as error:  # the tables stay
            outcome.error = str(error)
