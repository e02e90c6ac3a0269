"""``python -m benchmarks.cold_start``: from a command to its first answer, in fresh processes.

All times are of whole processes, Python's own start included, in turns; the first run of each only
brings the files into memory. Ours stands beside its floor, which is the libraries alone, and beside
the reference implementation:

- import: torch, open_clip, ours.
- create the model: from files with the same weights. open_clip makes the frozen model alone.
- first inference: the same, and the probabilities' logits of one clip, checked to be equal first.
- predict --help: what the command line takes before it reads anything.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F

from benchmarks import pe_clip
from benchmarks.measure.record import RESULTS, write
from peclip_fast import create_model

ROOT = Path(__file__).parents[1]
Commands = dict[str, dict[str, list[str]]]

CREATE = {
    "open_clip": "import open_clip\nopen_clip.create_model({name!r}, pretrained={weights!r})",
    "reference": """
import torch
from benchmarks.reference.model import ReferencePECLIP
saved = torch.load({reference!r}, weights_only=True)
model = ReferencePECLIP(saved["state"], saved["tokens"])
""",
    "ours": "import peclip_fast\nmodel = peclip_fast.from_pretrained({ours!r})",
}
# frames / 255 is what the reference takes; ours takes the bytes.
INFER = """
import torch
frames = torch.load({frames!r}, weights_only=True).to({device!r})
with torch.no_grad():
    print(model.to({device!r}).eval()({scaled}).tolist())
"""


def save_models(backbone: str, device: str, folder: Path) -> dict[str, str]:
    """Writes both programs' files with the same weights, and a clip; gives the snippets' values."""
    files = {name: str(folder / name) for name in ("weights", "reference", "ours", "frames")}
    given = pe_clip.make_ours(backbone, "auto")
    torch.save(given.backbone.state_dict(), files["weights"])
    pretrained = files["weights"] if backbone in open_clip.list_models() else None
    ours = create_model(backbone=backbone, pretrained=pretrained, classes=pe_clip.CLASSES)
    ours.load_trained_state(given.trained_state())
    ours.save_pretrained(files["ours"])
    reference = pe_clip.make_reference(backbone)
    ends = F.one_hot(reference.ends, pe_clip.CONTEXT)  # all that it takes from the tokens
    torch.save({"state": reference.state_dict(), "tokens": ends}, files["reference"])
    frames = pe_clip.make_frames(1, ours.image_size, torch.device("cpu"))
    torch.save(frames, files["frames"])
    return files | {"name": backbone, "device": device}


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def import_commands() -> dict[str, list[str]]:
    return {
        "Python alone": python("pass"),
        "torch": python("import torch"),
        "torch and open_clip": python("import torch, open_clip"),
        "ours": python("from peclip_fast import create_model"),
    }


def help_commands() -> dict[str, list[str]]:
    return {"ours": [sys.executable, "-m", "peclip_fast", "predict", "--help"]}


def create_commands(files: dict[str, str]) -> dict[str, list[str]]:
    """Without open_clip alone for a backbone that it has no name for."""
    known = files["name"] in open_clip.list_models()
    return {
        program: python(code.format(**files))
        for program, code in CREATE.items()
        if known or program != "open_clip"
    }


def infer_commands(files: dict[str, str]) -> dict[str, list[str]]:
    scaled = {"reference": "frames.float() / 255", "ours": "frames"}
    return {
        program: python((CREATE[program] + INFER).format(**files, scaled=frames))
        for program, frames in scaled.items()
    }


def run(command: Sequence[str]) -> str:
    """What a fresh process prints."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command[-1]}\n{done.stderr}")
    return done.stdout


def check(commands: dict[str, list[str]]) -> torch.Tensor:
    """The logits that all of the programs print, or SystemExit if they don't print the same."""
    logits = {name: torch.tensor(json.loads(run(command))) for name, command in commands.items()}
    pe_clip.check(logits, "fp32")
    return logits["ours"]


def measure(what: str, commands: dict[str, list[str]], repeats: int) -> list[dict[str, Any]]:
    """A row per program, of runs in turn; a run before those brings its files into memory."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(1 + repeats):
        for name, command in commands.items():
            start = time.perf_counter()
            run(command)
            times[name].append(1e3 * (time.perf_counter() - start))
    medians = {name: statistics.median(found[1:]) for name, found in times.items()}
    rows = [
        {
            "what": what,
            "program": name,
            "median_ms": median,
            "min_ms": min(times[name][1:]),
            "runs": repeats,
            "times_faster_than": {
                other: medians[other] / median for other in medians if other != name
            },
        }
        for name, median in medians.items()
    ]
    for row in rows:
        print(f"{row['what']:<17}{row['program']:<21}{row['median_ms']:>8.0f} ms", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--backbone", default="ViT-B-16-quickgelu")
    kinds = ["import", "create the model", "first inference", "predict --help"]
    parser.add_argument("--what", nargs="+", default=kinds, choices=kinds)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        commands: Commands = {"import": import_commands(), "predict --help": help_commands()}
        if {"create the model", "first inference"} & set(options.what):
            files = save_models(options.backbone, options.device, Path(folder))
            commands["create the model"] = create_commands(files)
            commands["first inference"] = infer_commands(files)
        if "first inference" in options.what:
            check(commands["first inference"])
        for what in options.what:
            rows += measure(what, commands[what], options.repeats)
    facts = {"backbone": options.backbone}
    print(write("cold_start", torch.device(options.device), rows, options.output, **facts))


if __name__ == "__main__":
    main()
