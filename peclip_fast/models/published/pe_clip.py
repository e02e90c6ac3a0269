"""Checkpoints of the published PE-CLIP program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from peclip_fast.config.methods.pe_clip import PECLIPConfig
from peclip_fast.config.texts import PUBLISHED_ACTION_UNITS
from peclip_fast.errors import InputError
from peclip_fast.models.published.checkpoint import PublishedCheckpoint
from peclip_fast.models.published.clip import NEEDED, model_config
from peclip_fast.models.published.embedded_texts import (
    LEARNER,
    PREFIX,
    SUFFIX,
    check_tokens,
    class_tokens,
    text_of,
)
from peclip_fast.models.published.equal_model import Model, equal_model, renamed
from peclip_fast.models.tokenizer import END, START, tokenizer

CLIP = "clip_model."
TABLE = f"{CLIP}token_embedding.weight"
BLOCKS = {"text": f"{CLIP}transformer.", "vision": f"{CLIP}visual.transformer."}


def load_pe_clip(method: type[Model], checkpoint: PublishedCheckpoint) -> Model:
    """The equal model, in eval mode; load_published() says more."""
    source = checkpoint.source
    checkpoint.refuse_heads("temporal_heads", "has no attention over the frames")
    # The program stores its encoders twice.
    state = {n: t for n, t in checkpoint.state.items() if n.startswith((CLIP, LEARNER))}
    settings = _infer_settings(state, source)
    given_texts = checkpoint.class_texts
    usual = tuple(PUBLISHED_ACTION_UNITS.values())
    tokens = class_tokens(state, TABLE, given_texts, usual, source)
    texts = [_text_of(row) for row in tokens] if given_texts is None else list(given_texts)
    config = PECLIPConfig(backbone="published checkpoint", texts=texts, **settings)
    own = {n.removeprefix(CLIP): t for n, t in state.items() if n.startswith(CLIP)}
    model_cfg = model_config(own, checkpoint)
    names = {text: name for name, text in PUBLISHED_ACTION_UNITS.items()}
    classes = [names.get(text, text.rstrip(".")) for text in texts]
    given = {n: t for n, t in state.items() if n not in (PREFIX, SUFFIX)}
    views = renamed(published_name)
    model = equal_model(method, config, classes, model_cfg, checkpoint, given, views)
    check_tokens(model.class_tokens, tokens, source)
    return model


def published_name(name: str) -> str:
    """Our name of a tensor -> the published one."""
    part, _, rest = name.partition(".")
    if part == "backbone":
        return f"{CLIP}{rest}"
    if part == "prompts":
        kind, index, *leaf = rest.split(".")
        first = {"text": "ctx", "projections": "proj"}[kind]
        deep = {"text": "compound_prompts_text", "projections": "compound_prompt_projections"}
        layer = first if index == "0" else f"{deep[kind]}.{int(index) - 1}"
        return LEARNER + ".".join([layer, *leaf])
    tower = "text" if part in ("shared_text", "text_adapter") else "vision"
    place = "pre_attn" if part.startswith("shared") else "pre_mlp"
    block, module, parameter = rest.split(".")
    module = {
        "down": "down_proj",
        "up": "up_proj",
        "norm": "adapter_layer_norm_before",
        "recurrence": "rnn",
    }.get(module, module)
    return f"{BLOCKS[tower]}resblocks.{block}.adapter_{place}.{module}.{parameter}"


def _infer_settings(state: Mapping[str, Tensor], source: str) -> dict[str, Any]:
    """The fields of PECLIPConfig that the tensors tell."""
    needed = (*(f"{CLIP}{name}" for name in NEEDED), PREFIX, SUFFIX, f"{LEARNER}ctx")
    missing = [name for name in needed if name not in state]
    if missing:
        raise InputError(f"{source}: no PE-CLIP checkpoint: {', '.join(missing)} missing")

    def first(tower: str, place: str, rest: str) -> Tensor | None:
        return state.get(f"{BLOCKS[tower]}resblocks.0.adapter_{place}.{rest}")

    downs = {
        "text_adapter": first("text", "pre_mlp", "down_proj.weight"),
        "shared_text": first("text", "pre_attn", "down_proj.weight"),
        "shared_vision": first("vision", "pre_attn", "down_proj.weight"),
        "temporal": first("vision", "pre_mlp", "down_proj.weight"),
    }
    reductions = {t.shape[1] // t.shape[0] for t in downs.values() if t is not None}
    gates = first("vision", "pre_mlp", "rnn.weight_ih_l0")
    recurrence = (
        {3: "gru", 4: "lstm", 1: "rnn"}.get(gates.shape[0] // gates.shape[1])
        if gates is not None
        else "none"
    )
    if len(reductions) > 1 or recurrence is None:
        raise InputError(f"{source}: its adapters are of different reductions or of no known kind")
    deep = sum(n.startswith(f"{LEARNER}compound_prompts_text.") for n in state)
    return {
        **{name: tensor is not None for name, tensor in downs.items()},
        "reduction": reductions.pop() if reductions else PECLIPConfig.reduction,
        "recurrence": recurrence,
        "scaling": "none" if first("vision", "pre_mlp", "scale.weight") is None else "after_up",
        "context_tokens": state[f"{LEARNER}ctx"].shape[0],
        "prompt_depth": 1 + deep,
    }


def _text_of(tokens: list[int]) -> str:
    """A text that has these tokens; Table 1's own spelling where it is one of its texts."""
    body = [t for t in tokens if t not in (START, END)]
    for text in PUBLISHED_ACTION_UNITS.values():
        if tokenizer().encode(text) == body:
            return text
    return text_of(tokens)
