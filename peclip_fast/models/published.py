"""Checkpoints of the published PE-CLIP program: read its names, build the equal model."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from math import isqrt
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

from peclip_fast.config.methods.pe_clip import PECLIPConfig
from peclip_fast.config.texts import PUBLISHED_ACTION_UNITS
from peclip_fast.errors import InputError
from peclip_fast.models.backbone import fingerprint
from peclip_fast.models.methods.pe_clip import PECLIP
from peclip_fast.models.storage import refuse_other_tensors
from peclip_fast.models.tokenizer import END, START, tokenizer

HEAD_WIDTH = 64  # of OpenAI's CLIP, which the published program builds on
TABLE = "clip_model.token_embedding.weight"
PREFIX, SUFFIX = "prompt_learner.token_prefix", "prompt_learner.token_suffix"
CLIP_BLOCKS = {"text": "clip_model.transformer.", "vision": "clip_model.visual.transformer."}


class _Inert:
    """Takes the place of the classes that a checkpoint names beside its tensors."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Keep nothing."""

    def __setstate__(self, state: object) -> None:
        """Keep nothing."""


def load_reference_checkpoint(path: str | Path, class_texts: Sequence[str] | None = None) -> PECLIP:
    """The model equal to a ``.pth`` of the published program, in eval mode.

    All sizes are read off the tensors. The file is loaded with ``weights_only=True``; objects in
    it that are no tensors are not built.

    Args:
        path: ``{"state_dict": ...}`` or a bare state dict; keys with or without ``module.``.
        class_texts: what the text encoder read for each class. Without them they are recovered
            from the checkpoint's token table, or taken from Table 1 where it has none.

    Raises:
        InputError: not such a checkpoint, or one for other classes or sizes, with the names of
            the tensors.
    """
    state = _read(Path(path))
    settings = _infer_settings(state, str(path))
    tokens = _class_tokens(state, class_texts, str(path))
    texts = [_text_of(row) for row in tokens] if class_texts is None else list(class_texts)
    config = PECLIPConfig(backbone="reference checkpoint", texts=texts, **settings)
    model_cfg = _infer_backbone(state)
    names = {text: name for name, text in PUBLISHED_ACTION_UNITS.items()}
    classes = [names.get(text, text.rstrip(".")) for text in texts]
    backbone = open_clip.CLIP(**model_cfg)
    model = PECLIP(config, classes, backbone, unnamed_backbone=model_cfg)
    if model.class_tokens.shape[0] != len(tokens) or any(
        row != [t for t in mine if t]
        for row, mine in zip(tokens, model.class_tokens.tolist(), strict=True)
    ):
        raise InputError(f"{path}: its class texts can't be recovered; give class_texts")
    mine = {published_name(n): t for n, t in model.state_dict().items()}
    given = {n: t for n, t in state.items() if n not in (PREFIX, SUFFIX)}
    refuse_other_tensors(str(path), given, mine)
    with torch.no_grad():
        for name, tensor in mine.items():
            tensor.copy_(given[name])
    model.backbone_fingerprint = fingerprint(backbone)
    return model.eval()


def _read(path: Path) -> dict[str, Tensor]:
    """The state dict under the published names, without the doubled entries."""
    try:
        others = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        with torch.serialization.safe_globals([(_Inert, name) for name in others]):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a checkpoint (.pth)") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a checkpoint that torch can read ({reason})") from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else None
    if not isinstance(state, Mapping):
        raise InputError(f"{path}: expected a state dict or {{'state_dict': ...}}")
    named = {str(name).removeprefix("module."): value for name, value in state.items()}
    return {
        name: value
        for name, value in named.items()
        if isinstance(value, Tensor) and name.startswith(("clip_model.", "prompt_learner."))
    }


def published_name(name: str) -> str:
    """Our name of a tensor -> the published one."""
    part, _, rest = name.partition(".")
    if part == "backbone":
        return f"clip_model.{rest}"
    if part == "prompts":
        kind, index, *leaf = rest.split(".")
        first = {"text": "ctx", "projections": "proj"}[kind]
        deep = {"text": "compound_prompts_text", "projections": "compound_prompt_projections"}
        layer = first if index == "0" else f"{deep[kind]}.{int(index) - 1}"
        return ".".join(["prompt_learner", layer, *leaf])
    tower = "text" if part in ("shared_text", "text_adapter") else "vision"
    place = "pre_attn" if part.startswith("shared") else "pre_mlp"
    block, module, parameter = rest.split(".")
    module = {
        "down": "down_proj",
        "up": "up_proj",
        "norm": "adapter_layer_norm_before",
        "recurrence": "rnn",
    }.get(module, module)
    return f"{CLIP_BLOCKS[tower]}resblocks.{block}.adapter_{place}.{module}.{parameter}"


def _infer_settings(state: Mapping[str, Tensor], source: str) -> dict[str, Any]:
    """The fields of PECLIPConfig that the tensors tell."""
    needed = ("clip_model.visual.conv1.weight", "clip_model.visual.class_embedding",
              "clip_model.visual.positional_embedding", "clip_model.positional_embedding",
              "clip_model.text_projection", PREFIX, SUFFIX, "prompt_learner.ctx")  # fmt: skip
    missing = [name for name in needed if name not in state]
    if missing:
        raise InputError(f"{source}: no PE-CLIP checkpoint: {', '.join(missing)} missing")

    def first(tower: str, place: str, rest: str) -> Tensor | None:
        return state.get(f"{CLIP_BLOCKS[tower]}resblocks.0.adapter_{place}.{rest}")

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
    deep = sum(n.startswith("prompt_learner.compound_prompts_text.") for n in state)
    return {
        **{name: tensor is not None for name, tensor in downs.items()},
        "reduction": reductions.pop() if reductions else PECLIPConfig.reduction,
        "recurrence": recurrence,
        "scaling": "none" if first("vision", "pre_mlp", "scale.weight") is None else "after_up",
        "context_tokens": state["prompt_learner.ctx"].shape[0],
        "prompt_depth": 1 + deep,
    }


def _infer_backbone(state: Mapping[str, Tensor]) -> dict[str, object]:
    """open_clip's model_cfg of the CLIP in the checkpoint."""
    patches = state["clip_model.visual.conv1.weight"]
    grid = isqrt(state["clip_model.visual.positional_embedding"].shape[0] - 1)
    text_width, embed_dim = state["clip_model.text_projection"].shape
    vision_width, patch = patches.shape[0], patches.shape[-1]

    def layers(tower: str) -> int:
        start = f"{CLIP_BLOCKS[tower]}resblocks."
        return len({n[len(start) :].split(".")[0] for n in state if n.startswith(start)})

    return {
        "embed_dim": embed_dim,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": grid * patch,
            "layers": layers("vision"),
            "width": vision_width,
            "head_width": HEAD_WIDTH,
            "patch_size": patch,
        },
        "text_cfg": {
            "context_length": state["clip_model.positional_embedding"].shape[0],
            "vocab_size": state[TABLE].shape[0] if TABLE in state else END + 1,
            "width": text_width,
            "heads": text_width // HEAD_WIDTH,
            "layers": layers("text"),
        },
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
