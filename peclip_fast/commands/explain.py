"""``peclip-fast explain RUN CLIP``: what a model looks at in a clip, as pictures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from peclip_fast.commands.shared.options import OF_FILES, run_line
from peclip_fast.commands.shared.running import run_command
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.files import check_writable, write_bytes

DESCRIPTION = """Draw where a run's model looks in a clip, a video file or a folder of frames:
attention rollout and gradient rollout of each frame's feature (of its class token, or of what the
backbone's pooling takes of all tokens), of the frozen backbone, of the backbone with the shared
adapters (ShA) only, and of the full model; the temporal adapter's scale in each frame; and the
probabilities of the clip up to each frame. Of FineCLIPER the frames' branch is drawn, without ShA
and scale, and the shares of the branches are told. The output folder gets NAME.png, and NAME.mp4
with the rollouts over the frames, NAME the clip's with its ending, as in clip.mp4.png. It computes
in fp32 whatever the run's precision is."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_explain, argv)


def _explain(argv: list[str]) -> None:
    line = run_line("explain", DESCRIPTION, "RUN CLIP [--output FOLDER] [options]", OF_FILES)
    line.add("run", metavar="RUN", help="the run folder")
    line.add("clip", metavar="CLIP", help="a video file or a folder of frames")
    line.add("--output", metavar="FOLDER",
             help="where the pictures go; explain/ in the run folder unless given")  # fmt: skip
    given = line.read(argv)
    run, clip = RunFolder(Path(given.own.run)), given.own.clip
    config = given.of_run(run)
    folder = Path(given.own.output or run.path / "explain")
    check_writable(folder)

    from peclip_fast.data.splits import open_files
    from peclip_fast.engine.distributed import World, set_up
    from peclip_fast.engine.kernels.choice import settle_kernels
    from peclip_fast.explain.film import film_mp4
    from peclip_fast.explain.scene import explained
    from peclip_fast.explain.strip import strip_png
    from peclip_fast.models.pretrained import from_pretrained

    device = set_up(config.train, World(0, 1, 0, 1))
    in_full = replace(config, train=replace(config.train, precision="fp32"))
    settle_kernels(in_full, device, run=run)
    model = from_pretrained(run.model, **asdict(config.model)).to(device)
    [record] = open_files([clip], config.data, model.inputs)
    name = Path(clip).resolve().name  # "." has no name
    scene = explained(model, record, config, name)
    if scene.explanation.token_scales is None:
        print("no curve of the TDA's scale: this run's model has none", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, data in ((".png", strip_png(scene)), (".mp4", film_mp4(scene))):
        picture = folder / f"{name}{suffix}"
        write_bytes(picture, data)
        print(picture)
