"""Write a model as one file, and see that it gives what the model gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from peclip_fast.config.run import RunConfig
from peclip_fast.errors import InputError, one_line
from peclip_fast.export.about import about
from peclip_fast.export.formats import FORMATS, Runner, installed, read_exported
from peclip_fast.export.program import ClassProbabilities, export_program
from peclip_fast.export.staging import staged
from peclip_fast.faces.crop import CropProfile
from peclip_fast.models.adapted_clip import AdaptedCLIP

BOUND = 1e-4  # of a probability, that a file may differ from its model
RANDOM_BATCHES = (1, 3)  # clips in each


class Agreement(NamedTuple):
    """How far the file's probabilities are from the model's, at most.

    Args:
        random: in how many random clips.
        real: in how many real ones.
        largest: difference of a probability.
    """

    random: int
    real: int
    largest: float


@torch.no_grad()
def export_model(
    model: AdaptedCLIP,
    config: RunConfig,
    kind: str,
    path: Path,
    real: Iterable[Mapping[str, Any]] = (),
    crop: CropProfile | None = None,
) -> Agreement:
    """Write the file, and compare what it gives with what the model gives.

    It has its name only after that. A file of that name from before is replaced by a good one, and
    by nothing else.

    Args:
        model: on the CPU, float32, in eval mode.
        config: of its run.
        kind: one of FORMATS.
        path: of the file; OpenVINO's weights are written next to it, with the suffix .bin.
        real: batches of real clips, as a loader gives them.
        crop: how the training clips show a face, for the metadata.

    Raises:
        InputError: a package is missing, the file doesn't run, or the two differ by more than
            BOUND.
    """
    chosen = FORMATS[kind]
    generator = torch.Generator().manual_seed(0)
    with staged(path, chosen.weights) as side:
        with installed(chosen):
            program = export_program(model.merged(), random_batch(model, config, 2, generator))
            chosen.write(program, about(model, config, torch.__version__, crop), side)
        return _compared(model, config, side, real, generator)


def _compared(
    model: AdaptedCLIP,
    config: RunConfig,
    path: Path,
    real: Iterable[Mapping[str, Any]],
    generator: torch.Generator,
) -> Agreement:
    said, run = read_exported(path)
    whole = ClassProbabilities(model).eval()
    batches = [random_batch(model, config, clips, generator) for clips in RANDOM_BATCHES]
    given = [[batch[name] for name in said.inputs] for batch in real if len(batch["label"])]
    largest = 0.0
    for batch in [*batches, *given]:
        found, expected = _probabilities(path, run, batch), whole(*batch)
        if found.shape != expected.shape:  # else one could be stretched to the other's
            raise InputError(
                f"{path}: gives probabilities of shape {tuple(found.shape)}; expected "
                f"{tuple(expected.shape)}, as the model's, so it isn't kept"
            )
        largest = max(largest, (found - expected).abs().max().nan_to_num(1.0).item())
    if largest > BOUND:
        raise InputError(
            f"{path}: its probabilities differ from the model's by up to {largest:.1e}; expected "
            f"at most {BOUND:g}, so it isn't kept"
        )
    return Agreement(sum(RANDOM_BATCHES), sum(len(batch[0]) for batch in given), largest)


def _probabilities(path: Path, run: Runner, batch: list[Tensor]) -> Tensor:
    try:
        return torch.from_numpy(run([tensor.contiguous().numpy() for tensor in batch]))
    except MemoryError:
        raise
    except Exception as error:  # each runtime has errors of its own
        raise InputError(
            f"{path}: can't be run ({one_line(error)[:200]}), so it isn't kept"
        ) from error


def random_batch(
    model: AdaptedCLIP, config: RunConfig, clips: int, generator: torch.Generator
) -> list[Tensor]:
    """Inputs of the model, of noise; descriptions are the class texts."""
    shape = (clips, config.data.frames, 3, model.image_size, model.image_size)

    def one(name: str) -> Tensor:
        if name == "descriptions":
            texts = [model.classes[k % len(model.classes)] for k in range(clips)]
            return model.tokenize(texts, cut=True)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)

    return [one(name) for name in model.inputs]
