"""The model card: README.md of a saved model, in the format of the Hugging Face Hub.

What isn't known is said to be so, rather than left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from peclip_fast.config.model import ModelConfig
from peclip_fast.hub import card_text as text
from peclip_fast.hub.facts import RunFacts
from peclip_fast.hub.licences import base_model, certain_licence

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

CARD_FILE = "README.md"
TASK = "video-classification"
YOURS = "USER/NAME"  # until it has a name


def model_card(
    config: ModelConfig,
    classes: Sequence[str],
    run: RunFacts | None = None,
    name: str = YOURS,
    licence: str | None = None,
) -> str:
    """README.md of a saved model: YAML for the Hub, then Markdown for people.

    Args:
        config: of the model.
        classes: names, in the order of the logits.
        run: that trained it, where that is known.
        name: USER/NAME on the Hub, for the example.
        licence: of the trained tensors, as the Hub names it (``mit``, ``cc-by-nc-4.0``); unless
            given that follows from backbone and clips where it is certain, and is left open
            otherwise.
    """
    licence = licence or certain_licence(config, run)
    faces = run is None or run.crop is None or run.crop.of_faces
    sections = [
        f"---\n{_front_matter(config, run, licence, faces)}\n---",
        text.head(config, run, faces),
        text.use(config, run, name),
        text.model(config, classes, run),
        text.data(run),
        text.crop(run),
        text.protocol(run),
        text.results(run),
        text.intended(faces),
        text.limits(run, faces),
        text.laws(faces),
        text.licences(config, run, licence),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(
    config: ModelConfig, run: RunFacts | None, licence: str | None, faces: bool
) -> str:
    from huggingface_hub import ModelCardData

    tags = [TASK, "clip", "open_clip", config.method.replace("_", "-")]
    data = ModelCardData(
        license=licence or "other",
        license_name=None if licence else "of-the-backbone-and-of-the-clips",
        library_name="peclip-fast",
        pipeline_tag=TASK,
        tags=[*tags, "facial-expression-recognition"] if faces else tags,
        base_model=base_model(config),
    )
    if run is not None:
        if run.published_clips:
            data["datasets"] = [run.config.data.dataset]
        if results := _results(run):
            data["metrics"] = [result.metric_type for result in results]
            data["model_name"] = f"{config.title} on {run.config.title}"
            data["eval_results"] = results
    return str(data.to_yaml())


def _results(run: RunFacts) -> list[EvalResult]:
    """For the Hub's index; none without a test."""
    from huggingface_hub import EvalResult

    if run.result is None:
        return []
    return [
        EvalResult(
            task_type=TASK,
            dataset_type=run.config.data.dataset,
            dataset_name=run.config.title,
            dataset_split="test",
            metric_type=kind,
            metric_name=name,
            metric_value=round(value, 4),
        )
        for kind, name, value in (
            ("recall", "UAR", run.result.uar),
            ("accuracy", "WAR (accuracy)", run.result.war),
        )
    ]
