"""A small backbone of each kind that is taken, as a folder.

open_clip builds a timm model by its name alone, so the small ones are registered with timm here.
"""

from __future__ import annotations

import json
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import open_clip
import torch
from timm.models import register_model
from timm.models.eva import _create_eva
from timm.models.vision_transformer import _create_vision_transformer
from torch import nn

from peclip_fast.models.backbone import CONFIG_FILE, save_backbone

SIZE, BLOCKS = 32, 3
ViT = {"img_size": SIZE, "patch_size": 8, "embed_dim": 96, "depth": BLOCKS, "num_heads": 3}
EVA02 = {"qkv_fused": False, "swiglu_mlp": True, "scale_mlp": True, "scale_attn_inner": True}
ROTARY = {"use_rot_pos_emb": True, "ref_feat_shape": (5, 5)}


@register_model
def small_eva02(pretrained: bool = False, **given: Any) -> nn.Module:
    """As eva02_base_patch16_clip_224."""
    options = {**ViT, **EVA02, **ROTARY, "mlp_ratio": 8 / 3, **given}
    return _create_eva("small_eva02", pretrained, **options)


@register_model
def small_eva01(pretrained: bool = False, **given: Any) -> nn.Module:
    """As eva_giant_patch14_224, with scales behind attention and MLP."""
    return _create_eva("small_eva01", pretrained, **{**ViT, "init_values": 0.5, **given})


@register_model
def small_eva02_norms_behind(pretrained: bool = False, **given: Any) -> nn.Module:
    """As eva02_enormous_patch14_clip_224."""
    return _create_eva("small_norms_behind", pretrained, **{**ViT, "use_post_norm": True, **given})


@register_model
def small_pe_core(pretrained: bool = False, **given: Any) -> nn.Module:
    """As vit_pe_core_base_patch16_224."""
    options = {
        **ViT, **ROTARY, "attn_type": "rope", "use_pre_transformer_norm": True,
        "rope_grid_offset": 1.0, "rope_grid_indexing": "xy", "attn_pool_num_heads": 2,
        "norm_layer": partial(nn.LayerNorm, eps=1e-5), **given,
    }  # fmt: skip
    return _create_eva("small_pe_core", pretrained, **options)


@register_model
def small_siglip(pretrained: bool = False, **given: Any) -> nn.Module:
    """As vit_base_patch16_siglip_224."""
    return _create_vision_transformer("small_siglip", pretrained, **ViT, class_token=False, **given)


@register_model
def small_siglip2(pretrained: bool = False, **given: Any) -> nn.Module:
    """As vit_so400m_patch14_siglip_378: another GELU."""
    options = {**ViT, "class_token": False, "act_layer": "gelu_tanh", **given}
    return _create_vision_transformer("small_siglip2", pretrained, **options)


@register_model
def small_timm_clip(pretrained: bool = False, **given: Any) -> nn.Module:
    """As vit_large_patch14_clip_224."""
    return _create_vision_transformer("small_timm_clip", pretrained, **ViT, pre_norm=True, **given)


@register_model
def small_gap(pretrained: bool = False, **given: Any) -> nn.Module:
    """As vit_medium_patch16_gap_256: a mean, no biases of queries, keys and values, scales."""
    own = {"class_token": False, "qkv_bias": False, "init_values": 0.5, "global_pool": "avg"}
    return _create_vision_transformer("small_gap", pretrained, **{**ViT, **own, **given})


def timm_vision(name: str, pool: str, proj: str | None = None) -> dict[str, Any]:
    """A vision_cfg."""
    return {"timm_model_name": name, "timm_pool": pool, "timm_proj": proj, "image_size": SIZE}


