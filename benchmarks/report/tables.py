"""Results as Markdown tables: what is compared first, then how long it took, then where."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.report.cells import Table, distinct, labels, markdown, ratio, rounded
from benchmarks.report.results_files import Record, Results, file_of

OURS = "ours"
OURS_THERE = ("ours, demo model", "one command")  # what others are compared with in video_analysis

INSTRUCTION_SETS = {
    "amx": "AMX", "avx512": "AVX-512 with bf16", "avx512_core": "AVX-512 without bf16",
    "avx2": "AVX2", "baseline": "SSE2",
}  # fmt: skip


def provenance(results: Results, link: str, note: str) -> str:
    """What is true of all rows, where and when, in one line."""
    content = results.content
    cores, threads, driver = content["cores"], content["threads"], content.get("driver")
    where = [results.device, f"driver {driver}" if driver else _count(cores, "core")]
    if threads != cores and not driver:
        where.append(_count(threads, "thread"))
    if "instruction_set" in content:
        where.append(INSTRUCTION_SETS.get(content["instruction_set"], "no kernels of ours"))
    where += [f"`{name}={value}`" for name, value in content.get("limits", {}).items()]
    where += [f"torch {content['torch']}", content["date"], f"commit {content['commit']}"]
    said = f"{note[0].upper()}{note[1:]}; " if note else ""
    return f"*{said}{', '.join(where)}; [results]({link}).*"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def timed(results: Results) -> Table:
    """A line per program and kind of work: times as fast as each other one, ms, clips a second."""
    rows = [row for row in results.rows if not {"bytes", "not_run"} & row.keys()]
    apart, note = labels(rows, ("what", "files", "backbone", "frames", "clips"))
    compared = {name for row in rows for name in row["times_faster_than"]}
    others = [name for name in distinct(rows, "program") if name in compared and name != OURS]
    several = len(distinct(rows, "dtype")) > 1
    waited = any("waited_share" in row for row in rows)
    memory = {  # of a train step
        ("train step", row["program"], row["clips"]): f"{row['bytes'] / 1e9:.2f}"
        for row in results.rows
        if "bytes" in row
    }
    head = [*("" if key == "what" else key for key in apart), "program"]
    head += [*(f"times as fast as {name}" for name in others), "ms", "clips/s"]
    head += ["waits for clips"] * waited + ["peak memory, GB"] * bool(memory)
    lines = []
    for row in rows:
        program = f"{row['program']}, {row['dtype']}" if several else row["program"]
        cells = [*(str(row.get(key, "")) for key in apart), program]
        cells += [ratio(row["times_faster_than"].get(name)) for name in others]
        cells += [rounded(row["median_ms"]), rounded(row["clips_per_s"])]
        cells += [f"{row['waited_share']:.0%}"] if waited else []
        cells += [memory.get((row["what"], row["program"], row["clips"]), "")] if memory else []
        lines.append(cells)
    return Table(markdown(head, lines, len(apart) + 1), note)


def cold_start(results: Results) -> Table:
    """A line per kind of work and program: how many times as fast ours is, and ms."""
    faster = {
        (row["what"], name): ratio
        for row in results.rows
        if row["program"] == OURS
        for name, ratio in row["times_faster_than"].items()
    }
    lines = [
        [row["what"], row["program"], ratio(faster.get((row["what"], row["program"]))),
         rounded(row["median_ms"])]
        for row in results.rows
    ]  # fmt: skip
    return Table(markdown(["", "program", "times as fast is ours", "ms"], lines, 2))


def operator(results: Results) -> Table:
    """A line per backend that ran, size and dtype: times faster than each opponent, both ways."""
    ran = [row for row in results.rows if "not_run" not in row]
    compared = {name for row in ran for name in row["times_faster_than"]}
    opponents = [name for name in distinct(ran, "contender") if name in compared]
    rows = [row for row in ran if row["contender"] not in compared]
    apart, note = labels(rows, ("operator", "contender", "clips", "hidden", "dtype"))
    directions = distinct(rows, "direction")
    lines: dict[tuple[str, ...], dict[str, Record]] = {}
    for row in rows:
        lines.setdefault(tuple(str(row[key]) for key in apart), {})[row["direction"]] = row
    table = []
    for size, by_way in lines.items():
        found = [by_way.get(way) for way in directions]
        ratios = [
            ratio(row["times_faster_than"].get(name) if row else None)
            for row in found
            for name in opponents
        ]
        times = [rounded(row["median_ms"] if row else None) for row in found]
        table.append([*size, *ratios, *times])
    ways = [way.replace("forward and backward", "both ways") for way in directions]
    names = {"contender": "backend", "hidden": "h"}
    head = [names.get(key, key) for key in apart]
    head += [f"{way}: {name}" for way in ways for name in opponents] + [
        f"{way}: ms" for way in ways
    ]
    return Table(markdown(head, table, len(apart)), note)


def data_loading(results: Results) -> Table:
    """A line per kind of file: how many times as fast ours is as each, and its frames a second."""
    cells: dict[str, dict[str, str]] = {}
    speeds: dict[str, str] = {}
    for row in results.rows:
        files, loader = row["files"], row["loader"]
        ran = "not_run" not in row
        if ran and loader == OURS:
            speeds[files] = f"{row['frames_per_s']:.0f}"
        text = ratio(row["ours_is_times_faster"]) if ran else "doesn't take it"
        cells.setdefault(files, {})[loader] = text
    others = [name for name in distinct(results.rows, "loader") if name != OURS]
    head = ["files", *(f"times as fast as {name}" for name in others), "frames/s"]
    lines = [
        [files, *(found.get(name, "") for name in others), speeds.get(files, "")]
        for files, found in cells.items()
    ]
    return Table(markdown(head, lines, 1))


PACKED = "JPEG in Matroska"


def packing(results: Results) -> Table:
    """A line per form, a column per kind of clip; how many times as fast the packed form is."""
    cells: dict[str, dict[str, str]] = {}
    for row in results.rows:
        clips = f"{row['material']}, {row['width']}x{row['height']}"
        packed = [
            other["frames_per_s"]
            for other in results.rows
            if (other["form"], other["material"]) == (PACKED, row["material"])
        ]
        faster = f"{packed[0] / row['frames_per_s']:.2f}; " if packed else ""
        cells.setdefault(row["form"], {})[clips] = (
            f"{faster}{row['frames_per_s']:.0f}/s, {row['bytes_per_frame'] / 1e3:.1f} kB, "
            f"{row['psnr_db']:.1f} dB"
        )
    kinds = list(dict.fromkeys(kind for found in cells.values() for kind in found))
    lines = [[form, *(found.get(kind, "") for kind in kinds)] for form, found in cells.items()]
    note = f"in a cell: how many times as fast {PACKED} is; frames/s, kB a frame, PSNR"
    return Table(markdown(["form", *kinds], lines, len(kinds) + 1), note)


def scaling(results: Results) -> Table:
    """A line per program and kind of work: how its time grows with each size, as an exponent."""
    exponents = results.content["exponents"]
    sizes = distinct(exponents, "against")
    found: dict[tuple[str, str], dict[str, str]] = {}
    for entry in exponents:
        line = found.setdefault((entry["what"], entry["program"]), {})
        line[entry["against"]] = ratio(entry["exponent"])
    head = ["", "program", *(f"exponent of {size}" for size in sizes)]
    lines = [[*key, *(line.get(size, "") for size in sizes)] for key, line in found.items()]
    return Table(markdown(head, lines, 2))


def loss_curves(results: Results) -> Table:
    """A line per program: the mean of its seeds' losses at the end, and what tells them apart."""
    rows = results.rows
    last = max(row["step"] for row in rows)
    lines = []
    for name in distinct(rows, "program"):
        ends = [row["loss"] for row in rows if row["program"] == name and row["step"] == last]
        lines.append([name, str(len(ends)), f"{sum(ends) / max(len(ends), 1):.3f}"])
    difference, spread = (results.content[key] for key in ("difference_of_means", "seed_spread"))
    head = ["program", "seeds", f"mean loss at step {last}"]
    note = (
        f"over the last quarter the means differ by {difference:.2g}, and the standard deviation "
        f"of plain PyTorch's seeds is {spread:.2g}"
    )
    return Table(markdown(head, lines, 1), note)


