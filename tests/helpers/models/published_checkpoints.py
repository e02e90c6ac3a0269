"""Checkpoints as the published program writes them."""

from __future__ import annotations

import open_clip
import torch

from peclip_fast.config.texts import PUBLISHED_ACTION_UNITS

TEXTS = list(PUBLISHED_ACTION_UNITS.values())


def make_published(
    texts=TEXTS, *, width=128, text_width=64, layers=2, patch=8, grid=4, depth=2, n_ctx=2, r=8
):
    """A random state dict under the published names, and its tokens (C, 77)."""
    state: dict[str, torch.Tensor] = {}

    def put(name, *shape, std=0.1, start=0.0):
        state[name] = start + std * torch.randn(shape)

    def put_linear(name, out, into):
        put(f"{name}.weight", out, into, std=into**-0.5)
        put(f"{name}.bias", out)

    def put_norm(name, size):
        put(f"{name}.weight", size, start=1.0)
        put(f"{name}.bias", size)

    def put_blocks(prefix, size, temporal):
        for i in range(layers):
            block = f"{prefix}.transformer.resblocks.{i}"
            put(f"{block}.attn.in_proj_weight", 3 * size, size, std=size**-0.5)
            put(f"{block}.attn.in_proj_bias", 3 * size)
            put_linear(f"{block}.attn.out_proj", size, size)
            put_norm(f"{block}.ln_1", size)
            put_norm(f"{block}.ln_2", size)
            put_linear(f"{block}.mlp.c_fc", 4 * size, size)
            put_linear(f"{block}.mlp.c_proj", size, 4 * size)
            for place in ("adapter_pre_attn", "adapter_pre_mlp"):
                put_linear(f"{block}.{place}.down_proj", size // r, size)
                put_linear(f"{block}.{place}.up_proj", size, size // r)
            if temporal:
                adapter, h = f"{block}.adapter_pre_mlp", size // r
                put_norm(f"{adapter}.adapter_layer_norm_before", size)
                put_linear(f"{adapter}.scale", 1, size)
                for gate in ("ih", "hh"):
                    put(f"{adapter}.rnn.weight_{gate}_l0", 3 * h, h, std=h**-0.5)
                    put(f"{adapter}.rnn.bias_{gate}_l0", 3 * h)

    clip, learner = "clip_model", "prompt_learner"
    put_blocks(clip, text_width, temporal=False)
    put_blocks(f"{clip}.visual", width, temporal=True)
    put(f"{clip}.positional_embedding", 77, text_width)
    put(f"{clip}.text_projection", text_width, 32)
    put_norm(f"{clip}.ln_final", text_width)
    put(f"{clip}.logit_scale")
    put(f"{clip}.token_embedding.weight", 49408, text_width)
    put(f"{clip}.visual.class_embedding", width)
    put(f"{clip}.visual.conv1.weight", width, 3, patch, patch)
    put(f"{clip}.visual.positional_embedding", grid * grid + 1, width)
    put(f"{clip}.visual.proj", width, 32)
    put_norm(f"{clip}.visual.ln_pre", width)
    put_norm(f"{clip}.visual.ln_post", width)
    put(f"{learner}.ctx", n_ctx, text_width)
    put_linear(f"{learner}.proj", width, text_width)
    for i in range(depth - 1):
        put(f"{learner}.compound_prompts_text.{i}", n_ctx, text_width)
        put_linear(f"{learner}.compound_prompt_projections.{i}", width, text_width)
    places = " ".join(["X"] * n_ctx)
    tokens = open_clip.tokenizer.tokenize([f"{places} {text}" for text in texts])
    embedded = state[f"{clip}.token_embedding.weight"][tokens]
    state[f"{learner}.token_prefix"] = embedded[:, :1].clone()
    state[f"{learner}.token_suffix"] = embedded[:, 1 + n_ctx :].clone()
    return state, tokens
