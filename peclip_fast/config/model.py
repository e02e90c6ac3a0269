"""What a model is made of: the options of all methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal, get_args, get_origin, get_type_hints

from peclip_fast.config.data import DataConfig
from peclip_fast.config.texts import class_texts, settled
from peclip_fast.config.train import TrainConfig
from peclip_fast.errors import InputError


@dataclass(frozen=True)
class ModelConfig:
    """A method on a frozen open_clip backbone; each method adds options of its own.

    Args:
        method: pe_clip, finecliper, dfer_clip, emoclip, zero_shot, linear_probe, full, or one that
            another package registers; its options stand under model, too.
        backbone: open_clip's name of a model with a ViT (ViT-B-16, EVA02-B-16, ViT-B-16-SigLIP),
            "demo", or a folder with open_clip_config.json. The head is 100 times the cosine with
            all of them; a scale and a bias of the backbone's own logits are not used.
        pretrained: open_clip's tag or a file of weights; nothing gives random weights of a fixed
            seed.
        normalize: pixels as they are in [0, 1], or, with clip, by the mean and the standard
            deviation that the backbone was trained with (open_clip's preprocess_cfg; OpenAI's for
            CLIP, 0.5 and 0.5 for SigLIP).
        backend: which kernels run: auto, reference, or for the adapters cpu, triton, cuda or cudnn.
            cuda and cudnn are the temporal adapter's; the other operators then choose as with auto.

    Attributes:
        title: the method's name for people.
        learning_rates: the highest rate of each group of trained tensors, by the group's name.
        targets: the values of train.target that the method can be trained for.
        cuda_graphs: whether train.cuda_graphs takes the method.
        undecayed: trained tensors that weight decay leaves alone, as patterns (fnmatch) of their
            names in saved files.
    """

    method: str = "pe_clip"
    backbone: str = "ViT-B-16-quickgelu"
    pretrained: str | None = None
    normalize: Literal["none", "clip"] = "none"
    backend: Literal["auto", "reference", "cpu", "triton", "cuda", "cudnn"] = "auto"

    title: ClassVar[str] = ""
    learning_rates: ClassVar[Mapping[str, float]] = {"adapters": 2e-4}
    targets: ClassVar[tuple[str, ...]] = ("classes",)
    cuda_graphs: ClassVar[bool] = False
    undecayed: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for name in (field.name for field in fields(self)):
            value, choices = getattr(self, name), get_args(hints[name])
            if get_origin(hints[name]) is Literal and value not in choices:
                raise InputError(f"{name}={value!r}: expected one of {', '.join(choices)}")

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the model sees of a clip: frames, parsing, landmarks, descriptions."""
        return ("frames",)

    @property
    def models_time(self) -> bool:
        """Whether the order of a clip's frames can change the answer."""
        return False

    def class_texts(self, classes: Sequence[str]) -> tuple[str, ...]:
        """What the text encoder reads for each class; their names unless a method says more."""
        return class_texts(classes, "class_names")

    def for_any_classes(self) -> ModelConfig:
        """The same model with texts that any classes have, as for counting parameters."""
        return self

    def check_run(self, data: DataConfig, train: TrainConfig) -> None:
        """Raise InputError for options of data or training that don't go with this model."""

    def check_at_least(self, least: int, *names: str) -> None:
        """Raise InputError unless these options are whole numbers of at least ``least``."""
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise InputError(f"{name}={value!r}: expected a whole number of at least {least}")

    def check_share(self, *names: str) -> None:
        """Raise InputError unless these options are of [0, 1)."""
        for name in names:
            value = getattr(self, name)
            if isinstance(value, bool) or not 0 <= value < 1:
                raise InputError(f"{name}={value!r}: expected at least 0 and less than 1")


@dataclass(frozen=True)
class ClassTextConfig(ModelConfig):
    """A method that compares clips with a text for each class, which the user chooses.

    Args:
        texts: action_units, descriptions, class_names, a sentence with {label} for the name, a file
            of lines "class: text", or one text per class.
    """

    texts: str | list[str] | dict[str, str] = "action_units"

    def __post_init__(self) -> None:
        super().__post_init__()
        # Not a file's name but what it says: it may be gone later.
        object.__setattr__(self, "texts", settled(self.texts))

    def class_texts(self, classes: Sequence[str]) -> tuple[str, ...]:
        """See ModelConfig."""
        return class_texts(classes, self.texts)

    def for_any_classes(self) -> ModelConfig:
        """See ModelConfig."""
        return replace(self, texts="class_names")
