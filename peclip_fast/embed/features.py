"""Clip features of a trained model, and of the frozen CLIP below it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from peclip_fast.config.run import RunConfig
from peclip_fast.data.loading.dataset import BadClip
from peclip_fast.data.loading.loader import make_loader
from peclip_fast.data.records import ClipRecord
from peclip_fast.engine.evaluation import DTYPES, as_tested
from peclip_fast.errors import InputError
from peclip_fast.models.ablation import with_parts
from peclip_fast.models.adapted_clip import FROZEN, AdaptedCLIP

TRAINED = "trained"


@dataclass(frozen=True)
class ClipFeatures:
    """Of the N clips that could be read, in the order of their records.

    Args:
        index: (N,) int64, into the records.
        labels: (N,) int64.
        features: by FROZEN and TRAINED: (N, E) float32, of length 1.
        bad: the clips that were skipped.
    """

    index: Tensor
    labels: Tensor
    features: dict[str, Tensor]
    bad: list[BadClip]


@torch.no_grad()
def clip_features(
    model: AdaptedCLIP, records: list[ClipRecord], config: RunConfig, device: torch.device
) -> ClipFeatures:
    """Run both models over clips, each of which is read once.

    Raises:
        InputError: a clip can't be read, or none can be where bad ones are skipped.
    """
    models = {FROZEN: with_parts(model, ()).to(device), TRAINED: model.to(device).eval()}
    dataset = as_tested(model, records, config)
    batch_size = min(config.train.eval_batch_size, len(records))
    dtype = DTYPES[config.train.precision]
    index, labels, bad = [], [], []
    features: dict[str, list[Tensor]] = {name: [] for name in models}
    for batch in make_loader(dataset, batch_size, device=device):
        bad += batch["bad"]
        if len(batch["label"]) == 0:
            continue
        inputs = {name: batch[name].to(device, non_blocking=True) for name in model.inputs}
        index.append(batch["index"])
        labels.append(batch["label"])
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            for name, one in models.items():
                features[name].append(one.encode_clips(**inputs).float().cpu())
    if not index:
        raise InputError(f"none of the {len(records)} clips could be read, as {bad[0].reason}")
    order = torch.cat(index).argsort()
    return ClipFeatures(
        torch.cat(index)[order],
        torch.cat(labels)[order],
        {name: torch.cat(parts)[order] for name, parts in features.items()},
        sorted(bad),
    )
