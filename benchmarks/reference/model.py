"""PE-CLIP as published, with what makes it slow and what makes it wrong.

- The GRU takes the token positions as its batch and all B*T frames as one sequence: the state of
  one clip leaks into the next.
- Attention is asked for its weight maps on every call.
- The text encoder reads all 77 positions for every batch, in training and in testing.
- Everything is in float32; every token goes through the whole last block.

Parameters have the published names, so a published state dict loads as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD_WIDTH = 64


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class BottleneckAdapter(nn.Module):
    """y + up(GELU(down(y)))."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.down_proj = nn.Linear(width, hidden)
        self.up_proj = nn.Linear(hidden, width)

    def forward(self, y: Tensor) -> Tensor:
        return y + self.up_proj(F.gelu(self.down_proj(y)))


class TemporalAdapter(nn.Module):
    """m + TDA(m), with one recurrence over the frames of all clips."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.adapter_layer_norm_before = nn.LayerNorm(width)
        self.scale = nn.Linear(width, 1)
        self.down_proj = nn.Linear(width, hidden)
        self.rnn = nn.GRU(hidden, hidden, batch_first=True)
        self.up_proj = nn.Linear(hidden, width)

    def forward(self, m: Tensor) -> Tensor:
        """m (L, B*T, D): with batch_first the tokens are the batch and the frames the sequence."""
        z = self.adapter_layer_norm_before(m)
        s = F.relu(self.scale(z))
        g, _ = self.rnn(self.down_proj(z))
        return m + s * self.up_proj(F.gelu(g))


class Block(nn.Module):
    def __init__(self, width: int, adapters: tuple[nn.Module, nn.Module]) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, width // HEAD_WIDTH)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", QuickGELU())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))
        self.ln_2 = nn.LayerNorm(width)
        self.adapter_pre_attn, self.adapter_pre_mlp = adapters

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (L, N, D)."""
        y = self.ln_1(x)
        a, _ = self.attn(y, y, y, need_weights=True, attn_mask=mask)
        x = x + self.adapter_pre_attn(a)
        return x + self.adapter_pre_mlp(self.mlp(self.ln_2(x)))


class Transformer(nn.Module):
    def __init__(self, blocks: list[Block]) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(blocks)


class Vision(nn.Module):
    def __init__(
        self, width: int, hidden: int, layers: int, patch: int, patches: int, embed: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(patches + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer([
            Block(width, (BottleneckAdapter(width, hidden), TemporalAdapter(width, hidden)))
            for _ in range(layers)
        ])  # fmt: skip
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, embed))

    def forward(self, images: Tensor, prompts: list[Tensor]) -> Tensor:
        """images (N, 3, H, W), prompts of (n, D) -> (N, E)."""
        x = self.conv1(images).flatten(2).transpose(1, 2)
        cls = self.class_embedding.expand(len(x), 1, -1)
        x = torch.cat([cls, x], 1) + self.positional_embedding
        x = torch.cat([x, prompts[0].expand(len(x), -1, -1)], 1)
        x = self.ln_pre(x).transpose(0, 1)
        for i, block in enumerate(self.transformer.resblocks):
            if 0 < i < len(prompts):
                learned = prompts[i].unsqueeze(1).expand(-1, x.shape[1], -1)
                x = torch.cat([x[: -len(learned)], learned])
            x = block(x, None)
        return self.ln_post(x.transpose(0, 1))[:, 0] @ self.proj


class CLIP(nn.Module):
    """The text encoder's tensors stand at this level, as in OpenAI's CLIP."""

    def __init__(self, vision: Vision, width: int, hidden: int, layers: int, embed: int) -> None:
        super().__init__()
        self.visual = vision
        self.transformer = Transformer([
            Block(width, (BottleneckAdapter(width, hidden), BottleneckAdapter(width, hidden)))
            for _ in range(layers)
        ])  # fmt: skip
        self.positional_embedding = nn.Parameter(torch.empty(77, width))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, embed))
        self.logit_scale = nn.Parameter(torch.empty(()))
        mask = torch.full((77, 77), -torch.inf).triu(1)
        self.register_buffer("mask", mask, persistent=False)

    def encode_text(self, x: Tensor, ends: Tensor, prompts: list[Tensor]) -> Tensor:
        """x (C, 77, Dt), with the first prompts in place -> (C, E)."""
        x = (x + self.positional_embedding).transpose(0, 1)
        for i, block in enumerate(self.transformer.resblocks):
            if 0 < i < len(prompts):
                learned = prompts[i].unsqueeze(1).expand(-1, x.shape[1], -1)
                x = torch.cat([x[:1], learned, x[1 + len(learned) :]])
            x = block(x, self.mask)
        x = self.ln_final(x.transpose(0, 1))
        return x[torch.arange(len(x)), ends] @ self.text_projection