def recomputation(results: Results) -> Table:
    """A line per number of blocks: a train step's memory and time, and over that with none."""
    apart, note = labels(results.rows, ("backbone", "clips", "dtype"))
    head = [*apart, "blocks computed again", "times the memory", "times the time"]
    head += ["peak memory, GB", "ms"]
    lines = [
        [*(str(row[key]) for key in apart), str(row["blocks"]), ratio(row["memory_share"]),
         ratio(row["time_share"]), f"{row['bytes'] / 1e9:.2f}", rounded(row["median_ms"])]
        for row in results.rows
    ]  # fmt: skip
    return Table(markdown(head, lines, len(apart) + 1), note)


def beside_others(results: Results) -> Table:
    """A line per model and kind of work: how many times as long it takes beside busy processes."""
    apart, note = labels(results.rows, ("what", "backbone", "clips", "busy"))
    apart = [key for key in apart if key not in ("clips", "busy")]
    head = [*("" if key == "what" else key for key in apart), "times as long", "alone, ms"]
    lines = [
        [*(str(row[key]) for key in apart), ratio(row["times_as_long"]),
         rounded(row["alone_ms"]), rounded(row["beside_ms"])]
        for row in results.rows
    ]  # fmt: skip
    return Table(markdown([*head, "beside, ms"], lines, len(apart)), note)


