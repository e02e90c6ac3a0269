"""How a model is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from peclip_fast.config.options import LARGEST_SEED, brief
from peclip_fast.errors import InputError


@dataclass(frozen=True)
class TrainConfig:
    """How it is trained; the defaults are the paper's recipe for DFEW (Table 2).

    Args:
        target: what a clip's feature is drawn to: its class's texts, or its own description, with
            no class in training, so that it can be tested on any (zero-shot).
        epochs: passes over the training clips.
        warmup_epochs: epochs over which the learning rates rise, such as 3 or 2.5.
        schedule: how they go on; along a cosine to lr_end, or in steps, to a tenth after each of
            the milestones.
        milestones: epochs after which the rates fall, for steps.
        batch_size: clips per batch, over all processes.
        eval_batch_size: clips per batch and process in evaluation and prediction.
        accumulate: batches whose gradients are added up for one optimizer step.
        lr: the highest learning rate of each group of trained tensors, by the names that the method
            has for them; its own rates where nothing is given.
        lr_end: learning rate of all groups at the end of the cosine.
        weight_decay: the optimizer's weight decay.
        optimizer: adamw, or sgd with a momentum of 0.9 (FineCLIPER's).
        clip_norm: largest norm of all gradients together; null doesn't clip.
        precision: fp32, or mixed precision with bf16 or fp16 (fp16 needs a GPU).
        recompute: vision blocks, from the first on, whose activations the backward pass computes
            again instead of keeping them; less memory, more time, the same results.
        cuda_graphs: launch the model's forward and backward pass as one CUDA graph each, for whole
            batches; auto does on one GPU where a trial, once, has found them right and faster.
        compile: run whole batches through torch.compile; auto does where the batches to come save
            more time than compiling takes.
        on_nan: a step whose loss or gradients are infinite or NaN is never taken; stop ends the run
            there, with the names of the clips, and skip says them and goes on.
        seed: fixes initial weights, order, augmentation and mixing.
        select: weights to report, of the last epoch, or of the best WAR on the test split, which
            is optimistic and only for comparison with work that does so.
        test_every: epochs from one test to the next during training; 0 tests at the end only.
        checkpoint_every: optimizer steps between checkpoints within an epoch; each epoch ends
            with one anyway.
        device: auto takes a GPU where there is one.
        kernel_check: kernels that nobody has verified on such a machine are checked before the
            model is built, once, in processes of their own; auto takes those that are right and
            faster. off takes none of them, trust takes all unchecked, force checks again.
        threads: CPU threads of the main process; null leaves PyTorch's choice.
    """

    target: Literal["classes", "descriptions"] = "classes"
    epochs: int = 30
    warmup_epochs: float = 3
    schedule: Literal["cosine", "steps"] = "cosine"
    milestones: list[int] = field(default_factory=list)
    batch_size: int = 8
    eval_batch_size: int = 8
    accumulate: int = 1
    lr: dict[str, float] = field(default_factory=dict)
    lr_end: float = 0.0
    weight_decay: float = 0.01
    optimizer: Literal["adamw", "sgd"] = "adamw"
    clip_norm: float | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    recompute: int = 0
    cuda_graphs: bool | Literal["auto"] = "auto"
    compile: bool | Literal["auto"] = False
    on_nan: Literal["stop", "skip"] = "stop"
    seed: int = 42
    select: Literal["last", "best"] = "last"
    test_every: int = 1
    checkpoint_every: int = 200
    device: Literal["auto", "cpu", "cuda"] = "auto"
    kernel_check: Literal["auto", "off", "trust", "force"] = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.warmup_epochs % 1 == 0:  # so that 3.0 is saved as 3
            object.__setattr__(self, "warmup_epochs", int(self.warmup_epochs))
        smallest = dict.fromkeys(
            ("warmup_epochs", "test_every", "recompute", "seed", "weight_decay", "lr_end"), 0
        )
        for name in ("epochs", "batch_size", "eval_batch_size", "accumulate", "checkpoint_every"):
            smallest[name] = 1
        for name, least in smallest.items():
            value = getattr(self, name)
            if not least <= value <= LARGEST_SEED:
                most = f" and at most {LARGEST_SEED}" if value > least else ""
                raise InputError(f"train.{name}={brief(value)}: expected at least {least}{most}")
        above: dict[str, float | None] = {"clip_norm": self.clip_norm, "threads": self.threads}
        above |= {f"lr.{group}": rate for group, rate in self.lr.items()}
        for name, number in above.items():
            if number is not None and not 0 < number < float("inf"):
                raise InputError(f"train.{name}={brief(number)}: expected more than 0")
        if self.warmup_epochs >= self.epochs:
            raise InputError(
                f"train.warmup_epochs={self.warmup_epochs}: expected less than the "
                f"{self.epochs} epochs of the run"
            )
        self._check_schedule()
        graphs = self.cuda_graphs is True
        if self.compile and (graphs or self.target == "descriptions"):
            other = "train.cuda_graphs" if graphs else f"train.target={self.target}"
            raise InputError(f"train.compile: expected false, as {other} can't be compiled")
        if self.cuda_graphs is True and self.target == "descriptions":
            raise InputError(
                "train.cuda_graphs: expected false or auto, as train.target=descriptions can't use "
                "them"
            )
        if self.select == "best" and not self.test_every:
            raise InputError("train.select=best: needs train.test_every of at least 1")

    def _check_schedule(self) -> None:
        steps, given = self.schedule == "steps", self.milestones
        if steps != bool(given):
            raise InputError(
                f"train.milestones={given}: expected "
                + ("epochs after which the rates fall" if steps else "none")
                + f", as train.schedule={self.schedule}"
            )
        if given != sorted(set(given)) or (given and not 0 < given[0] <= given[-1] < self.epochs):
            raise InputError(
                f"train.milestones={given}: expected epochs in order, from 1 on and less than the "
                f"{self.epochs} of the run"
            )
        if steps and self.lr_end:
            raise InputError(f"train.lr_end={self.lr_end}: expected 0, as train.schedule=steps")
