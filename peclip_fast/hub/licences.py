"""Under what terms the weights of backbones are, as far as it is known here."""

from __future__ import annotations

from peclip_fast.config.model import ModelConfig
from peclip_fast.hub.facts import RunFacts

UNKNOWN = "not known to peclip-fast"
DEMO = "demo"  # the packaged backbone
# By how open_clip's tag begins.
_WEIGHTS = {
    "openai": "MIT; OpenAI's model card calls any deployed use out of scope "
    "(https://github.com/openai/CLIP)",
    "laion": "MIT",
    "datacomp": "MIT",
    "metaclip": "CC BY-NC 4.0: non-commercial",
    "webli": "Apache-2.0",
}


def licence_of_weights(config: ModelConfig) -> str:
    """Of a model's frozen backbone, in words."""
    if config.backbone == DEMO:
        return "Apache-2.0: it comes with peclip-fast"
    if config.pretrained is None:
        return "random weights of a fixed seed, or a folder of the author's own; " + UNKNOWN
    for beginning, licence in _WEIGHTS.items():
        if config.pretrained.startswith(beginning):
            return licence
    return UNKNOWN


def certain_licence(config: ModelConfig, run: RunFacts | None) -> str | None:
    """Of the trained tensors, as the Hub names it, where nobody else has a say; else None."""
    ours = run is not None and run.config.demo and config.backbone == DEMO
    return "apache-2.0" if ours else None


def base_model(config: ModelConfig) -> str | None:
    """The repository on the Hub with the backbone's weights, where open_clip names one."""
    import open_clip

    if config.pretrained is None:
        return None
    found = open_clip.get_pretrained_cfg(config.backbone, config.pretrained) or {}
    return str(found.get("hf_hub") or "").strip("/") or None
