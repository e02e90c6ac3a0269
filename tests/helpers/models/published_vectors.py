"""The published program's tensors, as tests/assets/pe_clip keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

ASSETS = Path(__file__).parents[2] / "assets"
PROMPTS = "prompt_learner"


def published_vectors(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """One recorded step of the published program.

    Args:
        name: one_clip or batch_of_two.

    Returns:
        The checkpoint's state without its token table, under the published names; what went in
        and came out (frames, labels, logits, loss, ``grad.*`` and the rows of the token table that
        the texts use); and the sizes.
    """
    path = ASSETS / "pe_clip" / f"{name}.safetensors"
    vectors = load_file(path)
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
    tensors = vectors | load_file(path.with_name(f"{name}_vision.safetensors"))
    state = {n.removeprefix("state."): t for n, t in tensors.items() if n.startswith("state.")}
    # What a checkpoint has of its texts: their embedded tokens before and after the context.
    embedded = token_table(vectors, config)[vectors["tokenized_prompts"]]
    state[f"{PROMPTS}.token_prefix"] = embedded[:, :1].clone()
    state[f"{PROMPTS}.token_suffix"] = embedded[:, 1 + config["n_ctx"] :].clone()
    return state, {n: t for n, t in vectors.items() if not n.startswith("state.")}, config


def token_table(vectors: dict[str, Tensor], config: dict[str, Any]) -> Tensor:
    """The token table (vocabulary, text width), zero in rows that the texts don't use."""
    table = torch.zeros(config["vocab"], config["text_width"])
    table[vectors["token_embedding.ids"]] = vectors["token_embedding.rows"]
    return table
