"""What a model trains and which backends would run it, without its weights."""

from __future__ import annotations

import logging
from typing import Any

import torch

from peclip_fast.config.model import ModelConfig
from peclip_fast.config.texts import PUBLISHED_ACTION_UNITS
from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.models.backbone import load_backbone
from peclip_fast.models.tokenizer import CLIPTokenizer
from peclip_fast.ops.backends import describe
from peclip_fast.registry import METHODS
from peclip_fast.version import __version__

CLASSES = tuple(PUBLISHED_ACTION_UNITS)  # contexts per class and linear heads count by their number


def without_weights(config: ModelConfig) -> AdaptedCLIP:
    """A model of the configuration whose tensors have a shape and nothing else ("meta").

    CLIP's tokenizer, which needs no download, does for every backbone.
    """
    logging.disable(logging.WARNING)
    try:
        with torch.device("meta"):
            backbone = load_backbone(config.backbone)
            model: AdaptedCLIP = METHODS[config.method](
                config.for_any_classes(), CLASSES, backbone, tokenizer=CLIPTokenizer()
            )
    finally:
        logging.disable(logging.NOTSET)
    return model


def describe_model(config: ModelConfig) -> dict[str, Any]:
    """Trained parameters by part and in all, frozen ones, and the backends with their reasons."""
    model = without_weights(config)  # counts depend on no weight and no text
    counts = model.trained_counts()
    adapters: dict[str, Any] = {}
    if model.adapter_width is not None:
        adapters["hidden"] = model.adapter_width
    return {
        "method": config.method,
        "title": model.title,
        "backbone": config.backbone,
        "trained": {**counts, "total": sum(counts.values())},
        "frozen": model.frozen_count(),
        "backend": config.backend,
        "backends": describe(width=model.vision_width, **adapters),
        "versions": {"peclip_fast": __version__, "torch": torch.__version__},
    }


def as_text(found: dict[str, Any]) -> str:
    """describe_model() for people."""
    lines = [f"{found['title']} on {found['backbone']}", "", "trained parameters"]
    lines += [f"  {name:<14}{count:>13,}" for name, count in found["trained"].items()]
    lines += ["frozen parameters", f"  {'backbone':<14}{found['frozen']:>13,}", ""]
    lines.append(f"backends (asked for: {found['backend']})")
    for op, devices in found["backends"].items():
        for device, answer in devices.items():
            lines.append(f"  {op} on {device}: {answer['choice'] or 'none'}")
            lines += [f"    not {name}: {why}" for name, why in answer["not_taken"].items()]
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return "\n".join([*lines, "", versions])
