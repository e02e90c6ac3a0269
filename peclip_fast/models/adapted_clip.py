"""A frozen CLIP with trained parts: what all methods share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from peclip_fast.config.model import ModelConfig
from peclip_fast.errors import InputError
from peclip_fast.files import write_text
from peclip_fast.models.backbone import fingerprint, save_backbone
from peclip_fast.models.storage import refuse_other_tensors, write_safetensors
from peclip_fast.models.tokenizer import TextTokenizer, Tokenize, text_tokenizer
from peclip_fast.models.towers import TextTower, vision_tower

LOGIT_SCALE = 100.0  # the published head: 100 times the cosine
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"

Site = Callable[[int, Tensor, Tensor], Tensor]


class Sites(NamedTuple):
    """What becomes of a block's two outputs: (block's number, output y, input x) -> new x.

    Plain CLIP is ``x + y`` at both.
    """

    attention: Site
    feed_forward: Site


class AdaptedCLIP(nn.Module):
    """A frozen open_clip model, seen through its towers, and the trained parts of a method.

    Args:
        config: the method and its switches.
        classes: names, in the order of the logits.
        backbone: open_clip's model; it is frozen here and stays in eval mode.
        unnamed_backbone: the backbone's model_cfg, where ``config.backbone`` can't name it.
        tokenizer: of the texts; the backbone's own unless given.

    Attributes:
        config_class: the method's options; ``config`` is one of these.
        tokenize: texts to what the text encoder reads.
        class_tokens: of the class texts, as the method orders them.
    """

    config_class: ClassVar[type[ModelConfig]]
    encode_clips: Callable[..., Tensor]  # the entries that `inputs` names -> (B, E), of length 1
    class_tokens: Tensor
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        config: ModelConfig,
        classes: Sequence[str],
        backbone: nn.Module,
        unnamed_backbone: dict[str, object] | None = None,
        tokenizer: TextTokenizer | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.unnamed_backbone = unnamed_backbone
        self.classes = tuple(classes)
        self.backbone = backbone.eval().requires_grad_(False)
        self.backbone_fingerprint = fingerprint(backbone)
        self._vision = vision_tower(backbone, config.backbone)
        self._text = TextTower(backbone, config.backbone)
        tokenizer = text_tokenizer(config.backbone) if tokenizer is None else tokenizer
        self.tokenize = Tokenize(tokenizer, self._text.context_length, self._text.whole)
        # On the model's device, as a CUDA graph can't copy them there; rounded where they are used.
        for name, values in (("pixel_mean", self._vision.mean), ("pixel_std", self._vision.std)):
            exact = torch.tensor(values, dtype=torch.float64).view(3, 1, 1)
            self.register_buffer(name, exact, persistent=False)
        self._kept_texts: tuple[object, Tensor] | None = None
        self._recomputed = 0
        self.make_parts()

    @property
    def title(self) -> str:
        """The method's name for people."""
        return self.config.title

    @property
    def inputs(self) -> tuple[str, ...]:
        """The entries of a batch that forward() takes."""
        return self.config.inputs

    def make_parts(self) -> None:
        """Make the trained parts, and class_tokens; called once, when the towers are there."""
        raise NotImplementedError

    @property
    def image_size(self) -> int:
        """Height and width of the frames, in pixels."""
        return self._vision.image_size

    @property
    def vision_width(self) -> int:
        """D, the width of the vision blocks."""
        return self._vision.width

    @property
    def vision_hidden(self) -> int:
        """h, the width inside the adapters of the video's vision blocks."""
        raise NotImplementedError

    def frame_sites(self, length: int) -> Sites:
        """What becomes of the outputs of the blocks that see the frames of clips, T to each."""
        raise NotImplementedError

    def frame_context(self) -> Sequence[Tensor]:
        """Each layer's prompts (P, D) among the tokens of the frames."""
        return ()

    def compare(self, clips: Tensor, texts: Tensor) -> Tensor:
        """Logits (B, C) of clips' features (B, E) and encode_texts(), at least float32."""
        raise NotImplementedError

    @property
    def _frozen_backend(self) -> str:
        """For the frozen blocks, which have kernels for the CPU alone."""
        return "reference" if self.config.backend == "reference" else "auto"

    # What is trained ---------------------------------------------------------------------------

    def parts(self) -> dict[str, nn.Module]:
        """The trained modules by the part of the method that they are."""
        raise NotImplementedError

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

    def train(self, mode: bool = True) -> AdaptedCLIP:
        """Train or evaluate the trained parts; the backbone is always in eval mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    # The frozen encoders -----------------------------------------------------------------------

    def read(self, tokens: Tensor, sites: Sites, context: Sequence[Tensor] = ()) -> Tensor:
        """tokens (C, n), each layer's learned context (N, Dt) -> features (C, E), of length 1."""
        tower, frozen = self._text, self._frozen_backend
        ends = tower.ends(tokens, len(context[0]) if context else 0)
        x = tower.embed(tokens, context[0] if context else None)
        for i, block in enumerate(tower.blocks):
            if 0 < i < len(context):
                learned = context[i].to(x.dtype).expand(len(x), -1, -1)
                behind = tower.start + len(context[i])
                x = torch.cat([x[:, : tower.start], learned, x[:, behind:]], 1)
            x = sites.attention(i, block.attend(x, causal=tower.causal, backend=frozen), x)
            x = sites.feed_forward(i, block.feed_forward(x, frozen), x)
        end = x[torch.arange(len(x), device=x.device), ends]
        return F.normalize(wide(tower.project(end)), dim=-1)

    def see(self, frames: Tensor, sites: Sites, context: Sequence[Tensor] = ()) -> Tensor:
        """frames (B, T, 3, H, W) and each layer's prompts (P, D) -> features (B, T, E)."""
        tower = self._vision
        x = tower.embed(self.pixels(frames).flatten(0, 1), context[0] if context else None)
        for i in range(len(tower.blocks)):
            learned = context[i] if 0 < i < len(context) else None
            if i < self._recomputed and torch.is_grad_enabled():
                x = checkpoint(
                    self._vision_block, i, x, learned, sites,
                    use_reentrant=False, preserve_rng_state=False,  # nothing here is random
                )  # fmt: skip
            else:
                x = self._vision_block(i, x, learned, sites)
        return wide(tower.project(x)).unflatten(0, frames.shape[:2])

    def _vision_block(self, i: int, x: Tensor, learned: Tensor | None, sites: Sites) -> Tensor:
        """Block i, behind its prompts `learned` (P, D) if it has some of its own."""
        tower, frozen = self._vision, self._frozen_backend
        if learned is not None:
            new = learned.to(x.dtype).expand(len(x), -1, -1)
            x = torch.cat([x[:, : -len(learned)], new], 1)
        # Where only the class token leaves the last block, that block computes no other.
        queries = tower.queries if i == len(tower.blocks) - 1 else None
        a = tower.blocks[i].attend(x, queries=queries, backend=frozen)
        x = sites.attention(i, a, x[:, :queries])
        return sites.feed_forward(i, tower.blocks[i].feed_forward(x, frozen), x)

    def recompute(self, blocks: int) -> None:
        """Keep no activations of the first vision blocks in training, only what goes into each.

        The backward pass computes them again: less memory, more time, the same gradients.

        Args:
            blocks: how many, from the first one on.

        Raises:
            InputError: there are fewer.
        """
        most = len(self._vision.blocks)
        if not 0 <= blocks <= most:
            raise InputError(
                f"recompute={blocks}: expected at most the {most} vision blocks of the backbone "
                f"{self.config.backbone!r}"
            )
        self._recomputed = blocks

    def pixels(self, frames: Tensor) -> Tensor:
        """Frames (..., 3, H, W), float in [0, 1] or uint8 -> what the encoder reads, its dtype."""
        dtype = self._vision.dtype
        x = frames.to(dtype) / 255 if frames.dtype == torch.uint8 else frames.to(dtype)
        if self.config.normalize == "clip":
            x = (x - self.pixel_mean.to(dtype)) / self.pixel_std.to(dtype)
        return x

    def check_frames(self, frames: Tensor, name: str = "frames") -> None:
        """Raise InputError unless these are clips that the encoder takes."""
        size = self.image_size
        if frames.ndim != 5 or tuple(frames.shape[2:]) != (3, size, size) or 0 in frames.shape:
            raise InputError(
                f"{name}: expected the shape (clips, frames, 3, {size}, {size}), "
                f"got {tuple(frames.shape)}"
            )
        if frames.dtype != torch.uint8 and not frames.is_floating_point():
            raise InputError(f"{name}: expected uint8, or float in [0, 1], got {frames.dtype}")

    # Class texts -------------------------------------------------------------------------------

    def encode_texts(self) -> Tensor:
        """Class text features."""
        raise NotImplementedError

    def text_side(self) -> Iterator[Tensor]:
        """The tensors that encode_texts() depends on, besides the backbone's."""
        raise NotImplementedError

    def text_features(self) -> Tensor:
        """encode_texts(), kept in eval mode without gradients until a tensor changes."""
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
        trained = [t.detach() for t in self.text_side()]
        sums = torch.stack([t.double().sum() for t in trained]).tolist() if trained else []
        tensors = [*trained, *self.backbone.parameters()]
        versions = [(t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors]
        return sums, versions, torch.is_autocast_enabled(tensors[-1].device.type)

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
            "classes": list(self.classes),
            "config": config,
            "class_tokens": self.class_tokens.tolist(),
            "backbone_fingerprint": self.backbone_fingerprint,
        }
        write_text(folder / CONFIG_FILE, json.dumps(description, indent=1))


def adapt(adapters: nn.ModuleList | None) -> Site:
    """``x + y``, and the block's adapter of y where there are adapters."""

    def site(i: int, y: Tensor, x: Tensor) -> Tensor:
        return x + y if adapters is None else adapters[i](y, x)

    return site


def wide(x: Tensor) -> Tensor:
    """Half precision would round the logits to eighths."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
