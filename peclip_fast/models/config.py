"""What a PE-CLIP model is made of: every switch of the paper's ablations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from peclip_fast.errors import InputError
from peclip_fast.texts import settled


@dataclass(frozen=True)
class PEClipConfig:
    """PE-CLIP on a frozen open_clip backbone (paper, section 3; SPEC section 2).

    Args:
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
    """

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

    def __post_init__(self) -> None:
        choices = {
            "recurrence": ("gru", "lstm", "rnn", "none"),
            "scaling": ("none", "input", "recurrence", "after_up"),
            "prompts": ("none", "coop", "maple"),
            "normalize": ("none", "clip"),
            "backend": ("auto", "reference", "cpu", "triton", "cuda"),
        }
        for field, allowed in choices.items():
            if getattr(self, field) not in allowed:
                raise InputError(
                    f"{field}={getattr(self, field)!r}: expected one of {', '.join(allowed)}"
                )
        for field in ("reduction", "context_tokens", "prompt_depth"):
            value = getattr(self, field)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{field}={value!r}: expected a whole number of at least 1")
        # Not a file's name but what it says: it may be gone later.
        object.__setattr__(self, "texts", settled(self.texts))
