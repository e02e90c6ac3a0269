"""What a model looks at in a clip: attention maps, rollouts, the TDA's scales, as pictures."""

from peclip_fast.explain.explanation import Explanation, Rollouts, explain_clip
from peclip_fast.explain.rollout import attention_rollout, gradient_rollout
from peclip_fast.explain.trace import Trace, trace

__all__ = [
    "Explanation",
    "Rollouts",
    "Trace",
    "attention_rollout",
    "explain_clip",
    "gradient_rollout",
    "trace",
]
