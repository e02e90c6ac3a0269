"""Who does the work: this process, or actors of Ray on one machine or many."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from peclip_fast.analyze.analyzer import classifier_of
from peclip_fast.analyze.pipeline.classify import WindowClassifier
from peclip_fast.analyze.results import Probabilities
from peclip_fast.archive.listing import EXTRA
from peclip_fast.archive.queue import Answer, Stacked
from peclip_fast.archive.work import (
    AtOnce,
    InThread,
    Order,
    VideoEnd,
    VideoTask,
    VideoWorker,
    classify,
)
from peclip_fast.config.run import RunConfig
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError, one_line

ATTEMPTS = 3  # of a video whose process dies
PATIENCE = 10.0  # seconds without an end of a video, after which it is asked whether all is there
ANSWER = 10.0  # seconds that a model may take for it
_LOST = 10  # videos in a row whose processes die, after which it makes no sense to go on
_SHARE = 0.01  # of a core: what a worker with a GPU asks of Ray, as it waits for the GPU


class Engine(Protocol):
    """Takes tasks, and gives back what became of them in any order."""

    slots: int
    """Tasks that may be on their way."""

    def submit(self, task: VideoTask) -> None:
        """Begin one."""

    def take(self) -> VideoEnd:
        """Wait for the next one that ends."""

    def close(self) -> None:
        """End all work."""


class LocalEngine:
    """This process, one video after the other.

    Args:
        order: what is asked for of each video.
        classifier: has the model.
    """

    slots = 1

    def __init__(self, order: Order, classifier: WindowClassifier) -> None:
        self._worker = VideoWorker(order, InThread(classifier))
        self._given: deque[VideoTask] = deque()

    def submit(self, task: VideoTask) -> None:
        """As of Engine."""
        self._given.append(task)

    def take(self) -> VideoEnd:
        """As of Engine."""
        task = self._given.popleft()
        try:
            return self._worker.analyze(task)
        except OSError:  # results can't be written
            raise
        except Exception as error:
            return _unforeseen(task, error)

    def close(self) -> None:
        """As of Engine."""


@dataclass(frozen=True)
class Cluster:
    """What of Ray's cluster is used.

    Args:
        workers: processes that have the model.
        decoders: processes that decode videos and find faces for them; with 0 each worker does that
            itself, on one core.
        gpus: that each worker takes, such as 0.5; 0 is none.
        address: of a cluster that runs, such as ``auto``; None starts one on this machine.

    Raises:
        InputError: a number that means nothing.
    """

    workers: int = 1
    decoders: int = 0
    gpus: float = 0.0
    address: str | None = None

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InputError(f"--workers {self.workers}: expected at least 1")
        if self.decoders < 0:
            raise InputError(f"--decoders {self.decoders}: expected at least 0")
        if not 0 <= self.gpus < float("inf") or (self.gpus > 1 and self.gpus % 1):
            raise InputError(f"--gpus {self.gpus:g}: expected 0, a share of a GPU, or a number")


class RayEngine:
    """Actors of Ray. One that dies is started again, and so is the video that it was at.

    Args:
        order: what is asked for of each video.
        run: whose model it is; all machines must see its folder.
        config: of the run.
        cluster: what is used.

    Raises:
        InputError: Ray isn't installed, or there is no such cluster, or it has too little.
    """

    def __init__(self, order: Order, run: RunFolder, config: RunConfig, cluster: Cluster) -> None:
        self._cluster, self._ray = cluster, _started(cluster)
        ray = self._ray
        try:
            _check_room(ray, cluster)
        except InputError:
            ray.shutdown()
            raise
        # Ray prints what it thinks of dead workers; standard output is for results.
        self._aside = contextlib.redirect_stdout(sys.stderr)
        self._aside.__enter__()
        alone = cluster.decoders == 0
        cores = 1 if alone or not cluster.gpus else _SHARE
        if alone:
            worker = ray.remote(_Whole).options(num_cpus=cores, num_gpus=cluster.gpus)
            self._make = lambda: _Hand(worker.remote(run, config, order))
        else:
            # Ray starts them again by itself, and asks them again: they only answer.
            model = ray.remote(_Model).options(
                num_cpus=cores, num_gpus=cluster.gpus, max_restarts=-1, max_task_retries=-1
            )
            models = [model.remote(run, config) for _ in range(cluster.workers)]
            in_turn, decoder = itertools.cycle(models), ray.remote(_Decoder).options(num_cpus=1)

            def make() -> _Hand:
                model = next(in_turn)
                return _Hand(decoder.remote(order, model), model)

            self._make = make
        self._free = [self._make() for _ in range(cluster.decoders or cluster.workers)]
        self.slots = len(self._free)
        self._running: dict[Any, tuple[_Hand, VideoTask, int]] = {}
        self._lost = 0  # videos in a row

    def submit(self, task: VideoTask) -> None:
        """As of Engine."""
        self._begin(self._free.pop(), task, 1)

    def _begin(self, hand: _Hand, task: VideoTask, attempt: int) -> None:
        self._running[hand.actor.analyze.remote(task)] = hand, task, attempt

    def take(self) -> VideoEnd:
        """As of Engine.

        Raises:
            InputError: the cluster has gone.
        """
        errors = self._ray.exceptions
        while True:
            ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=PATIENCE)
            if not ready:
                self._check_machines()
                continue
            ref = ready[0]
            hand, task, attempt = self._running.pop(ref)
            try:
                ended: VideoEnd | None = self._ray.get(ref)
            except errors.RayTaskError as error:
                cause = error.cause
                if isinstance(cause, OSError):  # results can't be written: no other will do better
                    raise cause from None
                if isinstance(cause, errors.RayError):  # what it needed has died
                    ended = self._again(hand, task, attempt)
                else:
                    ended = _unforeseen(task, cause)
                    self._free.append(hand)
            except errors.RayActorError as error:
                if error.actor_init_failed:
                    raise InputError(f"Ray: a worker can't start: {one_line(error)}") from None
                ended = self._again(hand, task, attempt)
            except errors.RayError as error:
                raise InputError(f"Ray: {one_line(error)}; the same command goes on") from None
            else:
                self._lost = 0
                self._free.append(hand)
            if ended is not None:
                return ended

    def _check_machines(self) -> None:
        """Raise InputError if all that is on its way waits for machines that have gone."""
        try:
            _check_room(self._ray, self._cluster)
            return
        except InputError as error:
            lost = error
        if not any(hand.answers(self._ray) for hand, _, _ in self._running.values()):
            raise InputError(f"Ray has lost machines: {lost}; the same command goes on")

    def _again(self, hand: _Hand, task: VideoTask, attempt: int) -> VideoEnd | None:
        """Try it once more, unless it has had its attempts."""
        self._ray.kill(hand.actor)  # it may only have been out of reach
        hand = self._make()
        if attempt < ATTEMPTS:
            self._begin(hand, task, attempt + 1)
            return None
        self._free.append(hand)
        died = f"{task.source}: the process that read it died {ATTEMPTS} times"
        self._lost += 1
        if self._lost == _LOST:  # that isn't the videos' fault
            raise InputError(f"Ray: {_LOST} videos in a row, the last of them {died}")
        return VideoEnd(task.number, died)

    def close(self) -> None:
        """As of Engine."""
        self._ray.shutdown()
        self._aside.__exit__(None, None, None)


def _unforeseen(task: VideoTask, error: Exception) -> VideoEnd:
    """Of a video at which something fails that nobody has thought of: it stops no other."""
    kind = type(error).__name__
    return VideoEnd(task.number, f"{task.source}: {kind}: {one_line(error)}")


class _Hand:
    """An actor that analyzes videos.

    Args:
        actor: itself.
        model: another one, which has the model; None where it has its own.
    """

    def __init__(self, actor: Any, model: Any = None) -> None:
        self.actor, self._model = actor, model
        self._ready = actor.__ray_ready__.remote()

    def answers(self, ray: Any) -> bool:
        """Whether it and its model are on machines that are there."""
        asked = [self._ready]
        if self._model is not None:  # which Ray may be starting again by itself
            asked.append(self._model.__ray_ready__.remote())
        ready, _ = ray.wait(asked, num_returns=len(asked), timeout=ANSWER)
        return len(ready) == len(asked)


def _started(cluster: Cluster) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise InputError(f"--engine ray: Ray isn't installed: {EXTRA}") from None
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if cluster.address is None:
        cores = max(cluster.workers + cluster.decoders, len(os.sched_getaffinity(0)))
        options |= {"include_dashboard": False, "num_cpus": cores}
        # Ray's own is 15: beside any other work its workers would hardly run.
        os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        with _own_signals():
            # Not None, by which Ray would take any cluster that it finds.
            ray.init(cluster.address or "local", **options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        where = "starting Ray" if cluster.address is None else f"--address {cluster.address}"
        raise InputError(f"{where}: {one_line(error)}") from None
    return ray


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Take back what Ray makes of signals: at SIGTERM it would abort."""
    if threading.current_thread() is not threading.main_thread():  # where it leaves them
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not None:  # not set from Python, and not to be set from there
                signal.signal(number, handler)


