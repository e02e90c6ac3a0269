"""The process in which a kernel is checked: ``python -m peclip_fast.ops.verdicts.child``.

It gets a Task on standard input and answers in lines of JSON on the descriptor that it is given.
Whatever happens to it, its parent goes on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import json
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peclip_fast.errors import InputError, one_line
from peclip_fast.json_files import parse_json
from peclip_fast.registry import load_plugins

REFUSED = "refused"  # a call, by the backend itself: no fault, but it isn't taken for it


@dataclass(frozen=True)
class Origin:
    """Where a kernel is declared."""

    module: str
    file: str | None


@dataclass(frozen=True)
class Task:
    """What a child does.

    Args:
        what: ``prove`` one backend, ``race`` several that are proven, or ``module:function`` that
            takes the first of the calls, the device and a function to tell answers.
        calls: of one operator, as verdict.OperatorCall.
        backends: of the operator.
        origins: of kernels that aren't ours.
        device: as PyTorch has it.
        path: of imports.
        threads: of PyTorch on the CPU.
        seconds: of a race, for each direction.
        compiled: for each call whether its race has torch.compile in it.
        least_memory: in bytes, that have to be free on a GPU.
        alarm: in seconds, after which the system ends the process should its parent be gone.
    """

    what: str
    calls: list[dict[str, Any]]
    backends: list[str]
    origins: list[Origin]
    device: str
    path: list[str]
    threads: int
    seconds: float = 0.5
    compiled: list[bool] = field(default_factory=list)
    least_memory: int = 0
    alarm: int = 3600


def main() -> None:
    """Do the task that comes on standard input."""
    answers = int(sys.argv[1])
    task = parse_json(sys.stdin.buffer.read(), "the task", Task)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(task.alarm)
    sys.path[:] = task.path

    def tell(**answer: Any) -> None:
        os.write(answers, json.dumps(answer).encode() + b"\n")

    tell(at="importing what declares it")
    said = _load(task)
    if said is not None:
        tell(state="unknown", reason=said)
        return
    import torch

    torch.set_num_threads(task.threads)
    device = torch.device(task.device)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if free < task.least_memory:
            tell(state="unknown", reason=f"only {free / 2**30:.1f} GiB of its memory are free")
            return
    try:
        _WHAT.get(task.what, _run)(task, device, tell)
    except torch.OutOfMemoryError as error:
        tell(state="unknown", reason=one_line(error)[:200])
    else:
        tell(state="done")


def _load(task: Task) -> str | None:
    """Import our operators and what declares the backends; why that isn't possible."""
    from peclip_fast.ops.declared import kernels_of

    importlib.import_module("peclip_fast.ops")
    try:
        load_plugins()
        for origin in task.origins:
            _import(origin)
    except BaseException as error:  # a module's own sys.exit() too
        return f"what declares it can't be imported in its own process: {one_line(error)[:200]}"
    op = str(task.calls[0].get("op"))
    for backend in task.backends:
        known = backend in ("reference", "torch.compile") or backend in kernels_of(op)
        if not known:
            return (
                f"its own process has no {backend} kernel of {op}: it has to be declared where "
                "a module is imported"
            )
    return None


def _import(origin: Origin) -> None:
    if origin.module in sys.modules:
        return
    with contextlib.suppress(ImportError, ValueError):
        if origin.module != "__main__":
            importlib.import_module(origin.module)
            return
    if origin.file is None:
        raise ImportError(f"{origin.module} is in no file")
    name = "__checked__" if origin.module == "__main__" else origin.module
    spec = importlib.util.spec_from_file_location(name, Path(origin.file))
    if spec is None or spec.loader is None:
        raise ImportError(f"{origin.file} is no module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def _prove(task: Task, device: Any, tell: Any) -> None:
    from peclip_fast.ops.verdicts.operands import forget
    from peclip_fast.ops.verdicts.proof import WrongError, prove
    from peclip_fast.ops.verdicts.verdict import OperatorCall

    (backend,) = task.backends
    for number, entry in enumerate(task.calls):
        call = OperatorCall(**entry)
        tell(call=number)
        state, reason = "passed", ""
        try:
            prove(call, backend, device, lambda what: tell(at=what))
        except WrongError as error:
            state, reason = "failed", str(error)
        except InputError as error:
            state, reason = REFUSED, f"it doesn't run this call: {error}"
        except Exception as error:
            if "OutOfMemory" in type(error).__name__:
                raise
            state, reason = "failed", f"{type(error).__name__}: {one_line(error)[:300]}"
        tell(verdict=number, state=state, reason=reason)
        forget()
        if state == "failed":  # what it has done to this process isn't known
            return


def _race(task: Task, device: Any, tell: Any) -> None:
    from peclip_fast.ops.verdicts.race import race
    from peclip_fast.ops.verdicts.verdict import COMPILED, OperatorCall

    for number, entry in enumerate(task.calls):
        tell(call=number)
        backends = [*task.backends, *([COMPILED] if task.compiled[number] else [])]
        times = race(
            OperatorCall(**entry), backends, device, task.seconds, lambda what: tell(at=what),
            lambda name: tell(turn=name),
        )  # fmt: skip
        tell(times=number, found=times)


def _run(task: Task, device: Any, tell: Any) -> None:
    module, _, function = task.what.partition(":")
    getattr(importlib.import_module(module), function)(task.calls[0], device, tell)


_WHAT = {"prove": _prove, "race": _race}


def as_json(task: Task) -> bytes:
    """What main() reads."""
    return json.dumps(dataclasses.asdict(task)).encode()


if __name__ == "__main__":
    main()
