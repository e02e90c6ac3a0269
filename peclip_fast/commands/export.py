"""``peclip-fast export RUN --format onnx|torch|openvino``: a run's model as one file."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peclip_fast.commands.shared.options import OF_TEST, run_line
from peclip_fast.commands.shared.running import run_command
from peclip_fast.config.run import RunConfig
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError, hint

if TYPE_CHECKING:
    from peclip_fast.export.export import Agreement
    from peclip_fast.faces.crop import CropProfile

DESCRIPTION = """Write a run's model as one file, from frames to class probabilities, that ONNX
Runtime, PyTorch or OpenVINO runs without this package. What the text encoder says of the classes is
in the file, the number of clips in a batch is free, and classes, preprocessing and the crop of the
training clips are in its metadata. The file is compared with the model on random clips and on test
clips of the run before it gets its name; where a probability differs by more than 1e-4 it isn't
kept, and a file of that name from before stays. `peclip-fast predict FILE CLIP ...` runs it."""
KINDS = ("onnx", "torch", "openvino")
REAL_CLIPS = 8


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_export, argv)


def _export(argv: list[str]) -> None:
    line = run_line("export", DESCRIPTION, "RUN --format KIND [--output FILE] [options]", OF_TEST)
    line.add("run", metavar="RUN", help="the run folder")
    line.add("--format", metavar="KIND", default="onnx", help=", ".join(KINDS))
    line.add("--output", metavar="FILE", help="of the file; RUN/model.SUFFIX unless given")
    given = line.read(argv)
    run, kind = RunFolder(Path(given.own.run)), given.own.format
    if kind not in KINDS:
        raise InputError(f"--format {kind}: expected one of {', '.join(KINDS)}{hint(kind, KINDS)}")
    config = given.of_run(run)
    path, difference = export_run(run, config, kind, given.own.output)
    print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
    clips = f"{difference.random} random and {difference.real} real clips"
    print(f"largest difference from the model over {clips}: {difference.largest:.1e}")


def export_run(
    run: RunFolder, config: RunConfig, kind: str, output: str | None
) -> tuple[Path, Agreement]:
    """Where the file is, and how far it is from the model."""
    import torch

    from peclip_fast.export.export import export_model
    from peclip_fast.export.formats import FORMATS
    from peclip_fast.files import check_writable
    from peclip_fast.models.pretrained import from_pretrained

    suffix = FORMATS[kind].suffix
    path = Path(output) if output else run.path / f"model{suffix}"
    if path.suffix != suffix:
        raise InputError(f"--output {path}: expected a name that ends in {suffix}")
    check_writable(path.parent)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    config = replace(config, model=replace(config.model, backend="auto"))
    model = from_pretrained(run.model, **asdict(config.model)).float()
    with _real_batches(model, config) as real:
        return path, export_model(model, config, kind, path, real, _crop(run, config))


def _crop(run: RunFolder, config: RunConfig) -> CropProfile | None:
    """How the training clips show a face: as the run says, or by looking at them."""
    from peclip_fast.analyze.crop_of_run import installed, known_crop
    from peclip_fast.faces.crop import read_profile
    from peclip_fast.faces.finder import FaceFinder

    if run.crop.is_file() or not installed():
        return read_profile(run.crop) if run.crop.is_file() else None
    return known_crop(run, config, FaceFinder())


@contextlib.contextmanager
def _real_batches(model: Any, config: RunConfig) -> Iterator[Iterator[Mapping[str, Any]]]:
    """Some test clips, from all over the split, in batches; none where they aren't here."""
    from peclip_fast.data.loading.loader import make_loader
    from peclip_fast.data.splits import open_splits
    from peclip_fast.engine.evaluation import as_tested

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # training has said it
            clips = open_splits(config.data).test
    except InputError as error:
        print(f"the run's test clips aren't here ({error})", file=sys.stderr)
        clips = []
    chosen = clips[:: max(1, len(clips) // REAL_CLIPS)][:REAL_CLIPS]
    if not chosen:
        yield iter(())
        return
    data = replace(config.data, num_workers=0, decoder="pyav", on_bad_clip="skip")
    dataset = as_tested(model, chosen, replace(config, data=data))
    with contextlib.closing(make_loader(dataset, 3)) as loader:
        yield iter(loader)
