"""``python -m peclip_fast.explain RUN clip.mp4``: what a model looks at in a clip, as pictures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from peclip_fast.commands.clips import open_files
from peclip_fast.commands.running import run_command
from peclip_fast.config.layers import read_yaml
from peclip_fast.config.parser import make_parser, read_arguments, resolve
from peclip_fast.data.decoding.clip_source import open_record
from peclip_fast.data.transforms.sampling import sample_indices
from peclip_fast.engine.distributed import World, set_up
from peclip_fast.engine.evaluation import as_tested
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.explain.explanation import explain_clip
from peclip_fast.explain.film import film_mp4
from peclip_fast.explain.scene import Scene
from peclip_fast.explain.strip import strip_png
from peclip_fast.files import check_writable, write_bytes
from peclip_fast.models.pretrained import from_pretrained

DESCRIPTION = """Draw where a run's model looks in a clip, a video file or a folder of frames:
attention rollout and gradient rollout of each frame's feature (of its class token, or of what the
backbone's pooling takes of all tokens), of the frozen backbone, of the backbone with the shared
adapters (ShA) alone, and of the full model; the temporal adapter's scale in each frame; and the
probabilities of the clip up to each frame. Of FineCLIPER the frames' branch is drawn, without ShA
and scale, and the shares of the branches are told. The output folder gets NAME.png, and NAME.mp4
with the rollouts over the frames, NAME the clip's with its ending, as in clip.mp4.png. It computes
in fp32 whatever the run's precision is."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_explain, argv)


def _explain(argv: list[str]) -> None:
    parser = make_parser("explain", DESCRIPTION, "RUN CLIP [--output FOLDER] [option ...]")
    parser.add_argument("run", type=str, help="the run folder")
    parser.add_argument("clip", type=str, help="a video file or a folder of frames")
    parser.add_argument(
        "--output", type=str, help="where the pictures go; explain/ in the run folder unless given"
    )
    arguments = read_arguments(parser, argv)
    run = RunFolder(Path(arguments.run))
    run.check_trained()
    config = resolve(parser, argv, [(str(run.config), read_yaml(run.config))])
    folder = Path(arguments.output or run.path / "explain")
    check_writable(folder)
    device = set_up(config.train, World(0, 1, 0, 1))
    model = from_pretrained(run.model, **asdict(config.model)).to(device)
    records = open_files([arguments.clip], config, model.inputs)
    clips = as_tested(model, records, config)
    batch = clips.collate([clips.load(0)])  # by PyAV, whatever decoder the run has
    frames = batch["frames"][0]
    others = {name: batch[name][0].to(device) for name in model.inputs if name != "frames"}
    explanation = explain_clip(model, frames.to(device), **others)
    source = open_record(records[0])
    length = source.num_frames
    source.close()
    numbers = sample_indices(length, config.data.frames)
    path = Path(arguments.clip).resolve()  # "." has no name
    note = config.title
    if explanation.shares:
        told = (
            f"{name} {100 * share:.0f}\N{NO-BREAK SPACE}%"
            for name, share in explanation.shares.items()
        )
        note += f". Shares of the branches: {', '.join(told)}"
    scene = Scene(path.name, numbers, length, frames, model.classes, explanation, note)
    if explanation.token_scales is None:
        print("no curve of the TDA's scale: this run's model has none", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, data in ((".png", strip_png(scene)), (".mp4", film_mp4(scene))):
        picture = folder / f"{path.name}{suffix}"
        write_bytes(picture, data)
        print(picture)


if __name__ == "__main__":
    sys.exit(main())
