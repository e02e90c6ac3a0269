"""One training step, and what is trained how fast."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from peclip_fast.config.run import RunConfig
from peclip_fast.data.transforms.mixing import mix_batch
from peclip_fast.engine.contrastive import contrastive_loss
from peclip_fast.engine.distributed import gather, sum_over_processes
from peclip_fast.engine.graphs import GraphedModel
from peclip_fast.engine.schedule import warmup_cosine
from peclip_fast.models.adapted_clip import LOGIT_SCALE, AdaptedCLIP
from peclip_fast.models.methods.finecliper import FineCLIPER

MOMENTUM = 0.9  # of SGD


class ClipClassifier(LightningModule):
    """A model under cross entropy with the soft targets of Mixup and FMix, or of descriptions.

    Its state is the trained tensors alone: frozen weights are in no checkpoint.

    Args:
        model: what is trained.
        config: of the run.
        batches_per_epoch: of each process.
    """

    loss_sum: Tensor

    def __init__(self, model: AdaptedCLIP, config: RunConfig, batches_per_epoch: int) -> None:
        super().__init__()
        self.model = model
        self.logits: Callable[..., Tensor] = model.__call__
        if config.train.cuda_graphs:
            self.logits = GraphedModel(model, config.train.batch_size)
        self.config = config
        self.batches_per_epoch = batches_per_epoch
        # Sum of the losses of this epoch's clips, and their number.
        self.register_buffer("loss_sum", torch.zeros(2, dtype=torch.float64), persistent=False)

    def training_step(self, batch: Mapping[str, Any], batch_idx: int) -> Tensor:
        """Mean loss of a batch: the model's inputs, of which images are uint8, and label (B,).

        The mean is over the batch of all processes, whose gradients are averaged: a process with
        fewer clips counts for less.
        """
        labels = batch["label"]
        if len(labels) == 0:  # all its clips were bad and skipped: no gradient from here
            sum_over_processes(torch.zeros((), device=self.device))
            trained = self.model.trained_parameters().values()
            return torch.stack([p.sum() * 0 for p in trained]).sum()
        inputs = {name: batch[name] for name in self.model.inputs}
        if self.config.train.target == "descriptions":
            loss = self._description_loss(inputs, batch["descriptions"])
        else:
            loss = self._class_loss(inputs, labels, batch_idx)
        number = torch.tensor(float(len(labels)), device=loss.device)
        self.loss_sum += torch.stack([loss.detach(), number])
        return loss * self.trainer.world_size / sum_over_processes(number)

    def _class_loss(self, inputs: dict[str, Tensor], labels: Tensor, batch_idx: int) -> Tensor:
        targets = F.one_hot(labels, len(self.model.classes)).float()
        images = [name for name, value in inputs.items() if value.ndim == 5]
        if images:
            # Behind one another, so that what is drawn for a clip's frames holds for its cues too.
            mixed, targets = mix_batch(
                torch.cat([inputs[name] for name in images], 1).float() / 255,
                targets,
                self.config.data.mix,
                seed=self.config.train.seed,
                step=self.current_epoch * self.batches_per_epoch + batch_idx,
                rank=self.global_rank,
            )
            inputs |= zip(images, mixed.chunk(len(images), 1), strict=True)
        return F.cross_entropy(self.logits(**inputs), targets, reduction="sum")

    def _description_loss(self, inputs: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
        """Among the clips of this process's own batch."""
        assert isinstance(self.model, FineCLIPER)  # RunConfig lets no other method have this target
        clips, texts = self.model.encode_clips(**inputs), self.model.encode_positive(tokens)
        same = (tokens[:, None] == tokens).all(-1)
        return contrastive_loss(clips, texts, same, LOGIT_SCALE)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """A learning rate per group, one schedule for all."""
        train = self.config.train
        rates = self.config.learning_rates
        groups = [
            {"params": parameters, "lr": rates[name], "name": name}
            for name, parameters in self.model.parameter_groups().items()
            if parameters
        ]
        # One pass over all parameters. Lightning clips no gradients of mixed precision for it.
        fused = train.precision == "fp32" or train.clip_norm is None
        how: dict[str, Any] = {"weight_decay": train.weight_decay, "fused": fused}
        optimizer: torch.optim.Optimizer
        if train.optimizer == "sgd":
            optimizer = torch.optim.SGD(groups, momentum=MOMENTUM, **how)
        else:
            optimizer = torch.optim.AdamW(groups, **how)
        steps = math.ceil(self.batches_per_epoch / train.accumulate)
        warmup, total = (steps * epochs for epochs in (train.warmup_epochs, train.epochs))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, warmup, total)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def take_mean_loss(self) -> float:
        """Mean loss over the clips since the last call, of all processes."""
        total, clips = self._summed_loss().tolist()
        self.loss_sum.zero_()
        return total / clips if clips else math.nan

    def _summed_loss(self) -> Tensor:
        return torch.stack(gather(self.loss_sum.cpu())).sum(0)

    # State: the trained tensors alone ----------------------------------------------------------

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The trained tensors by name."""
        return dict(self.model.trained_state())

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> None:
        """Copy trained tensors in; always strict."""
        self.model.load_trained_state(state_dict, "checkpoint")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the losses of an epoch under way."""
        checkpoint["loss_sum"] = self._summed_loss()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The first process goes on with the losses of all."""
        if self.global_rank == 0:
            self.loss_sum.copy_(checkpoint["loss_sum"])
