"""PE-CLIP: a frozen CLIP with adapters and prompts, from clips to class logits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peclip_fast.errors import InputError
from peclip_fast.files import write_text
from peclip_fast.models.adapters import BottleneckAdapter, TemporalAdapter
from peclip_fast.models.backbone import fingerprint, save_backbone
from peclip_fast.models.config import PEClipConfig
from peclip_fast.models.prompts import Prompts
from peclip_fast.models.storage import refuse_other_tensors, write_safetensors
from peclip_fast.models.tokenizer import TextTokenizer, text_tokenizer
from peclip_fast.models.towers import FrozenBlock, TextTower, vision_tower
from peclip_fast.texts import class_texts

LOGIT_SCALE = 100.0  # the published head: 100 times the cosine, whatever the backbone was made for
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"


class PEClip(nn.Module):
    """The model of the paper's section 3, on an open_clip backbone.

    Args:
        config: the switches.
        classes: names, in the order of the logits.
        backbone: open_clip's model; it is frozen here and stays in eval mode.
        unnamed_backbone: the backbone's model_cfg, where ``config.backbone`` can't name it.
        tokenizer: of the class texts; the backbone's own unless given.
    """

    class_tokens: Tensor

    def __init__(
        self,
        config: PEClipConfig,
        classes: Sequence[str],
        backbone: nn.Module,
        unnamed_backbone: dict[str, object] | None = None,
        tokenizer: TextTokenizer | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.unnamed_backbone = unnamed_backbone
        self.tokenizer = text_tokenizer(config.backbone) if tokenizer is None else tokenizer
        self.classes = tuple(classes)
        self.texts = class_texts(self.classes, config.texts)
        self.backbone = backbone.eval().requires_grad_(False)
        self.backbone_fingerprint = fingerprint(backbone)
        self._vision = vision_tower(backbone, config.backbone)
        self._text = TextTower(backbone, config.backbone)

        def each(blocks: list[FrozenBlock], width: int, wanted: bool) -> nn.ModuleList | None:
            adapters = (BottleneckAdapter(width, config.reduction, config.backend) for _ in blocks)
            return nn.ModuleList(adapters) if wanted else None

        text, vision = self._text, self._vision
        self.text_adapter = each(text.blocks, text.width, config.text_adapter)
        self.shared_text = each(text.blocks, text.width, config.shared_text)
        self.shared_vision = each(vision.blocks, vision.width, config.shared_vision)
        self.temporal = (
            nn.ModuleList(
                TemporalAdapter(
                    vision.width,
                    config.reduction,
                    config.recurrence,
                    config.scaling,
                    config.backend,
                )
                for _ in vision.blocks
            )
            if config.temporal
            else None
        )
        self.prompts = self._make_prompts()
        self.register_buffer("class_tokens", self._tokenize(), persistent=False)
        self._kept_texts: tuple[object, Tensor] | None = None

    def _make_prompts(self) -> Prompts | None:
        config = self.config
        if config.prompts == "none":
            return None
        if config.prompts == "coop":
            return Prompts(config.context_tokens, 1, self._text.width)
        layers = min(len(self._text.blocks), len(self._vision.blocks))
        if config.prompt_depth > layers:
            raise InputError(
                f"prompt_depth={config.prompt_depth}: expected at most the {layers} blocks of "
                f"the backbone {config.backbone!r}"
            )
        widths = self._text.width, self._vision.width
        return Prompts(config.context_tokens, config.prompt_depth, *widths)

    def _tokenize(self) -> Tensor:
        """Class texts as tokens (C, n): n is the longest text's where what follows it is not read.

        Where it is, n leaves room for the context tokens and nothing else.
        """
        ids = [self.tokenizer.encode(text) for text in self.texts]
        context = self.prompts.tokens if self.prompts is not None else 0
        room = self._text.context_length - context
        for text, row in zip(self.texts, ids, strict=True):
            if len(row) > room:
                raise InputError(
                    f"class text {text!r}: {len(row)} tokens, expected at most {room} beside "
                    f"{context} context tokens"
                )
        length = room if self._text.whole else max(len(row) for row in ids)
        return torch.tensor([row + [self.tokenizer.pad] * (length - len(row)) for row in ids])

    @property
    def image_size(self) -> int:
        """Height and width of the frames, in pixels."""
        return self._vision.image_size

    @property
    def vision_width(self) -> int:
        """D, the width of the vision blocks."""
        return self._vision.width

    @property
    def _frozen_backend(self) -> str:
        """For the frozen blocks, which have kernels for the CPU alone."""
        return "reference" if self.config.backend == "reference" else "auto"

    # What is trained ---------------------------------------------------------------------------

    def parts(self) -> dict[str, nn.Module]:
        """The trained modules by the part of the method that they are."""
        names = ("text_adapter", "shared_text", "shared_vision", "temporal", "prompts")
        modules = {name: getattr(self, name) for name in names}
        return {name: module for name, module in modules.items() if module is not None}

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """Every trained parameter under its name in the model and in saved files."""
        return {
            f"{part}.{name}": parameter
            for part, module in self.parts().items()
            for name, parameter in module.named_parameters()
        }

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The groups that have learning rates of their own in the published recipes."""
        groups: dict[str, list[nn.Parameter]] = {"adapters": [], "prompts": []}
        for part, module in self.parts().items():
            groups["prompts" if part == "prompts" else "adapters"].extend(module.parameters())
        return groups

    def train(self, mode: bool = True) -> PEClip:
        """Train or evaluate the adapters; the backbone is always in eval mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    # Text --------------------------------------------------------------------------------------

    def encode_texts(self) -> Tensor:
        """Class text features (C, E), of length 1."""
        tower, prompts, frozen = self._text, self.prompts, self._frozen_backend
        context = prompts.for_text() if prompts is not None else []
        ends = tower.ends(self.class_tokens, len(context[0]) if context else 0)
        x = tower.embed(self.class_tokens, context[0] if context else None)
        for i, block in enumerate(tower.blocks):
            if 0 < i < len(context):
                learned = context[i].to(x.dtype).expand(len(x), -1, -1)
                behind = tower.start + len(context[i])
                x = torch.cat([x[:, : tower.start], learned, x[:, behind:]], 1)
            a = block.attend(x, causal=tower.causal, backend=frozen)
            x = _add(self.shared_text, i, a, x)
            x = _add(self.text_adapter, i, block.feed_forward(x, frozen), x)
        end = x[torch.arange(len(x), device=x.device), ends]
        return F.normalize(_wide(tower.project(end)), dim=-1)

    def _text_features(self) -> Tensor:
        """encode_texts(), kept in eval mode without gradients until a parameter changes."""
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self.encode_texts()
        state = self._text_state()
        if self._kept_texts is None or self._kept_texts[0] != state:
            self._kept_texts = state, self.encode_texts()
        return self._kept_texts[1]

    def _text_state(self) -> object:
        """Changes when anything that the text features depend on does.

        Versions tell of changes in place, addresses of replaced tensors; the sums tell of writes
        through ``.data``, which has a version of its own.
        """
        trained = [p.detach() for p in self._text_side()]
        sums = torch.stack([p.double().sum() for p in trained]).tolist() if trained else []
        frozen = self.backbone.parameters()
        tensors = [*trained, *frozen, self.class_tokens]
        versions = [(t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors]
        return sums, versions, torch.is_autocast_enabled(self.class_tokens.device.type)

    def _text_side(self) -> Iterator[nn.Parameter]:
        for module in (self.text_adapter, self.shared_text, self.prompts):
            if module is not None:
                yield from module.parameters()

    # Vision ------------------------------------------------------------------------------------

    def encode_clips(self, frames: Tensor) -> Tensor:
        """Clips (B, T, 3, H, W), float in [0, 1] or uint8 -> features (B, E), of length 1."""
        self._check(frames)
        tower, (clips, length) = self._vision, frames.shape[:2]
        frozen = self._frozen_backend
        context = self.prompts.for_vision() if self.prompts is not None else []
        x = tower.embed(self.pixels(frames).flatten(0, 1), context[0] if context else None)
        last = len(tower.blocks) - 1
        for i, block in enumerate(tower.blocks):
            if 0 < i < len(context):
                learned = context[i].to(x.dtype).expand(len(x), -1, -1)
                x = torch.cat([x[:, : -len(context[i])], learned], 1)
            # Where only the class token leaves the last block, that block computes no other.
            queries = tower.queries if i == last else None
            a = block.attend(x, queries=queries, backend=frozen)
            x = _add(self.shared_vision, i, a, x[:, :queries])
            m = block.feed_forward(x, frozen)
            if self.temporal is None:
                x = x + m
            else:
                m, x = (t.unflatten(0, (clips, length)) for t in (m, x))
                x = self.temporal[i](m, x).flatten(0, 1)
        features = _wide(tower.project(x)).unflatten(0, (clips, length))
        return F.normalize(features.mean(1), dim=-1)

    def pixels(self, frames: Tensor) -> Tensor:
        """Frames (..., 3, H, W), float in [0, 1] or uint8 -> what the encoder reads, its dtype."""
        dtype = self._vision.dtype
        x = frames.to(dtype) / 255 if frames.dtype == torch.uint8 else frames.to(dtype)
        if self.config.normalize == "clip":
            mean = x.new_tensor(self._vision.mean).view(3, 1, 1)
            std = x.new_tensor(self._vision.std).view(3, 1, 1)
            x = (x - mean) / std
        return x

    def _check(self, frames: Tensor) -> None:
        size = self.image_size
        if frames.ndim != 5 or tuple(frames.shape[2:]) != (3, size, size) or 0 in frames.shape:
            raise InputError(
                f"frames: expected the shape (clips, frames, 3, {size}, {size}), "
                f"got {tuple(frames.shape)}"
            )
        if frames.dtype != torch.uint8 and not frames.is_floating_point():
            raise InputError(f"frames: expected uint8, or float in [0, 1], got {frames.dtype}")

    # Head --------------------------------------------------------------------------------------

    def forward(self, frames: Tensor, text_features: Tensor | None = None) -> Tensor:
        """Logits (B, C), at least float32: 100 times the cosine of clip and text (equation 1).

        Args:
            frames: (B, T, 3, H, W), float in [0, 1] or uint8.
            text_features: (C, E) from encode_texts(), if the caller keeps them.
        """
        clips = self.encode_clips(frames)
        texts = self._text_features() if text_features is None else text_features
        with torch.autocast(clips.device.type, enabled=False):
            return LOGIT_SCALE * (clips @ texts.T)

    # Files -------------------------------------------------------------------------------------

    def trained_state(self) -> dict[str, Tensor]:
        """The trained tensors, by name, detached and not copied."""
        return {name: p.detach() for name, p in self.trained_parameters().items()}

    def load_trained_state(self, state: Mapping[str, Tensor], source: str = "state") -> None:
        """Copy trained tensors in; InputError with the names of those that don't fit."""
        mine = self.trained_state()
        refuse_other_tensors(source, state, mine)
        for name, tensor in mine.items():
            tensor.copy_(state[name])

    def save_pretrained(self, folder: str | Path) -> None:
        """Write model.safetensors, the trained tensors alone, and config.json.

        The config names the backbone. One that has no name, from a reference checkpoint, is
        written beside in ``backbone/``.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = asdict(self.config)
        if self.unnamed_backbone is not None:
            save_backbone(self.backbone, self.unnamed_backbone, folder / "backbone")
            config["backbone"] = "./backbone"
        write_safetensors(folder / WEIGHTS_FILE, self.trained_state())
        description = {
            "method": "pe_clip",
            "classes": list(self.classes),
            "config": config,
            "class_tokens": self.class_tokens.tolist(),
            "backbone_fingerprint": self.backbone_fingerprint,
        }
        write_text(folder / CONFIG_FILE, json.dumps(description, indent=1))


def _add(adapters: nn.ModuleList | None, i: int, y: Tensor, residual: Tensor) -> Tensor:
    return residual + y if adapters is None else adapters[i](y, residual)


def _wide(x: Tensor) -> Tensor:
    """Half precision would round the logits to eighths."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
