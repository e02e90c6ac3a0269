"""PE-CLIP's options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from peclip_fast.config.model import ClassTextConfig
from peclip_fast.registry import register_config


@register_config("pe_clip")
@dataclass(frozen=True)
class PECLIPConfig(ClassTextConfig):
    """PE-CLIP (paper, section 3) with every switch of its ablations.

    Args:
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
    """

    method: str = "pe_clip"
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

    title: ClassVar[str] = "PE-CLIP"
    learning_rates: ClassVar[Mapping[str, float]] = {"adapters": 2e-4, "prompts": 3e-5}
    cuda_graphs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "reduction", "context_tokens", "prompt_depth")

    @property
    def models_time(self) -> bool:
        """See ModelConfig."""
        return self.temporal and self.recurrence != "none"
