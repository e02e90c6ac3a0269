"""Checkpoints of DFER-CLIP's program."""

from __future__ import annotations

import math

import torch

from peclip_fast.config.methods.dfer_clip import DFERCLIPConfig
from peclip_fast.models.adapted_clip import LOGIT_SCALE
from peclip_fast.models.published.checkpoint import PublishedCheckpoint
from peclip_fast.models.published.class_token import (
    named,
    published_temporal_name,
    temporal_settings,
)
from peclip_fast.models.published.clip import NEEDED, model_config, with_table
from peclip_fast.models.published.embedded_texts import (
    LEARNER,
    PREFIX,
    SUFFIX,
    check_tokens,
    class_tokens,
    text_of,
)
from peclip_fast.models.published.equal_model import Model, equal_model, renamed

CLIP, IMAGE, TEXT, TEMPORAL = "clip_model_.", "image_encoder.", "text_encoder.", "temporal_net."
CONTEXT = f"{LEARNER}ctx"
TABLE, SCALE = f"{CLIP}token_embedding.weight", f"{CLIP}logit_scale"


def load_dfer_clip(method: type[Model], checkpoint: PublishedCheckpoint) -> Model:
    """The equal model, in eval mode; load_published() says more."""
    source = checkpoint.source
    # The program stores its encoders twice; only the token table and the scale aren't in these.
    kept = (IMAGE, TEXT, TEMPORAL, LEARNER, TABLE, SCALE)
    state = with_table(checkpoint.state, TABLE)
    state = {n: t for n, t in state.items() if n.startswith(kept)}
    # Nothing reads the scale.
    state.setdefault(SCALE, torch.tensor(math.log(LOGIT_SCALE)))
    of_clip = (published_name(f"backbone.{name}") for name in NEEDED)
    checkpoint.need(method.config_class.title, (*of_clip, PREFIX, SUFFIX, CONTEXT))
    tokens = class_tokens(state, TABLE, checkpoint.class_texts, (), source)
    texts = checkpoint.class_texts or tuple(map(text_of, tokens))
    context = state[CONTEXT]
    config = DFERCLIPConfig(
        backbone="published checkpoint",
        texts=list(texts),
        context_tokens=context.shape[-2],
        class_contexts=context.ndim == 3,
        **temporal_settings(state, TEMPORAL, checkpoint.temporal_heads, source),
    )
    model_cfg = model_config(named(state, {IMAGE: "visual.", TEXT: "", CLIP: ""}), checkpoint)
    classes = [text.rstrip(".") for text in texts]
    given = {n: t for n, t in state.items() if n not in (PREFIX, SUFFIX)}
    views = renamed(published_name)
    model = equal_model(method, config, classes, model_cfg, checkpoint, given, views)
    check_tokens(model.class_tokens, tokens, source)
    return model


def published_name(name: str) -> str:
    """Our name of a tensor -> the published one."""
    part, _, rest = name.partition(".")
    if part == "temporal":
        return TEMPORAL + published_temporal_name(rest)
    if part == "prompts":
        return CONTEXT
    if rest.startswith("visual."):
        return IMAGE + rest.removeprefix("visual.")
    return (CLIP if rest.startswith(("token_embedding", "logit_scale")) else TEXT) + rest
