"""What training makes small: the losses of clips, by their classes or by their descriptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peclip_fast.config.run import RunConfig
from peclip_fast.data.randomness import derived_seed
from peclip_fast.data.transforms.mixing import draw_mixing, mix_targets
from peclip_fast.engine.graphs import CompiledModel, GraphedModel
from peclip_fast.models.adapted_clip import AdaptedCLIP


class Objective(nn.Module):
    """A model under its loss of classes, with Mixup and FMix, or of descriptions.

    Its parameters are the trained ones only. The model is no submodule, so that DDP copies no
    frozen tensor between processes.

    Args:
        model: what is trained; in training mode and on its device at each call.
        config: of the run.
        rank: of this process, as each mixes its clips in its own way.
    """

    model: AdaptedCLIP

    def __init__(self, model: AdaptedCLIP, config: RunConfig, rank: int) -> None:
        super().__init__()
        self.trained = nn.ParameterList(model.trained_parameters().values())
        object.__setattr__(self, "model", model)
        self.config = config
        self.rank = rank
        self.logits: Callable[..., Tensor] = model.forward
        if config.train.cuda_graphs is True:
            adds_up = config.train.accumulate > 1
            self.logits = GraphedModel(model, config.train.batch_size, adds_up)
        elif config.train.compile:
            self.logits = CompiledModel(model.forward)

    def forward(self, batch: Mapping[str, Tensor], step: int) -> Tensor:
        """The sum of the losses of a batch's clips, which may be none.

        Args:
            batch: the model's inputs, of which images are uint8, and label (B,); descriptions
                (B, n), tokens, where they are the target.
            step: the batch's number in the run, which the mixing is drawn by.
        """
        labels = batch["label"]
        if len(labels) == 0:  # all its clips were bad and skipped: no gradient from here
            return torch.stack([p.sum() * 0 for p in self.trained]).sum()
        # What the model draws, as for dropout, depends on the batch and not on those before it.
        torch.manual_seed(derived_seed(self.config.train.seed, step, self.rank))
        inputs = {name: batch[name] for name in self.model.inputs}
        kind = labels.device.type
        on, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
        # A cast that autocast keeps is in no CUDA graph, and not the one of a recomputed block.
        with torch.autocast(kind, dtype, enabled=on, cache_enabled=False):
            if self.config.train.target == "descriptions":
                return self._description_loss(inputs, batch["descriptions"])
            return self._class_loss(inputs, labels, step)

    def _class_loss(self, inputs: dict[str, Tensor], labels: Tensor, step: int) -> Tensor:
        targets = F.one_hot(labels, len(self.model.classes)).float()
        images = [name for name, value in inputs.items() if value.ndim == 5]
        if images:
            # Behind one another, so that what is drawn for a clip's frames holds for its cues too.
            whole = inputs[images[0]]
            if len(images) > 1:
                whole = torch.cat([inputs[name] for name in images], 1)
            height, width = whole.shape[-2:]
            mixing = draw_mixing(
                len(whole),
                (height, width),
                self.config.data.mix,
                seed=self.config.train.seed,
                step=step,
                rank=self.rank,
            )
            if mixing is None:
                whole = self.model.pixels(whole)
            else:
                mixing = mixing.to(whole.device)
                whole = self.model.pixels(whole, *mixing)
                targets = mix_targets(targets, mixing)
            inputs |= zip(images, whole.chunk(len(images), 1), strict=True)
        with self.model.prepared():
            logits = self.logits(**inputs)
        return self.model.loss(logits, targets)

    def _description_loss(self, inputs: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
        """Among the clips of this process's own batch."""
        model: Any = self.model  # RunConfig lets no method have this target that can't encode them
        clips, texts = model.encode_clips(**inputs), model.encode_descriptions(tokens)
        same = (tokens[:, None] == tokens).all(-1)
        return contrastive_loss(clips, texts, same, model.logit_scale)


def contrastive_loss(clips: Tensor, texts: Tensor, same: Tensor, scale: float | Tensor) -> Tensor:
    """CLIP's symmetric loss (arXiv 2103.00020, figure 3), summed over the clips.

    The mean of two cross entropies: of a clip's text among all texts, and of a text's clip among
    all clips. Where texts are the same, each of their clips is as right as the other.

    Args:
        clips: (B, E), of length 1.
        texts: (B, E), of length 1, of each clip.
        same: (B, B) bool, which clips have the same text.
        scale: of the cosines.
    """
    with torch.autocast(clips.device.type, enabled=False):
        logits = scale * clips @ texts.T
        targets = same.to(logits.dtype) / same.sum(1, keepdim=True)
        both = (F.cross_entropy(side, targets, reduction="sum") for side in (logits, logits.T))
        return sum(both, logits.new_zeros(())) / 2