def _check_room(ray: Any, cluster: Cluster) -> None:
    """Raise InputError where actors would wait for ever for what no machine has."""
    has = ray.cluster_resources()
    gpus, cores = has.get("GPU", 0.0), has.get("CPU", 0.0)
    if cluster.workers * cluster.gpus > gpus + 1e-6:
        raise InputError(
            f"--workers {cluster.workers} --gpus {cluster.gpus:g}: the cluster has {gpus:g} GPUs"
        )
    needs = cluster.decoders + (0 if cluster.gpus and cluster.decoders else cluster.workers)
    if needs > cores:
        raise InputError(
            f"--workers {cluster.workers} --decoders {cluster.decoders}: the cluster has {cores:g} "
            "cores"
        )


class _Model:
    """An actor that has the model."""

    def __init__(self, run: RunFolder, config: RunConfig) -> None:
        self._classifier = classifier_of(run, config)

    def classify(self, stacked: Stacked) -> list[Probabilities]:
        return classify(self._classifier, stacked)


class _Decoder:
    """An actor that decodes videos for the model of another."""

    def __init__(self, order: Order, model: Any) -> None:
        def ask(stacked: Stacked) -> Answer:
            answer: Answer = model.classify.remote(stacked).future()
            return answer

        self._worker = VideoWorker(order, ask, alone=True)

    def analyze(self, task: VideoTask) -> VideoEnd:
        return self._worker.analyze(task)


class _Whole:
    """An actor that does both."""

    def __init__(self, run: RunFolder, config: RunConfig, order: Order) -> None:
        classifier = classifier_of(run, config)
        on_gpu = classifier.device.type != "cpu"
        ask = (InThread if on_gpu else AtOnce)(classifier)
        self._worker = VideoWorker(order, ask, alone=not on_gpu)

    def analyze(self, task: VideoTask) -> VideoEnd:
        return self._worker.analyze(task)
