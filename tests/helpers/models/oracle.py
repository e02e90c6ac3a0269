"""PE-CLIP in fp64 from a published-style state dict, as the equations read.

Nothing is shared with the package: every position of every text, every token of every block,
attention as a softmax of a product, the GRU as its four lines.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def linear(state, name, x):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def norm(state, name, x):
    mean, var = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    return (x - mean) / (var + 1e-5).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]


def gelu(x):
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def attention(state, name, x, heads, causal):
    n, length, width = x.shape
    qkv = x @ state[f"{name}.in_proj_weight"].T + state[f"{name}.in_proj_bias"]
    q, k, v = qkv.view(n, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(-1, -2) / math.sqrt(width // heads)
    if causal:
        scores = scores + torch.full_like(scores, -torch.inf).triu(1)
    mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, length, width)
    return linear(state, f"{name}.out_proj", mixed)


def mlp(state, name, x):
    x = linear(state, f"{name}.c_fc", x)
    return linear(state, f"{name}.c_proj", x * torch.sigmoid(1.702 * x))


def bottleneck(state, name, x):
    return linear(state, f"{name}.up_proj", gelu(linear(state, f"{name}.down_proj", x)))


def tda(state, name, m, frames):
    z = norm(state, f"{name}.adapter_layer_norm_before", m)
    s = torch.relu(linear(state, f"{name}.scale", z))
    d = linear(state, f"{name}.down_proj", z)
    d = d.view(-1, frames, *d.shape[1:])
    g, outputs = torch.zeros_like(d[:, 0]), []
    for t in range(frames):
        ih = d[:, t] @ state[f"{name}.rnn.weight_ih_l0"].T + state[f"{name}.rnn.bias_ih_l0"]
        hh = g @ state[f"{name}.rnn.weight_hh_l0"].T + state[f"{name}.rnn.bias_hh_l0"]
        (ri, zi, ni), (rh, zh, nh) = ih.chunk(3, -1), hh.chunk(3, -1)
        r, u = torch.sigmoid(ri + rh), torch.sigmoid(zi + zh)
        g = (1 - u) * torch.tanh(ni + r * nh) + u * g
        outputs.append(g)
    g = torch.stack(outputs, 1).flatten(0, 1)
    return s * linear(state, f"{name}.up_proj", gelu(g))


def logits(state: dict[str, Tensor], tokens: Tensor, frames: Tensor) -> Tensor:
    """state under the published names, tokens (C, 77) with placeholders, frames (B, T, 3, H, W)."""
    state = {name: tensor.double() for name, tensor in state.items()}
    learner, clip = "prompt_learner", "clip_model"
    contexts = [state[f"{learner}.ctx"]]
    while (name := f"{learner}.compound_prompts_text.{len(contexts) - 1}") in state:
        contexts.append(state[name])
    places = ["proj", *(f"compound_prompt_projections.{i}" for i in range(len(contexts) - 1))]
    seen = [linear(state, f"{learner}.{p}", c) for p, c in zip(places, contexts, strict=True)]
    n = len(contexts[0])

    x = torch.cat(
        [
            state[f"{learner}.token_prefix"],
            contexts[0].expand(len(tokens), -1, -1),
            state[f"{learner}.token_suffix"],
        ],
        1,
    )
    x = x + state[f"{clip}.positional_embedding"]
    heads = x.shape[-1] // 64
    i = 0
    while f"{clip}.transformer.resblocks.{i}.ln_1.weight" in state:
        block = f"{clip}.transformer.resblocks.{i}"
        if 0 < i < len(contexts):
            x = torch.cat([x[:, :1], contexts[i].expand(len(x), -1, -1), x[:, 1 + n :]], 1)
        a = attention(state, f"{block}.attn", norm(state, f"{block}.ln_1", x), heads, True)
        x = x + a + bottleneck(state, f"{block}.adapter_pre_attn", a)
        m = mlp(state, f"{block}.mlp", norm(state, f"{block}.ln_2", x))
        x = x + m + bottleneck(state, f"{block}.adapter_pre_mlp", m)
        i += 1
    x = norm(state, f"{clip}.ln_final", x)
    texts = x[torch.arange(len(x)), tokens.argmax(-1)] @ state[f"{clip}.text_projection"]

    clips, length = frames.shape[:2]
    visual = f"{clip}.visual"
    patch = state[f"{visual}.conv1.weight"]
    images = frames.double().flatten(0, 1)
    size = patch.shape[-1]
    squares = images.unfold(2, size, size).unfold(3, size, size).permute(0, 2, 3, 1, 4, 5)
    x = squares.flatten(1, 2).flatten(2) @ patch.flatten(1).T
    cls = state[f"{visual}.class_embedding"].expand(len(x), 1, -1)
    x = torch.cat([cls, x], 1) + state[f"{visual}.positional_embedding"]
    x = torch.cat([x, seen[0].expand(len(x), -1, -1)], 1)
    x = norm(state, f"{visual}.ln_pre", x)
    heads = x.shape[-1] // 64
    i = 0
    while f"{visual}.transformer.resblocks.{i}.ln_1.weight" in state:
        block = f"{visual}.transformer.resblocks.{i}"
        if 0 < i < len(seen):
            x = torch.cat([x[:, :-n], seen[i].expand(len(x), -1, -1)], 1)
        a = attention(state, f"{block}.attn", norm(state, f"{block}.ln_1", x), heads, False)
        x = x + a + bottleneck(state, f"{block}.adapter_pre_attn", a)
        m = mlp(state, f"{block}.mlp", norm(state, f"{block}.ln_2", x))
        x = x + m + tda(state, f"{block}.adapter_pre_mlp", m, length)
        i += 1
    features = norm(state, f"{visual}.ln_post", x[:, 0]) @ state[f"{visual}.proj"]
    features = features.view(clips, length, -1).mean(1)
    features = features / features.norm(dim=-1, keepdim=True)
    texts = texts / texts.norm(dim=-1, keepdim=True)
    return 100 * features @ texts.T