CLIP_VISION = {"image_size": SIZE, "layers": BLOCKS, "width": 96, "head_width": 32, "patch_size": 8}
CLIP_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": BLOCKS}
SIGLIP_TEXT = {
    **CLIP_TEXT, "context_length": 64, "no_causal_mask": True, "proj_bias": True,
    "pool_type": "last", "norm_kwargs": {"eps": 1e-6},
}  # fmt: skip
CUSTOM = {"embed_dim": 32, "custom_text": True, "text_cfg": CLIP_TEXT}
SIGLIP = {"embed_dim": 96, "custom_text": True, "init_logit_bias": -10, "text_cfg": SIGLIP_TEXT}

# Of each: its model_cfg, mean and standard deviation, and whether it pools by a class token.
KINDS: dict[str, dict[str, Any]] = {
    "clip": {"embed_dim": 32, "vision_cfg": CLIP_VISION, "text_cfg": CLIP_TEXT},
    "clip-scaled": {
        "embed_dim": 32,
        "vision_cfg": {**CLIP_VISION, "ls_init_value": 0.5},
        "text_cfg": {**CLIP_TEXT, "ls_init_value": 0.5},
    },
    "eva02": {**CUSTOM, "vision_cfg": timm_vision("small_eva02", "token")},
    "eva01": {**CUSTOM, "vision_cfg": timm_vision("small_eva01", "token")},
    "eva02-norms-behind": {
        **CUSTOM, "vision_cfg": timm_vision("small_eva02_norms_behind", "token")
    },
    "siglip": {**SIGLIP, "vision_cfg": timm_vision("small_siglip", "map", "none")},
    "siglip2": {
        **SIGLIP,
        "vision_cfg": timm_vision("small_siglip2", "map", "none"),
        "text_cfg": {**SIGLIP_TEXT, "act_kwargs": {"approximate": "tanh"}},
    },
    "siglip-i18n": {
        **SIGLIP,
        "embed_dim": 96,
        "vision_cfg": timm_vision("small_siglip", "map", "none"),
        "text_cfg": {**SIGLIP_TEXT, "width": 96, "proj_type": "none"},
    },
    "pe-core": {
        **CUSTOM,
        "vision_cfg": timm_vision("small_pe_core", "map"),
        "text_cfg": {**CLIP_TEXT, "context_length": 32},
    },
    "clipa": {
        "embed_dim": 32,
        "vision_cfg": {
            **CLIP_VISION, "no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True
        },
        "text_cfg": {
            **CLIP_TEXT, "context_length": 32, "pool_type": "last", "no_causal_mask": True
        },
    },
    "clip-mean": {
        "embed_dim": 32,
        "vision_cfg": {**CLIP_VISION, "pool_type": "avg"},
        "text_cfg": CLIP_TEXT,
    },
    "mobileclip2": {
        **CUSTOM,
        "vision_cfg": timm_vision("small_timm_clip", "token"),
        "text_cfg": {**CLIP_TEXT, "no_causal_mask": True},
    },
    "gap": {**CUSTOM, "vision_cfg": timm_vision("small_gap", "", "linear")},
    "worldwide": {
        "embed_dim": 32,
        "vision_cfg": CLIP_VISION,
        "text_cfg": {**CLIP_TEXT, "pool_type": "eos", "eos_id": 49407},
    },
}  # fmt: skip


class WordTokenizer:
    """In the place of SigLIP's, which is downloaded: a number below 32000 for each word."""

    pad = 1

    def encode(self, text: str) -> list[int]:
        """The words and the padding token that closes a text."""
        return [2 + zlib.crc32(word.encode()) % 31_000 for word in text.split()] + [1]


PIXELS = {"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.6, 0.7]}


def save_small(kind: str, folder: Path) -> str:
    """Writes a backbone with weights that leave no path out, and gives the folder's name."""
    config = {name: value for name, value in KINDS[kind].items() if name != "custom_text"}
    custom = "custom_text" in KINDS[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    save_backbone(model, KINDS[kind], folder)
    description = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps({**description, "preprocess_cfg": PIXELS}))
    return str(folder)
