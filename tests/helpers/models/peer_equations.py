"""AIM and ST-Adapter as their papers have them, token by token, on tensors by published names.

Independent of the package: plain PyTorch, in the dtype of the tensors.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]


def part(state: State, prefix: str) -> State:
    """The tensors whose names begin so, without that."""
    return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}


def norm(x: Tensor, state: State, name: str) -> Tensor:
    """LN with CLIP's epsilon."""
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)


def linear(x: Tensor, state: State, name: str) -> Tensor:
    """W x + b."""
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def attention(x: Tensor, block: State, heads: int) -> Tensor:
    """Of x (..., L, D), all rows among one another."""
    packed = x @ block["attn.in_proj_weight"].T + block["attn.in_proj_bias"]
    mixed = []
    for head in range(heads):
        q, k, v = (t.chunk(heads, -1)[head] for t in packed.chunk(3, -1))
        mixed.append((q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) @ v)
    return linear(torch.cat(mixed, -1), block, "attn.out_proj")


def mlp(x: Tensor, block: State) -> Tensor:
    """With CLIP's quick GELU."""
    hidden = linear(x, block, "mlp.c_fc")
    return linear(hidden * torch.sigmoid(1.702 * hidden), block, "mlp.c_proj")


def embed(frames: Tensor, state: State) -> Tensor:
    """Frames (B, T, 3, H, W) -> tokens (B, T, n, D) with their positions."""
    kernel = state["conv1.weight"]
    patches = F.conv2d(frames.flatten(0, 1), kernel, stride=kernel.shape[-1])
    patches = patches.flatten(2).mT.unflatten(0, frames.shape[:2])
    cls = state["class_embedding"].expand(*patches.shape[:2], 1, -1)
    return torch.cat([cls, patches], 2) + state["positional_embedding"]


def layers(state: State) -> range:
    """The numbers of the blocks."""
    start = "transformer.resblocks."
    return range(1 + max(int(n.split(".")[2]) for n in state if n.startswith(start)))


def aim_logits(state: State, frames: Tensor, heads: int, scale: float) -> Tensor:
    """Logits (B, C) of clips (B, T, 3, H, W)."""

    def adapter(x: Tensor, name: str, block: State) -> Tensor:
        return linear(F.gelu(linear(x, block, f"{name}.D_fc1")), block, f"{name}.D_fc2")

    own = part(state, "backbone.")
    x = embed(frames, own) + own["temporal_embedding"][:, :, None]
    x = norm(x, own, "ln_pre")
    for i in layers(own):
        block = part(own, f"transformer.resblocks.{i}.")
        u = norm(x.transpose(1, 2), block, "ln_1")
        if "T_Adapter_in.D_fc1.weight" in block:
            u = u + adapter(u, "T_Adapter_in", block)
        x = x + adapter(attention(u, block, heads), "T_Adapter", block).transpose(1, 2)
        y = attention(norm(x, block, "ln_1"), block, heads)
        x = x + y + adapter(y, "S_Adapter", block)
        z = norm(x, block, "ln_2")
        x = x + mlp(z, block) + scale * adapter(z, "MLP_Adapter", block)
    return linear(norm(x[:, :, 0], own, "ln_post").mean(1), state, "cls_head.fc_cls")


def st_adapter_logits(state: State, frames: Tensor, heads: int) -> Tensor:
    """Logits (B, C) of clips (B, T, 3, H, W)."""

    def adapted(x: Tensor, name: str, block: State) -> Tensor:
        if f"{name}.fc1.weight" not in block:
            return x
        kernel = block[f"{name}.conv.weight"]
        side = math.isqrt(x.shape[2] - 1)
        grid = linear(x[:, :, 1:], block, f"{name}.fc1").unflatten(2, (side, side))
        pads = [size // 2 for size in kernel.shape[2:]]
        padded = F.pad(grid, [0, 0, *(p for pad in reversed(pads) for p in (pad, pad))])
        mixed = block[f"{name}.conv.bias"].expand_as(grid).clone()
        for t in range(kernel.shape[2]):
            for r in range(kernel.shape[3]):
                for c in range(kernel.shape[4]):
                    moved = padded[:, t:, r:, c:][:, : grid.shape[1], :side, :side]
                    mixed = mixed + kernel[:, 0, t, r, c] * moved
        added = linear(mixed.flatten(2, 3), block, f"{name}.fc2")
        return torch.cat([x[:, :, :1], x[:, :, 1:] + added], 2)

    x = norm(embed(frames, state), state, "ln_pre")
    for i in layers(state):
        block = part(state, f"transformer.resblocks.{i}.")
        x = adapted(x, "adapter_pre_attn", block)
        x = x + attention(norm(x, block, "ln_1"), block, heads)
        x = adapted(x, "adapter_pre_mlp", block)
        x = x + mlp(norm(x, block, "ln_2"), block)
    return linear(norm(x[:, :, 0].mean(1), state, "ln_post"), state, "fc")