class PromptLearner(nn.Module):
    def __init__(self, state: Mapping[str, Tensor], depth: int, width: int) -> None:
        super().__init__()
        self.ctx = nn.Parameter(torch.empty_like(state["prompt_learner.ctx"]))
        text_width = self.ctx.shape[1]
        self.proj = nn.Linear(text_width, width)
        self.compound_prompts_text = nn.ParameterList(
            torch.empty_like(self.ctx) for _ in range(depth - 1)
        )
        self.compound_prompt_projections = nn.ModuleList(
            nn.Linear(text_width, width) for _ in range(depth - 1)
        )
        for name in ("token_prefix", "token_suffix"):
            self.register_buffer(name, torch.empty_like(state[f"prompt_learner.{name}"]))

    def forward(self) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Texts (C, 77, Dt) before positions, prompts of the text and of the vision blocks."""
        context = self.ctx.expand(len(self.token_prefix), -1, -1)
        texts = torch.cat([self.token_prefix, context, self.token_suffix], 1)
        text = [self.ctx, *self.compound_prompts_text]
        places = [self.proj, *self.compound_prompt_projections]
        return texts, text, [place(prompt) for place, prompt in zip(places, text, strict=True)]


class ReferencePECLIP(nn.Module):
    """The model of a published state dict.

    Args:
        state: tensors under the published names; all sizes are theirs.
        tokens: (C, 77), the texts with placeholders where the context stands.
    """

    def __init__(self, state: Mapping[str, Tensor], tokens: Tensor) -> None:
        super().__init__()
        visual, text = "clip_model.visual.", "clip_model."
        width, _, patch, _ = state[f"{visual}conv1.weight"].shape
        patches = len(state[f"{visual}positional_embedding"]) - 1
        embed = state[f"{visual}proj"].shape[1]
        text_width = state[f"{text}ln_final.weight"].shape[0]

        def sizes(tower: str) -> tuple[int, int]:
            """Bottleneck's width and number of blocks."""
            blocks = f"{tower}transformer.resblocks."
            hidden = state[f"{blocks}0.adapter_pre_attn.down_proj.bias"].shape[0]
            numbers = {name.removeprefix(blocks).split(".")[0] for name in state if blocks in name}
            return hidden, len([n for n in numbers if f"{blocks}{n}.ln_1.weight" in state])

        vision = Vision(width, *sizes(visual), patch, patches, embed)
        self.clip_model = CLIP(vision, text_width, *sizes(text), embed)
        deep = [name for name in state if "compound_prompts_text" in name]
        self.prompt_learner = PromptLearner(state, 1 + len(deep), width)
        self.load_state_dict(dict(state))
        for name, parameter in self.named_parameters():
            trained = "adapter_pre" in name or name.startswith("prompt_learner")
            parameter.requires_grad_(trained)
        self.register_buffer("ends", tokens.argmax(-1), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """frames (B, T, 3, H, W) float in [0, 1] -> logits (B, C)."""
        texts, text_prompts, vision_prompts = self.prompt_learner()
        features = self.clip_model.visual(frames.flatten(0, 1), vision_prompts)
        features = features.unflatten(0, frames.shape[:2]).mean(1)
        texts = self.clip_model.encode_text(texts, self.ends, text_prompts)
        features = features / features.norm(dim=-1, keepdim=True)
        texts = texts / texts.norm(dim=-1, keepdim=True)
        return 100 * features @ texts.t()
