"""``peclip-fast embed RUN ...``: maps of the test clips, and a run's curves."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from peclip_fast.commands.shared.options import OF_TEST, run_line
from peclip_fast.commands.shared.running import run_command
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.files import check_writable, write_bytes

DESCRIPTION = """Draw the clips of a run's test split by t-SNE of their features: of the frozen
backbone, and of the trained model. The output folder gets embedding.png, embedding.safetensors
with features, coordinates, labels, class names and paths, and curves.png with the run's losses and
scores. Of several runs, as of the folds of a dataset, the picture has a column each, the frozen
backbones in one row and the trained models in the other, and there is no curves.png. Options change
the configuration of every run, as --data.root FOLDER for clips elsewhere."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_embed, argv)


def _embed(argv: list[str]) -> None:
    line = run_line("embed", DESCRIPTION, "RUN [RUN ...] [--output FOLDER] [options]", OF_TEST)
    line.add("runs", metavar="RUN", nargs="+", help="the run folders")
    line.add("--output", metavar="FOLDER", help="where it goes; embedding/ in the run folder, or "
             "in the folder of the first of several")  # fmt: skip
    given = line.read(argv)
    runs = [RunFolder(Path(path)) for path in given.own.runs]
    configs = [given.of_run(run) for run in runs]
    first, single = runs[0].path, len(runs) == 1
    folder = Path(given.own.output or (first if single else first.parent) / "embedding")

    from peclip_fast.embed.runs import embed_runs, run_titles, told
    from peclip_fast.plots.curves import curves_png, read_history

    titles = run_titles(runs, configs)
    files = {}
    if single and (history := read_history(runs[0].metrics)):
        files["curves.png"] = curves_png(history, configs[0].title)
    check_writable(folder)
    found, drawn = embed_runs(runs, configs, titles)
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in (files | drawn).items():
        write_bytes(folder / file, data)
        print(folder / file)
    for text in told(found):
        print(text)
    if skipped := sum(one.skipped for one in found.values()):
        print(f"warning: {skipped} test clips were skipped", file=sys.stderr)
