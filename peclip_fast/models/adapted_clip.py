"""What all methods share: a CLIP with trained parts, and what a method says of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peclip_fast.config.model import ModelConfig
from peclip_fast.errors import InputError
from peclip_fast.models.class_features import KeptFeatures
from peclip_fast.models.encoders import NO_HOOKS, context_length
from peclip_fast.models.hooks import Hooks
from peclip_fast.models.tokenizer import TextTokenizer
from peclip_fast.models.trainable import TrainableCLIP
from peclip_fast.ops.streams import alongside

if TYPE_CHECKING:
    from peclip_fast.models.published.checkpoint import PublishedCheckpoint

LOGIT_SCALE = 100.0  # the published head: 100 times the cosine
FROZEN = "frozen CLIP"


class Stage(NamedTuple):
    """A model with some of the parts, which ``explain`` shows before the full one."""

    name: str
    kept: tuple[str, ...]


class AdaptedCLIP(TrainableCLIP, ABC):
    """An open_clip model with the trained parts of a method.

    A method is a subclass with a ``config_class``, make_parts(), and hooks or learned context for
    frames and texts; docs/add-a-method.md has a whole example. Unless it says more, a clip's
    feature is the mean of its frames', and the logits are 100 times its cosine with the texts'.

    Args:
        config: the method and its options.
        classes: names, in the order of the logits.
        backbone: open_clip's model; it is frozen here and stays in eval mode.
        unnamed_backbone: the backbone's model_cfg, where ``config.backbone`` can't name it.
        tokenizer: of the texts; the backbone's own unless given.

    Attributes:
        config_class: the method's options; ``config`` is one of these.
        texts: what the text encoder reads for the classes.
    """

    config_class: ClassVar[type[ModelConfig]]

    def __init__(
        self,
        config: ModelConfig,
        classes: Sequence[str],
        backbone: nn.Module,
        unnamed_backbone: dict[str, object] | None = None,
        tokenizer: TextTokenizer | None = None,
    ) -> None:
        super().__init__(config, classes, backbone, unnamed_backbone, tokenizer)
        self._kept = KeptFeatures()
        self.make_parts()
        self.check_parts()
        self.texts = self.class_texts()
        tokens = self.tokenize(self.texts, context_length(self.text_context()))
        self.register_buffer("class_tokens", tokens, persistent=False)

    @property
    def title(self) -> str:
        """The method's name for people."""
        return self.config.title

    @property
    def inputs(self) -> tuple[str, ...]:
        """The entries of a batch that forward() takes."""
        return self.config.inputs

    # What a method is made of ------------------------------------------------------------------

    @abstractmethod
    def make_parts(self) -> None:
        """Assign the trained modules, which are then the parts(); called once, by __init__."""

    def class_texts(self) -> tuple[str, ...]:
        """What the text encoder reads for the classes."""
        return self.config.class_texts(self.classes)

    def text_hooks(self) -> Hooks:
        """What happens in the blocks that read the class texts."""
        return NO_HOOKS

    def text_context(self) -> Sequence[Tensor]:
        """Each layer's learned tokens before the class texts: (N, Dt), or (C, N, Dt)."""
        return ()

    def frame_hooks(self, length: int) -> Hooks:
        """What happens in the blocks that see the frames of clips, ``length`` frames to each."""
        return NO_HOOKS

    def frame_context(self) -> Sequence[Tensor]:
        """Each layer's prompts (P, D) among the tokens of the frames."""
        return ()

    def frame_shift(self, length: int) -> Tensor | None:
        """What is added to all tokens of a clip's frames with their positions, (T, 1, D)."""
        return None

    def over_time(self, features: Tensor) -> Tensor:
        """Features of the frames (B, T, E) -> of the clips (B, E), of length 1."""
        return mean_over_time(features)

    @property
    def logit_scale(self) -> float | Tensor:
        """What the cosines are multiplied by."""
        return LOGIT_SCALE

    def logits(self, clips: Tensor, classes: Tensor) -> Tensor:
        """Logits (B, C), at least float32, of encode_clips() and encode_classes()."""
        with torch.autocast(clips.device.type, enabled=False):
            return self.logit_scale * (clips @ classes.T)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The sum of the losses of clips by their classes.

        Args:
            logits: (B, C).
            targets: (B, C), each class's share of a clip; one of them is 1 without Mixup and FMix.
        """
        return F.cross_entropy(logits, targets, reduction="sum")

    # What the commands ask of a method ---------------------------------------------------------

    @property
    def adapter_width(self) -> int | None:
        """h, the width inside the adapters of the vision blocks, for `info`; None without."""
        return None

    def stages(self) -> list[Stage]:
        """What `explain` draws before the full model."""
        return [Stage(FROZEN, ())] if self.trained_parameters() else []

    @property
    def looks_ahead(self) -> bool:
        """Whether a frame's feature depends on later frames, as by attention over time."""
        return False

    def config_with(self, kept: Collection[str]) -> ModelConfig:
        """The options of a model with these parts; by default the others are as before training."""
        return self.config

    def frame_scales(self, i: int, m: Tensor) -> Tensor | None:
        """A factor for each token (N, L) that vision block i derives from m (N, L, D), the output
        of its MLP, as PE-CLIP's TDA does; None without one."""
        return None

    def clips_so_far(self, features: Tensor, others: Mapping[str, Tensor]) -> Tensor:
        """Features (T, E) of the clips that end at each frame, of length 1.

        Args:
            features: of the frames, (T, E).
            others: the model's other inputs for the clip, without a batch's dimension.
        """
        ends = range(1, 1 + len(features))
        return torch.cat([self.over_time(features[None, :end]) for end in ends])

    def merged(self) -> AdaptedCLIP:
        """A model of the same function for `export`, with parts folded into the backbone's weights
        where they are linear; itself where none is."""
        return self

    def branch_shares(self, features: Tensor, others: Mapping[str, Tensor]) -> dict[str, float]:
        """How much each branch counts in a clip, arguments as above; empty without branches."""
        return {}

    @classmethod
    def from_published(cls, checkpoint: PublishedCheckpoint) -> AdaptedCLIP:
        """The model equal to a checkpoint of the authors' program, in eval mode."""
        raise InputError(
            f"{checkpoint.source}: published checkpoints of the method {checkpoint.method!r} "
            "can't be read"
        )

    # From a batch to logits --------------------------------------------------------------------

    def encode_clips(self, frames: Tensor | None = None, **others: Tensor) -> Tensor:
        """The entries of a batch that ``inputs`` names -> features (B, E), of length 1."""
        frames = self.checked(frames, others)["frames"]
        length = frames.shape[1]
        features = self.encode_frames(
            frames, self.frame_hooks(length), self.frame_context(), self.frame_shift(length)
        )
        return self.over_time(features)

    def encode_classes(self) -> Tensor:
        """Features of the class texts (C, E), of length 1."""
        return self.encode_text(self.class_tokens, self.text_hooks(), self.text_context())

    def encode_descriptions(self, tokens: Tensor) -> Tensor:
        """Features of any texts (N, n), read as the class texts are: (N, E), of length 1.

        For methods whose ``config.targets`` has "descriptions".
        """
        return self.encode_text(tokens, self.text_hooks(), self.text_context())

    def forward(
        self,
        frames: Tensor | None = None,
        class_features: Tensor | None = None,
        **others: Tensor,
    ) -> Tensor:
        """Logits (B, C), at least float32.

        Args:
            frames: (B, T, 3, H, W), float in [0, 1] or uint8.
            class_features: from encode_classes(), if the caller keeps them.
            others: the other entries of a batch that ``inputs`` names: parsing and landmarks as
                frames; descriptions (B, n), tokens.

        Raises:
            InputError: not the model's inputs, or of another shape.
        """
        if class_features is not None:
            return self.logits(self.encode_clips(frames, **others), class_features)
        clips, classes = alongside(
            self.class_tokens.device,
            lambda: self.encode_clips(frames, **others),
            self.class_features,
        )
        return self.logits(clips, classes)

    def checked(self, frames: Tensor | None, others: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inputs by name, or InputError for those that don't fit."""
        given = {**({} if frames is None else {"frames": frames}), **others}
        if set(given) != set(self.inputs):
            raise InputError(
                f"inputs: expected {', '.join(self.inputs)}, got {', '.join(given) or 'none'}"
            )
        for name, tensor in given.items():
            if name != "descriptions":
                self.check_frames(tensor, name)
        sizes = {name: tensor.shape[0] for name, tensor in given.items()}  # len() fixes an export's
        if any(size != sizes[self.inputs[0]] for size in sizes.values()):
            told = ", ".join(f"{name} has {size}" for name, size in sizes.items())
            raise InputError(f"inputs: expected as many clips in each, {told}")
        return given

    def class_features(self) -> Tensor:
        """encode_classes(), kept until a tensor changes, unless it takes part in training."""
        # The text encoder reads all of the backbone but the vision encoder.
        trained = self._trained_of_backbone()
        own = (p for name, p in trained.items() if not name.startswith("visual."))
        read = [*self.class_side(), *own]
        # A CUDA graph can't wait for the sums that tell of changes.
        captured = torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
        learns = captured or any(tensor.requires_grad for tensor in read)
        training = self.training or torch.is_grad_enabled()
        if (learns and training) or torch.compiler.is_compiling():
            return self.encode_classes()
        return self._kept.get(self.encode_classes, read, self.backbone.parameters())

    def class_side(self) -> Iterator[Tensor]:
        """The tensors that encode_classes() depends on, besides the backbone's."""
        for module in self.parts().values():
            yield from module.parameters()
        yield self.class_tokens


def mean_over_time(features: Tensor) -> Tensor:
    """Features of frames (B, T, E) -> their mean (B, E), of length 1."""
    return F.normalize(features.mean(1), dim=-1)
