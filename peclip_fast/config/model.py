"""What a model is made of: every switch of both papers' ablations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from peclip_fast.config.texts import settled
from peclip_fast.errors import InputError


@dataclass(frozen=True)
class FineCLIPERConfig:
    """What FineCLIPER adds to the frozen backbone (arXiv 2407.02157, section 3).

    The widths and the temporal layers are our choice: they give the published numbers of trained
    parameters on ViT-B/16.

    Args:
        frames: the branch of the video frames.
        parsing: the branch of face-parsing maps.
        landmarks: the branch of landmark drawings.
        descriptions: the branch of fine-grained texts.
        positive_adapter: adapters that read what a class is.
        negative_adapter: adapters that read what a class isn't.
        video_adapter: adapters of the frames' branch.
        positive_text: what a class is, with {label} for its name.
        negative_text: what a class isn't; null compares clips with what it is alone.
        parallel_scale: of the adapters beside the MLPs.
        video_weight: share of the frames' branch beside the others, in [0, 1]; null learns the
            branches' weights for each clip.
        video_hidden: width of the frames' adapters.
        cue_hidden: width of the parsing's and the landmarks' adapters.
        text_hidden: width of the text adapters.
        temporal_layers: transformer layers over the frames' features; 0 is their mean.
    """

    frames: bool = True
    parsing: bool = False
    landmarks: bool = False
    descriptions: bool = False
    positive_adapter: bool = True
    negative_adapter: bool = True
    video_adapter: bool = True
    positive_text: str = "A person with an expression of {label}."
    negative_text: str | None = "A person with an expression of no {label}."
    parallel_scale: float = 0.5
    video_weight: float | None = None
    video_hidden: int = 128
    cue_hidden: int = 80
    text_hidden: int = 80
    temporal_layers: int = 2

    def __post_init__(self) -> None:
        branches = (self.frames, self.parsing, self.landmarks, self.descriptions)
        if not any(branches):
            raise InputError("finecliper: expected at least one branch, got none")
        for name in ("positive_text", "negative_text"):
            text = getattr(self, name)
            if text is not None and "{label}" not in text:
                raise InputError(f"finecliper.{name}={text!r}: expected {{label}} in it")
        if self.negative_adapter and self.negative_text is None:
            raise InputError(
                "finecliper.negative_adapter: expected false where negative_text is null, as it "
                "would have nothing to read"
            )
        for name in ("video_hidden", "cue_hidden", "text_hidden"):
            if getattr(self, name) < 1:
                raise InputError(f"finecliper.{name}={getattr(self, name)}: expected at least 1")
        if self.temporal_layers < 0:
            raise InputError(
                f"finecliper.temporal_layers={self.temporal_layers}: expected at least 0"
            )
        if self.video_weight is not None:
            if not 0 <= self.video_weight <= 1:
                raise InputError(
                    f"finecliper.video_weight={self.video_weight}: expected 0 to 1, or null"
                )
            if not self.frames or sum(branches) < 2:
                raise InputError(
                    "finecliper.video_weight: expected the frames' branch and another beside it"
                )


@dataclass(frozen=True)
class ModelConfig:
    """A method on a frozen open_clip backbone: PE-CLIP (paper, section 3), or FineCLIPER.

    Args:
        method: pe_clip or finecliper.
        backbone: open_clip's name of a model with a ViT (ViT-B-16, EVA02-B-16, ViT-B-16-SigLIP),
            "demo", or a folder with open_clip_config.json. The head is 100 times the cosine with
            all of them; a scale and a bias of the backbone's own logits are not used.
        pretrained: open_clip's tag or a file of weights; nothing gives random weights of a fixed
            seed.
        text_adapter: the TA, after the MLP of each text block.
        shared_text: the ShA after the attention of each text block.
        shared_vision: the ShA after the attention of each vision block.
        temporal: the TDA after the MLP of each vision block.
        reduction: width over bottleneck width, in all adapters.
        recurrence: what walks over the frames inside the TDA.
        scaling: what the TDA's scale multiplies: nothing, the recurrence's input, its output, or
            the up-projection's output.
        prompts: learned context: none, in the first text layer (CoOp), or deep in both encoders
            (MaPLe).
        context_tokens: learned tokens per layer.
        prompt_depth: number of layers that get learned tokens of their own (MaPLe).
        texts: action_units, descriptions, class_names, a file of lines "class: text", or one text
            per class.
        normalize: pixels as they are in [0, 1], or, with clip, by the mean and the standard
            deviation that the backbone was trained with (open_clip's preprocess_cfg; OpenAI's for
            CLIP, 0.5 and 0.5 for SigLIP).
        backend: which kernels run: auto, reference, or for the adapters cpu, triton or cuda.
        finecliper: FineCLIPER's switches. The method doesn't have those from text_adapter to
            texts, which are PE-CLIP's.
    """

    method: Literal["pe_clip", "finecliper"] = "pe_clip"
    backbone: str = "ViT-B-16-quickgelu"
    pretrained: str | None = None
    text_adapter: bool = True
    shared_text: bool = True
    shared_vision: bool = True
    temporal: bool = True
    reduction: int = 8
    recurrence: Literal["gru", "lstm", "rnn", "none"] = "gru"
    scaling: Literal["none", "input", "recurrence", "after_up"] = "after_up"
    prompts: Literal["none", "coop", "maple"] = "maple"
    context_tokens: int = 2
    prompt_depth: int = 9
    texts: str | list[str] | dict[str, str] = "action_units"
    normalize: Literal["none", "clip"] = "none"
    backend: Literal["auto", "reference", "cpu", "triton", "cuda"] = "auto"
    finecliper: FineCLIPERConfig = field(default_factory=FineCLIPERConfig)

    def __post_init__(self) -> None:
        choices = {
            "method": ("pe_clip", "finecliper"),
            "recurrence": ("gru", "lstm", "rnn", "none"),
            "scaling": ("none", "input", "recurrence", "after_up"),
            "prompts": ("none", "coop", "maple"),
            "normalize": ("none", "clip"),
            "backend": ("auto", "reference", "cpu", "triton", "cuda"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"{name}={getattr(self, name)!r}: expected one of {', '.join(allowed)}"
                )
        for name in ("reduction", "context_tokens", "prompt_depth"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{name}={value!r}: expected a whole number of at least 1")
        # Not a file's name but what it says: it may be gone later.
        object.__setattr__(self, "texts", settled(self.texts))
        if self.method == "pe_clip" and self.finecliper != FineCLIPERConfig():
            raise InputError("finecliper: given to the method pe_clip; expected method=finecliper")
