"""Checkpoints of EmoCLIP's program."""

from __future__ import annotations

from peclip_fast.config.methods.emoclip import EmoCLIPConfig
from peclip_fast.errors import InputError
from peclip_fast.models.published.checkpoint import PublishedCheckpoint
from peclip_fast.models.published.class_token import (
    named,
    published_temporal_name,
    temporal_settings,
)
from peclip_fast.models.published.clip import NEEDED, TABLE, model_config, with_table
from peclip_fast.models.published.equal_model import Model, equal_model, renamed

CLIP, TEMPORAL, SCALE = "backbone.", "temporal.", "logit_scale"


def load_emoclip(method: type[Model], checkpoint: PublishedCheckpoint) -> Model:
    """The equal model, in eval mode; load_published() says more."""
    source, texts = checkpoint.source, checkpoint.class_texts
    state = with_table(checkpoint.state, f"{CLIP}{TABLE}")
    state = {n: t for n, t in state.items() if n.startswith((CLIP, TEMPORAL, SCALE))}
    needed = [SCALE, *(f"{CLIP}{name}" for name in (*NEEDED, TABLE))]
    if missing := [name for name in needed if name not in state]:
        raise InputError(f"{source}: no EmoCLIP checkpoint: {', '.join(missing)} missing")
    if texts is None:
        raise InputError(f"{source}: holds no class texts; give class_texts")
    config = EmoCLIPConfig(
        backbone="published checkpoint",
        texts=list(texts),
        **temporal_settings(state, TEMPORAL, checkpoint.temporal_heads, source),
    )
    model_cfg = model_config(named(state, {CLIP: ""}), checkpoint)
    classes = [text.rstrip(".") for text in texts]
    views = renamed(published_name)
    return equal_model(method, config, classes, model_cfg, checkpoint, state, views)


def published_name(name: str) -> str:
    """Our name of a tensor -> the published one."""
    part, _, rest = name.partition(".")
    if part == "temporal":
        return TEMPORAL + published_temporal_name(rest)
    return SCALE if part == "scale" else CLIP + rest
