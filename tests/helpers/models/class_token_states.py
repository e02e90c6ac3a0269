"""Random checkpoints of DFER-CLIP's and EmoCLIP's programs of any sizes, and their equations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor

LAYERS = "temporal_transformer.layers"


@dataclass(frozen=True)
class Sizes:
    """Of a checkpoint; E is ``features``."""

    image: int = 32
    patch: int = 16
    width: int = 64
    vision_heads: int = 1
    text_width: int = 64
    text_heads: int = 1
    features: int = 16
    blocks: int = 2
    text_blocks: int = 1
    layers: int = 1
    heads: int = 8
    head_width: int = 4
    hidden: int = 20
    places: int = 6
    contexts: int = 4

    def clip(self) -> open_clip.CLIP:
        """A random one, in float64."""
        vision = {
            "image_size": self.image, "patch_size": self.patch, "width": self.width,
            "layers": self.blocks, "head_width": self.width // self.vision_heads,
        }  # fmt: skip
        text = {"width": self.text_width, "heads": self.text_heads, "layers": self.text_blocks}
        clip = open_clip.CLIP(self.features, vision, text, quick_gelu=True)
        with torch.no_grad():
            for parameter in clip.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return clip.double().eval()

    def temporal(self) -> dict[str, Tensor]:
        """The temporal module's tensors by the published names, in float64."""
        e, inner = self.features, self.heads * self.head_width
        state = {"cls_token": torch.randn(1, 1, e), "pos_embedding": torch.randn(1, self.places, e)}
        for i in range(self.layers):
            shapes = {
                "0.fn.norm.weight": (e,), "0.fn.norm.bias": (e,),
                "0.fn.fn.to_qkv.weight": (3 * inner, e),
                "0.fn.fn.to_out.0.weight": (e, inner), "0.fn.fn.to_out.0.bias": (e,),
                "1.fn.norm.weight": (e,), "1.fn.norm.bias": (e,),
                "1.fn.fn.net.0.weight": (self.hidden, e), "1.fn.fn.net.0.bias": (self.hidden,),
                "1.fn.fn.net.3.weight": (e, self.hidden), "1.fn.fn.net.3.bias": (e,),
            }  # fmt: skip
            for name, shape in shapes.items():
                state[f"{LAYERS}.{i}.{name}"] = torch.randn(shape) * shape[-1] ** -0.5
        return {name: tensor.double() for name, tensor in state.items()}


def over_time(state: dict[str, Tensor], sizes: Sizes, features: Tensor) -> Tensor:
    """Features of frames (B, T, E) -> of clips (B, E), of length 1; head by head."""
    clips, length, _ = features.shape
    x = torch.cat([state["cls_token"].expand(clips, 1, -1), features], 1)
    x = x + state["pos_embedding"][:, : length + 1]
    for i in range(sizes.layers):

        def of(name: str, i: int = i) -> Tensor:
            return state[f"{LAYERS}.{i}.{name}"]

        y = F.layer_norm(x, x.shape[-1:], of("0.fn.norm.weight"), of("0.fn.norm.bias"))
        packed, inner, mixed = y @ of("0.fn.fn.to_qkv.weight").T, sizes.heads * sizes.head_width, []
        for head in range(sizes.heads):
            start = head * sizes.head_width
            q, k, v = (
                packed[..., part * inner + start : part * inner + start + sizes.head_width]
                for part in range(3)
            )
            mixed.append((q @ k.mT / math.sqrt(sizes.head_width)).softmax(-1) @ v)
        out = torch.cat(mixed, -1) @ of("0.fn.fn.to_out.0.weight").T
        x = x + out + of("0.fn.fn.to_out.0.bias")
        y = F.layer_norm(x, x.shape[-1:], of("1.fn.norm.weight"), of("1.fn.norm.bias"))
        z = y @ of("1.fn.fn.net.0.weight").T + of("1.fn.fn.net.0.bias")
        z = 0.5 * z * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
        x = x + z @ of("1.fn.fn.net.3.weight").T + of("1.fn.fn.net.3.bias")
    return F.normalize(x[:, 0], dim=-1)


def text_features(clip: open_clip.CLIP, embedded: Tensor, ends: Tensor) -> Tensor:
    """Embedded prompts (C, 77, Dt) -> (C, E), of length 1."""
    x = clip.transformer(embedded + clip.positional_embedding, attn_mask=clip.attn_mask.double())
    x = clip.ln_final(x)[torch.arange(len(x)), ends] @ clip.text_projection
    return F.normalize(x, dim=-1)


def published_encoders(clip: open_clip.CLIP, image: str, text: str) -> dict[str, Tensor]:
    """A CLIP's tensors with these in front of the two encoders' names."""
    start = "visual."
    return {
        image + n.removeprefix(start) if n.startswith(start) else text + n: t
        for n, t in clip.state_dict().items()
    }
