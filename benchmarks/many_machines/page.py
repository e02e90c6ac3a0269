"""docs/scaling.md: the study, made of assumptions.yaml, the step budget and a results file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.many_machines.simulate import Line, Step, Video, analyze, train
from benchmarks.measure.record import RESULTS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "scaling.md"
ASSUMPTIONS = Path(__file__).with_name("assumptions.yaml")
MODEL = Path(__file__).with_name("model.json")  # counted: see model_facts()
BUDGET = ROOT / "benchmarks" / "step_budget" / "budget.json"
LOADING = RESULTS / "data_loading-cpu.json"
NEAR = 0.2
GPUS = (1, 8, 64, 512)
BUCKETS = 8
Row = Mapping[str, Any]


def read_rows() -> tuple[list[Row], Mapping[str, Any]]:
    """The results' rows, and where they are from."""
    found = sorted(RESULTS.glob("many_machines-cpu*.json"))
    if not found:
        raise SystemExit("no results: python -m benchmarks.many_machines --measure RUN")
    content = json.loads(found[0].read_text())
    return content["rows"], content


def assumptions() -> dict[str, float]:
    """Values by name."""
    return {name: float(one["value"]) for name, one in _sources().items()}


def _sources() -> dict[str, dict[str, Any]]:
    return dict(yaml.safe_load(ASSUMPTIONS.read_text()))


# The small end ------------------------------------------------------------------------------------