def fp8_error(results: Results) -> Table:
    """A line per kind of product: the error of the logits and of the gradients, in percent."""
    apart, note = labels(results.rows, ("backbone", "clips", "frames"))
    head = [*apart, "products of frozen weights", "error of the logits", "of the gradients"]
    lines = [
        [*(str(row[key]) for key in apart), row["products"], f"{row['logits_error']:.1%}",
         f"{row['gradients_error']:.1%}"]
        for row in results.rows
    ]  # fmt: skip
    return Table(markdown(head, lines, len(apart) + 1), note)


def int8(results: Results) -> Table:
    """A line per program: its time and the frozen matrices' bytes; in the note the predictions."""
    lines = [
        [row["program"], ratio(next(iter(row["times_faster_than"].values()))),
         rounded(row["median_ms"]), rounded(row["frozen_bytes"] / 1e6)]
        for row in results.rows
    ]  # fmt: skip
    note = labels(results.rows, ("backbone", "clips"))[1] + (
        "; {agree:.1%} of the demo's {test_clips} test clips predicted alike, probabilities within "
        "{probabilities_differ_by:.2f}"
    ).format(**results.content)
    return Table(
        markdown(["program", "times as fast", "ms", "frozen matrices, MB"], lines, 1), note
    )


def faults(results: Results) -> Table:
    """A line per campaign: what became of its inputs, and how many of them showed a fault."""
    lines = [
        [row["title"], *(f"{row[key]:,}" for key in ("inputs", "refused", "accepted")),
         rounded(row["slowest_s"]), f"{sum(kind['times'] for kind in row['findings']):,}"]
        for row in results.rows
    ]  # fmt: skip
    head = ["what was damaged or disturbed", "inputs", "refused in a line", "right"]
    note = f"seed {results.content['seed']}, {rounded(results.content['minutes'])} minutes"
    return Table(markdown([*head, "slowest, s", "faults"], lines, 1), note)


def export_formats(results: Results) -> Table:
    """A line per method and file: its largest differences from the model, and ms a batch."""
    kinds, sizes = ("random", "real"), (1, 3, 8)
    lines = [
        [row["method"], row["program"],
         *(f"{row[kind]:.1e}" if kind in row else "" for kind in kinds),
         *(rounded(row[f"median_ms_{size}"]) for size in sizes)]
        for row in results.rows
    ]  # fmt: skip
    counts = [f"{results.content[f'{kind}_clips']} {kind} clips" for kind in kinds]
    head = ["method", "runs as", *counts, *(f"ms, {size} clip{'s' * (size > 1)}" for size in sizes)]
    note = (
        f"largest difference of a probability from the model's, in batches of 1, 3 and 8; backbone "
        f"{results.content['backbone']}, {results.content['frames']} frames"
    )
    return Table(markdown(head, lines, 2), note)


