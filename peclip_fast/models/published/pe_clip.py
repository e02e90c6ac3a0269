"""Checkpoints of the published PE-CLIP program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import open_clip
import torch
from torch import Tensor

from peclip_fast.config.methods.pe_clip import PECLIPConfig
from peclip_fast.config.texts import PUBLISHED_ACTION_UNITS
from peclip_fast.errors import InputError
from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.models.published.checkpoint import PublishedCheckpoint
from peclip_fast.models.published.clip import NEEDED, model_config
from peclip_fast.models.tokenizer import END, START, tokenizer

Model = TypeVar("Model", bound=AdaptedCLIP)
CLIP, LEARNER = "clip_model.", "prompt_learner."
TABLE = f"{CLIP}token_embedding.weight"
PREFIX, SUFFIX = f"{LEARNER}token_prefix", f"{LEARNER}token_suffix"
BLOCKS = {"text": f"{CLIP}transformer.", "vision": f"{CLIP}visual.transformer."}


def load_pe_clip(method: type[Model], checkpoint: PublishedCheckpoint) -> Model:
    """The equal model, in eval mode; load_published() says more."""
    source = checkpoint.source
    checkpoint.refuse_heads("temporal_heads", "has no attention over the frames")
    # The program stores its encoders twice.
    state = {n: t for n, t in checkpoint.state.items() if n.startswith((CLIP, LEARNER))}
    settings = _infer_settings(state, source)
    tokens = _class_tokens(state, checkpoint.class_texts, source)
    given_texts = checkpoint.class_texts
    texts = [_text_of(row) for row in tokens] if given_texts is None else list(given_texts)
    config = PECLIPConfig(backbone="published checkpoint", texts=texts, **settings)
    own = {n.removeprefix(CLIP): t for n, t in state.items() if n.startswith(CLIP)}
    model_cfg = model_config(own, checkpoint)
    names = {text: name for name, text in PUBLISHED_ACTION_UNITS.items()}
    classes = [names.get(text, text.rstrip(".")) for text in texts]
    model = method(config, classes, open_clip.CLIP(**model_cfg), unnamed_backbone=model_cfg)
    if model.class_tokens.shape[0] != len(tokens) or any(
        row != [t for t in mine if t]
        for row, mine in zip(tokens, model.class_tokens.tolist(), strict=True)
    ):
        raise InputError(f"{source}: its class texts can't be recovered; give class_texts")
    mine = {published_name(n): t for n, t in model.state_dict().items()}
    given = {n: t for n, t in state.items() if n not in (PREFIX, SUFFIX)}
    checkpoint.fill(mine, given)
    model.remember_backbone()
    return model.eval()


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


def _class_tokens(
    state: dict[str, Tensor], class_texts: Sequence[str] | None, source: str
) -> list[list[int]]:
    """The tokens of every class text from start to end, checked against the embedded suffixes.

    A checkpoint without a token table gets one that knows the tokens of its own texts.
    """
    suffix = state[SUFFIX].float()
    texts = list(PUBLISHED_ACTION_UNITS.values()) if class_texts is None else class_texts
    tokens = [[START, *tokenizer().encode(text), END] for text in texts]
    fits = len(tokens) == len(suffix) and max(map(len, tokens)) <= suffix.shape[1] + 1
    if fits:
        padded = torch.tensor([row[1:] + [0] * (suffix.shape[1] + 1 - len(row)) for row in tokens])
        if TABLE not in state:
            state[TABLE] = _table_of(padded, state)
        # A table that was kept in half precision has lost some bits.
        if torch.allclose(state[TABLE][padded].float(), suffix, rtol=1e-3, atol=1e-6):
            return tokens
    if class_texts is None and TABLE in state:
        return [[START, *_recover(row, state[TABLE].float())] for row in suffix]
    raise InputError(
        f"{source}: tensors differ: {PREFIX} and {SUFFIX} are of {len(suffix)} classes with texts "
        f"of their own, not the embeddings of the {len(tokens)} class texts "
        + ("of Table 1; give class_texts" if class_texts is None else "given")
    )


def _table_of(padded: Tensor, state: Mapping[str, Tensor]) -> Tensor:
    """A token table with the rows that the suffixes show, zero elsewhere."""
    suffix = state[SUFFIX]
    table = suffix.new_zeros(END + 1, suffix.shape[-1])
    table[padded.flatten()] = suffix.flatten(0, 1)
    table[START] = state[PREFIX][0, 0]
    return table


def _recover(suffix: Tensor, table: Tensor) -> list[int]:
    """Token ids of embedded rows (n, Dt), up to the end-of-text token."""
    nearest = torch.cdist(suffix, table.float()).argmin(1).tolist()
    return nearest[: nearest.index(END) + 1] if END in nearest else nearest


def _text_of(tokens: list[int]) -> str:
    """A text that has these tokens; Table 1's own spelling where it is one of its texts."""
    body = [t for t in tokens if t not in (START, END)]
    for text in PUBLISHED_ACTION_UNITS.values():
        if tokenizer().encode(text) == body:
            return text
    return tokenizer().decode(body).strip()
