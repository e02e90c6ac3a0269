"""Losses and gradients that are no numbers: their step isn't taken, and it is said whose they are.

Nothing waits for a GPU. There the optimizer itself leaves the step out: it is handed the flag as
PyTorch's GradScaler does it. The flag is read one step later.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.utils import get_total_norm

from peclip_fast.config.train import TrainConfig
from peclip_fast.data.records import ClipRecord
from peclip_fast.engine.distributed import gather
from peclip_fast.errors import SharedError

IN_A_ROW = 20  # steps that are left out before nothing is expected of the next one either
NAMED = 32  # clips, at most


class _Batch(NamedTuple):
    loss: Tensor
    clips: list[int]


class _Step(NamedTuple):
    flag: Tensor  # on the CPU, where it will be
    copied: torch.cuda.Event | None
    where: str
    batches: list[_Batch]


def poisoned(loss: Tensor) -> Tensor:
    """The loss, from which every gradient is NaN if it is infinite or NaN itself.

    Added up over processes such gradients stay NaN, so that all of them know of it.
    """
    return loss * (1 + 0 * loss.detach())


class FiniteSteps:
    """Watches over the steps of a run; all processes come to the same decisions.

    Args:
        options: of the run; ``on_nan`` says what happens.
        optimizer: PyTorch's own.
        clips: of the training split, to name them.
        warn: gets a line for each step that is left out.

    Attributes:
        saved_step: of the last checkpoint, for the message.
    """

    def __init__(
        self,
        options: TrainConfig,
        optimizer: Any,
        clips: Sequence[ClipRecord],
        warn: Callable[[str], None],
    ) -> None:
        self.options, self.optimizer, self.clips, self.warn = options, optimizer, clips, warn
        self.saved_step = 0
        self._batches: list[_Batch] = []
        self._pending: deque[_Step] = deque()
        self._in_a_row = 0

    def batch(self, loss: Tensor, clips: list[int]) -> None:
        """Take note of a batch of this process: its loss, a scalar, and its clips' indices."""
        self._batches.append(_Batch(loss, clips))

    def before_step(self, epoch: int, batch: int, step: int) -> None:
        """Called with the gradients of a step, all from 1; the optimizer won't take a bad one."""
        flag = self._flag()
        if self.options.precision != "fp16":  # else the scaler sees to it
            self.optimizer.found_inf = flag.float()
        first = batch - len(self._batches) + 1
        which = f"batch {batch}" if first == batch else f"batches {first} to {batch}"
        copied = None
        on_cpu = flag.to("cpu", non_blocking=True)  # pinned, where it comes from a GPU
        if flag.is_cuda:
            copied = torch.cuda.Event()
            copied.record()
        where = f"step {step} (epoch {epoch}, {which})"
        self._pending.append(_Step(on_cpu, copied, where, self._batches))
        self._batches = []

    def after_step(self) -> None:
        """Act on what is known by now: on a GPU, of all steps but the last one.

        Raises:
            SharedError: a step can't be taken, and the run is to stop there.
        """
        self._look(1 if self._pending[-1].copied else 0)

    def settle(self) -> None:
        """Act on all steps so far, as before a checkpoint. Raises as ``after_step``."""
        self._look(0)

    def _flag(self) -> Tensor:
        """Whether the step is bad, the same on all processes, on the gradients' device."""
        if self.options.precision != "fp16":
            parameters = (p for group in self.optimizer.param_groups for p in group["params"])
            gradients = [p.grad for p in parameters if p.grad is not None]
            return ~get_total_norm(gradients, math.inf).isfinite()
        # Gradients that are too large for fp16 are the scaler's affair.
        bad = (~torch.stack([batch.loss for batch in self._batches]).isfinite().all()).int()
        if dist.is_initialized():
            dist.all_reduce(bad, dist.ReduceOp.MAX)
        return bad.bool()

    def _look(self, behind: int) -> None:
        while len(self._pending) > behind:
            step = self._pending.popleft()
            if step.copied is not None:
                step.copied.synchronize()
            if not step.flag:
                self._in_a_row = 0
                continue
            self._in_a_row += 1
            said = self._said(step)
            if self.options.on_nan == "skip" and self._in_a_row < IN_A_ROW:
                self.warn(f"{said}: left out")
                continue
            if self.options.on_nan == "skip":
                said += f", and so it was with the {IN_A_ROW - 1} steps before"
            kept = f"the last checkpoint is of step {self.saved_step}"
            raise SharedError(
                f"{said}; {kept if self.saved_step else 'there is no checkpoint yet'}; expected "
                "other clips, a lower train.lr or train.on_nan=skip"
            )

    def _said(self, step: _Step) -> str:
        """Which step, and the clips of the batches, of all processes, that had a bad loss."""
        mine = [(batch.loss.item(), batch.clips) for batch in step.batches]
        every = [batch for part in gather(mine) for batch in part]
        bad = [(loss, clips) for loss, clips in every if not math.isfinite(loss)]
        what = f"the loss of {step.where} is {bad[0][0]}" if bad else (
            f"the gradients of {step.where} are no numbers"
        )  # fmt: skip
        indices = sorted(index for _, clips in bad or every for index in clips)
        paths = [str(self.clips[index].path) for index in indices]
        more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
        return f"{what}, of the clips {', '.join(paths[:NAMED])}{more}"