def archives(results: Results) -> Table:
    """A line per program: times as fast as one worker of either kind, and videos a second."""
    others = [row["program"] for row in results.rows[:2]]
    lines = [
        [row["program"], *(ratio(row["times_faster_than"].get(name)) for name in others),
         rounded(row["videos"] / row["seconds"])]
        for row in results.rows
    ]  # fmt: skip
    videos = {(row["videos"], row["seconds_of_video"]) for row in results.rows}
    note = ", ".join(f"{count} videos of {seconds:g} s" for count, seconds in videos)
    head = ["program", *(f"times as fast as {name}" for name in others), "videos/s"]
    return Table(markdown(head, lines, 1), note)


def serving(results: Results) -> Table:
    """A line per program: times as many clips a second as the loops, and how long one takes."""
    compared = {name for row in results.rows for name in row["times_faster_than"]}
    others = [row["program"] for row in results.rows if row["program"] in compared]
    lines = [
        [row["program"], *(ratio(row["times_faster_than"].get(name)) for name in others),
         rounded(row["clips_per_s"]), rounded(row["median_ms"]), rounded(row["p95_ms"])]
        for row in results.rows
    ]  # fmt: skip
    head = ["program", *(f"times as fast as {name}" for name in others), "clips/s",
            "ms, median", "ms, 95 %"]  # fmt: skip
    return Table(markdown(head, lines, 1))


def video_analysis(results: Results) -> Table:
    """A line per program: its rate, and how many times as fast ours is; memory in the note."""
    lines, notes = [], []
    for what in distinct(results.rows, "what"):
        rows = [row for row in results.rows if row["what"] == what]
        ours = next((row for row in rows if row["program"].startswith(OURS_THERE)), rows[0])
        for row in rows:
            faster = ours["times_faster_than"].get(row["program"])
            found = f"{row['found']:.0%}" if "found" in row else ""
            lines.append([what, row["program"], f"{rounded(row['per_s'])} {row['unit']}/s",
                          ratio(faster), found])  # fmt: skip
            if "most_bytes" in row:
                early, last, most = (
                    row[f"{name}_bytes"] / 1e6 for name in ("early", "last", "most")
                )
                notes.append(
                    f"MB in {what}: {early:.1f} early, {last:.1f} at the end, at most {most:.1f}"
                )
    head = ["", "program", "", "ours with the demo's model, or by one command, is so many times as "
            "fast", "frames with a face"]  # fmt: skip
    return Table(markdown(head, lines, 2), "; ".join(notes))


# By the name of the benchmark: results to the lines of its table.
TABLES: dict[str, Callable[[Results], Table]] = {
    "pe_clip": timed,
    "end_to_end": timed,
    "cold_start": cold_start,
    "temporal_adapter": operator,
    "bottleneck_adapter": operator,
    "frozen_block": operator,
    "data_loading": data_loading,
    "packing": packing,
    "scaling": scaling,
    "loss_curves": loss_curves,
    "recomputation": recomputation,
    "fp8_error": fp8_error,
    "int8": int8,
    "beside_others": beside_others,
    "faults": faults,
    "export_formats": export_formats,
    "archives": archives,
    "serving": serving,
    "video_analysis": video_analysis,
}
# What writes the results, where it is none of the programs in benchmarks/.
PROGRAMS = {
    "faults": "PYTHONPATH=tests python -m faults",
    "archives": "python -m benchmarks.many_machines.archives RUN",
    "serving": "python -m benchmarks.serving RUN",
    "video_analysis": "python -m benchmarks.video_analysis RUN VIDEO",
}


def block(name: str, results: Results | None, link: str) -> list[str]:
    """What stands between the markers of that name; ``link`` leads to the results file."""
    benchmark, _, device = name.rpartition("-")
    if benchmark not in TABLES or device.partition("_")[0] not in ("cpu", "cuda"):
        raise ValueError(f"expected the name of results with a table, not {name!r}")
    if results is None:
        where = "a GPU" if device == "cuda" else "a CPU"
        program = PROGRAMS.get(benchmark, f"python -m benchmarks.{benchmark}")
        return [f"Not measured on {where} yet: `{program}` writes `{file_of(name)}`."]
    table = TABLES[benchmark](results)
    return [*table.lines, "", provenance(results, link, table.note)]
