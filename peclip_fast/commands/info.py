"""``python -m peclip_fast.info``: what a configuration trains, and which backends would run it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

import peclip_fast
from peclip_fast.commands.running import run_command
from peclip_fast.config.layers import config_layers
from peclip_fast.config.model import ModelConfig
from peclip_fast.config.parser import add_config_option, make_parser, read_arguments, resolve
from peclip_fast.models.backbone import load_backbone
from peclip_fast.models.pretrained import METHODS
from peclip_fast.models.tokenizer import ClipTokenizer
from peclip_fast.ops.backends import describe


def describe_model(config: ModelConfig) -> dict[str, Any]:
    """Trained parameters by part and in all, frozen ones, and the backends with their reasons."""
    # Counts depend on no weight and no text: "meta" tensors have a shape and nothing else, and
    # CLIP's tokenizer, which needs no download, does for every backbone.
    logging.disable(logging.WARNING)
    with torch.device("meta"):
        backbone = load_backbone(config.backbone)
        named = replace(config, texts="class_names")
        method = METHODS[config.method]
        model = method(named, ["any"], backbone, tokenizer=ClipTokenizer())
    logging.disable(logging.NOTSET)
    parts = {
        name: sum(p.numel() for p in part.parameters()) for name, part in model.parts().items()
    }
    return {
        "method": config.method,
        "title": model.title,
        "backbone": config.backbone,
        "trained": {**parts, "total": sum(parts.values())},
        "frozen": sum(p.numel() for p in model.backbone.parameters()),
        "backend": config.backend,
        "backends": describe(width=model.vision_width, hidden=model.vision_hidden),
        "versions": {"peclip_fast": peclip_fast.__version__, "torch": torch.__version__},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_info, argv)


def _info(argv: list[str]) -> None:
    parser = make_parser(
        "info", __doc__ or "", "[--config NAME ...] [--model.reduction 4 ...] [--json]"
    )
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = read_arguments(parser, argv)
    files = {"cues": "any", "descriptions": "any"}  # counts depend on no clip
    layers = [("info", {"data": files}), *config_layers(options.config or [])]
    found = describe_model(resolve(parser, argv, layers).model)
    print(json.dumps(found, indent=2) if options.json else as_text(found))


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


if __name__ == "__main__":
    sys.exit(main())
