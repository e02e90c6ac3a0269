"""The model on windows, batched over tracks and videos."""

from __future__ import annotations

import functools
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from threading import Condition, Thread
from time import monotonic, perf_counter

import torch

from peclip_fast.analyze.pipeline.windows import Window
from peclip_fast.analyze.results import Probabilities
from peclip_fast.engine.evaluation import DTYPES
from peclip_fast.engine.graphs import LEAST_SECONDS, MOST_SAVED, Choice, CompiledModel
from peclip_fast.models.adapted_clip import AdaptedCLIP

_PATIENCE = 5.0  # seconds that a window waits for others
_tell = functools.partial(print, file=sys.stderr, flush=True)
Deliver = Callable[[Window, Probabilities | None], None]


class WindowClassifier:
    """A model that says what windows show.

    Args:
        model: it is put into eval mode.
        device: where it computes.
        precision: in which; a key of DTYPES.
        auto: windows of a batch that is compiled once all those of its size have taken so long
            that it would have paid: how many are to come, nobody knows.
    """

    def __init__(
        self,
        model: AdaptedCLIP,
        device: torch.device,
        precision: str = "fp32",
        auto: int | None = None,
    ) -> None:
        self.model, self.device, self._dtype = model.to(device).eval(), device, DTYPES[precision]
        self._classes: torch.Tensor | None = None
        self._compiled: dict[int, CompiledModel] = {}
        self._auto, self._taken, self._seconds = auto, 0, 0.0

    def classify(self, windows: Sequence[Window]) -> list[Probabilities]:
        """The probabilities of each window, in the order of the model's classes."""
        return self.probabilities([window.given for window in windows])

    @torch.no_grad()
    def probabilities(self, clips: Sequence[Mapping[str, torch.Tensor]]) -> list[Probabilities]:
        """The same of clips, each as what the model sees of it, uint8 (T, 3, side, side)."""
        began = perf_counter()
        inputs = self._inputs(clips)
        run = self._compiled.get(len(clips), self.model)
        with self._autocast():
            logits = run(**inputs)
        found = [tuple(row) for row in logits.float().softmax(1).double().cpu().tolist()]
        if len(clips) == self._auto:
            self._taken += 1
            self._seconds += perf_counter() - began
            if MOST_SAVED * self._seconds > LEAST_SECONDS:
                self._auto = None
                # Twice as many, as this one may be taken in less time than the others.
                self._settle("auto", inputs, 2 * self._taken)
        return found

    def compile(self, clips: int, frames: int) -> None:
        """Have batches of so many clips, of so many frames, run through torch.compile.

        Raises:
            InputError: the model can't be compiled.
        """
        side = self.model.image_size
        shape = (frames, 3, side, side)
        clip = {name: torch.zeros(shape, dtype=torch.uint8) for name in self.model.inputs}
        self._settle(True, self._inputs([clip] * clips), 0)

    @torch.no_grad()
    def _settle(self, choice: Choice, inputs: dict[str, torch.Tensor], steps: int) -> None:
        size, model = len(inputs[self.model.inputs[0]]), CompiledModel(self.model.forward)
        with self._autocast():
            model.settle(choice, functools.partial(model, **inputs), steps, _tell)
        self._compiled[size] = model

    @torch.no_grad()
    def _inputs(self, clips: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        if self._classes is None:
            with self._autocast():
                self._classes = self.model.class_features()
        stacked = {
            name: torch.stack([given[name] for given in clips]).to(self.device)
            for name in self.model.inputs
        }
        return {**stacked, "class_features": self._classes}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self._dtype, enabled=self._dtype != torch.float32)


class WindowQueue:
    """Windows that wait for a batch to be full.

    Args:
        classifier: says what they show.
        batch: windows at a time.
    """

    def __init__(self, classifier: WindowClassifier, batch: int) -> None:
        self._classifier, self._batch = classifier, batch
        self._waiting: list[tuple[Window, Deliver]] = []
        self._since = 0.0  # when the first of them came

    def put(self, window: Window, deliver: Deliver) -> None:
        """Add a window, whose probabilities ``deliver`` gets sooner or later."""
        self._since = self._since if self._waiting else monotonic()
        self._waiting.append((window, deliver))
        if len(self._waiting) >= self._batch:
            self.flush()

    def poll(self) -> None:
        """Classify what has waited for too long, so that its rows are written."""
        if self._waiting and monotonic() > self._since + _PATIENCE:
            self.flush()

    def flush(self) -> None:
        """Classify all that waits."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            found = self._classifier.classify([window for window, _ in waiting])
            for (window, deliver), probabilities in zip(waiting, found, strict=True):
                deliver(window, probabilities)


class LiveQueue:
    """Windows of a camera: classified in a thread, the oldest one dropped rather than to lag.

    ``deliver`` is called by ``poll`` and ``flush``, with None for a window that was dropped.

    Args:
        classifier: says what they show.
        most: windows that may wait.
    """

    def __init__(self, classifier: WindowClassifier, most: int) -> None:
        self._classifier, self._most = classifier, most
        self._waiting: deque[tuple[Window, Deliver]] = deque()
        self._done: deque[tuple[Window, Deliver, Probabilities | None]] = deque()
        self._changed = Condition()
        self._busy = self._closed = False
        self._error: BaseException | None = None
        self.dropped = 0
        Thread(target=self._work, name="windows", daemon=True).start()

    def put(self, window: Window, deliver: Deliver) -> None:
        """Add a window; the oldest that waits goes where there are too many."""
        with self._changed:
            self._waiting.append((window, deliver))
            while len(self._waiting) > self._most:
                self._done.append((*self._waiting.popleft(), None))
                self.dropped += 1
            self._changed.notify_all()

    def poll(self) -> None:
        """Deliver what is ready."""
        if self._error is not None:
            raise self._error
        while self._done:
            window, deliver, probabilities = self._done.popleft()
            deliver(window, probabilities)

    def flush(self) -> None:
        """Wait for all, and deliver them."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._waiting or self._busy) or self._error)
        self.poll()

    def close(self) -> None:
        """End the thread; what waits is left."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                taken = [*self._waiting]
                self._waiting.clear()
                self._busy = True
            try:
                found = self._classifier.classify([window for window, _ in taken])
            except BaseException as error:  # raised where poll() is called
                with self._changed:
                    self._error, self._busy = error, False
                    self._changed.notify_all()
                return
            for (window, deliver), probabilities in zip(taken, found, strict=True):
                self._done.append((window, deliver, probabilities))
