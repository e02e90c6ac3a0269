"""A camera: the newest frames, and a line for each window."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from threading import Condition, Thread

from peclip_fast.analyze.pipeline.sources import OpenVideo, TimedFrame
from peclip_fast.analyze.results import FaceRow, TrackRow, WindowRow, top_class
from peclip_fast.analyze.tables import TableWriter

_WAITING = 4  # frames; where more come, the oldest ones are left out


class NewestFrames:
    """The frames of a live source, read in a thread; those that nobody took in time are left out.

    Args:
        video: the source.
    """

    def __init__(self, video: OpenVideo) -> None:
        self._video = video
        self._frames: deque[TimedFrame] = deque()
        self._changed = Condition()
        self._ended = self._closed = False
        self._error: BaseException | None = None
        self.left_out = 0
        self._thread = Thread(target=self._read, name="camera", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[TimedFrame]:
        while True:
            with self._changed:
                # In short waits, as the thread that waits is the one that hears Ctrl-C.
                while not (self._frames or self._ended):
                    self._changed.wait(0.2)
                if not self._frames:
                    break
                frame = self._frames.popleft()
            yield frame
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Ends the reading, once the frame that is being read has come."""
        self._closed = True
        self._thread.join(timeout=10)

    def _read(self) -> None:
        try:
            for frame in self._video:
                with self._changed:
                    self._frames.append(frame)
                    while len(self._frames) > _WAITING:
                        self._frames.popleft()
                        self.left_out += 1
                    self._changed.notify_all()
                if self._closed:
                    break
            self._video.close()
        except BaseException as error:  # raised where the frames are taken
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class SpokenRows:
    """Writes tables, and tells each window as it comes; ``Rows`` of a session.

    Args:
        tables: what writes them.
        classes: of the model.
        tell: gets a line.
    """

    def __init__(
        self, tables: TableWriter, classes: Sequence[str], tell: Callable[[str], None]
    ) -> None:
        self._tables, self._classes, self._tell = tables, tuple(classes), tell

    def frame(self, row: FaceRow) -> None:
        """As of Rows."""
        self._tables.frame(row)

    def window(self, row: WindowRow) -> None:
        """As of Rows."""
        self._tables.window(row)
        best = top_class(self._classes, row.probabilities)
        self._tell(f"{row.end:8.1f} s  face {row.track}  {best} {max(row.probabilities):.0%}")

    def track(self, row: TrackRow) -> None:
        """As of Rows."""
        self._tables.track(row)

    def cut(self, time: float) -> None:
        """As of Rows."""
        self._tables.cut(time)