def small_end(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What was measured with 1 and 2 workers, beside what the simulation makes of the parts."""
    named = {row["what"]: row for row in rows if "workers" not in row}
    whole = {(row["what"], row["workers"]): row for row in rows if "workers" in row}
    found = []
    for (what, workers), row in sorted(whole.items(), reverse=True):
        simulated = (_training if what == "training" else _analysis)(
            named[f"{what} parts"], workers, row
        )
        found.append({
            "what": what, "workers": workers, "measured": row["seconds"], "simulated": simulated,
            "off": simulated / row["seconds"] - 1,
        })  # fmt: skip
    return found


def _training(parts: Row, workers: int, _: Row) -> float:
    """Seconds of a step."""
    times = parts["seconds"]
    how = "alone" if workers == 1 else "beside"
    forward, both = times["forward"][how], times["both"][how]
    step = Step(
        forward, both - forward, times["step"][how], times["both"]["deviation"],
        [parts["trained_bytes"] / BUCKETS] * BUCKETS, times["load"][how], ahead=False,
    )  # fmt: skip
    return train(step, [(workers, _line(parts["reduce"]))])[0]


def _line(reduce: Mapping[str, float]) -> Line:
    """Of two members, by what reducing the smallest and the largest tensor took."""
    sizes = sorted(map(int, reduce))
    small, large = sizes[0], sizes[-1]
    rate = (large - small) / (reduce[str(large)] - reduce[str(small)])
    return Line(rate, max(0.0, (reduce[str(small)] - small / rate) / 2))


def _analysis(parts: Row, workers: int, row: Row) -> float:
    """Seconds for all videos."""
    how = "alone" if workers == 1 else "beside"
    cores = sum(parts["seconds"][name][how] for name in ("decode", "look", "rest"))
    return analyze(Video(0, cores, 0), row["videos"], workers, 0, 1.0, 0.0)


# The large end ------------------------------------------------------------------------------------


def gpu_seconds(what: str, clips: int) -> float:
    """Of a step, or of a batch of inference: its products, then its bytes, one after the other."""
    a = assumptions()
    model = json.loads(MODEL.read_text())
    budget = json.loads(BUDGET.read_text())["rows"]
    bytes_outside = 1e9 * next(
        row["gigabytes"] for row in budget
        if (row["step"], row["clips"], row["backend"]) == (what, clips, "triton")
    )  # fmt: skip
    operations = 1e9 * model[f"gflop_{what}"] * clips / 8
    return float(operations / a["gpu_products"] + bytes_outside / a["gpu_memory"])


def clip_seconds() -> float:
    """Of a core, to load a clip of DFEW, which is a folder of JPEG files."""
    rows = json.loads(LOADING.read_text())["rows"]
    row = next(r for r in rows if (r["files"], r["loader"]) == ("JPEG folder", "ours"))
    return float(row["workers"] / row["clips_per_s"])


def training_rows(line: str) -> list[dict[str, Any]]:
    """A run of PE-CLIP on DFEW, by the number of GPUs."""
    a, model = assumptions(), json.loads(MODEL.read_text())
    clips, hosted = int(a["clips_per_gpu"]), int(a["gpus_per_host"])
    seconds = gpu_seconds("train", clips)
    load = clips * clip_seconds() / (a["cores_per_host"] / hosted)
    step = Step(
        seconds / 3, 2 * seconds / 3, 0.0, a["step_deviation"],
        [model["trained_bytes"] / BUCKETS] * BUCKETS, load, ahead=True,
    )  # fmt: skip
    inner = Line(a["share_of_line"] * a["nvlink"], a["nvlink_latency"])
    outer = Line(a["share_of_line"] * a[line], a[f"{line}_latency"])
    found = []
    for gpus in GPUS:
        taken, bound = train(step, [(min(gpus, hosted), inner), (max(1, gpus // hosted), outer)])
        steps = -(-int(a["clips_of_dataset"]) // (clips * gpus))
        run = a["start"] + a["epochs"] * steps * taken
        found.append({
            "gpus": gpus, "step_ms": 1e3 * taken, "bound": bound, "steps": steps, "run": run,
            "efficiency": seconds / taken, "gpu_hours": gpus * run / 3600,
        })  # fmt: skip
    for row in found:
        row["speedup"] = found[0]["run"] / row["run"]
    return found


def archive(rows: Sequence[Row]) -> dict[str, float]:
    """What a million one-minute videos need."""
    a = assumptions()
    parts = next(row for row in rows if row["what"] == "analysis parts")
    times = {name: part["beside"] for name, part in parts["seconds"].items()}
    frames = a["video_seconds"] * a["frames_per_second"]
    windows = a["faces"] * max(0, (a["video_seconds"] - parts["window"]) // parts["stride"] + 1)
    decode = frames * times["decode large"] / parts["large_frames"]
    look = frames * times["look"] / parts["frames"]
    model = windows * gpu_seconds("inference", 32) / 32
    size = a["video_seconds"] * a["bits_per_second"] / 8
    hosts = 10
    video = Video(size, decode + look, model)
    workers, sample = hosts * int(a["cores_per_host"]), 20_000
    taken = analyze(
        video, sample, workers, hosts * int(a["gpus_per_host"]), a["storage"], a["start"]
    )
    return {
        "frames": frames, "windows": windows, "decode_s": decode, "look_s": look, "model_s": model,
        "decode_hours": a["videos"] * decode / 3600, "look_hours": a["videos"] * look / 3600,
        "gpu_hours": a["videos"] * model / 3600, "terabytes": a["videos"] * size / 1e12,
        "storage_hours": a["videos"] * size / a["storage"] / 3600, "hosts": hosts,
        "wall_hours": (taken - a["start"]) * a["videos"] / sample / 3600,
    }  # fmt: skip


# The page -----------------------------------------------------------------------------------------


def as_page(rows: Sequence[Row], origin: Mapping[str, Any]) -> str:
    """All of it."""
    a, costs = assumptions(), archive(rows)
    tables = {
        "small": _table(
            ["", "workers", "measured, s", "simulated, s", "off"],
            [[r["what"], r["workers"], f"{r['measured']:.3g}", f"{r['simulated']:.3g}",
              f"{r['off']:+.0%}"] for r in small_end(rows)],
        ),
        "assumptions": _table(
            ["what", "value", "source"],
            [[name.replace("_", " "), f"{one['value']:g} {one['unit']}", one["source"]]
             for name, one in _sources().items()],
        ),
    }  # fmt: skip
    for line in ("infiniband", "ethernet"):
        tables[line] = _table(
            ["GPUs", "step, ms", "of one GPU's pace", "bound by", "steps an epoch", "run", "faster",
             "GPU hours"],
            [[r["gpus"], f"{r['step_ms']:.1f}", f"{r['efficiency']:.0%}", r["bound"], r["steps"],
              f"{r['run'] / 60:.1f} min", f"{r['speedup']:.1f}", f"{r['gpu_hours']:.1f}"]
             for r in training_rows(line)],
        )  # fmt: skip
    return TEXT.format(
        **tables, c=costs, a=a, device=origin["device"], torch=origin["torch"],
        date=origin["date"], clip=1e3 * clip_seconds(), step=1e3 * gpu_seconds("train", 8),
        megabytes=json.loads(MODEL.read_text())["trained_bytes"] / 1e6,
        ratio=(costs["decode_hours"] + costs["look_hours"]) / costs["gpu_hours"],
        gpus=costs["gpu_hours"] / (
            (costs["decode_hours"] + costs["look_hours"]) / a["cores_per_host"]
        ),
    )  # fmt: skip


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def problems() -> list[str]:
    """A line for all that doesn't hold."""
    rows, origin = read_rows()
    wrong = [
        f"{r['what']} with {r['workers']}: simulated {r['simulated']:.3g} s, measured "
        f"{r['measured']:.3g} s"
        for r in small_end(rows)
        if abs(r["off"]) > NEAR
    ]
    wrong += [f"{name}: no source" for name, one in _sources().items() if not one.get("source")]
    if not PAGE.exists() or PAGE.read_text() != as_page(rows, origin):
        wrong.append(
            f"{PAGE.name} isn't of its sources: python -m benchmarks.many_machines --write"
        )
    return wrong


TEXT = (Path(__file__).with_name("page.md")).read_text()
