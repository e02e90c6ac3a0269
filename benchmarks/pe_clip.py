"""``python -m benchmarks.pe_clip``: inference and train step of the whole model, and its memory.

Three programs with the same weights, on the same random frames (speed does not depend on what they
show), in turns, in one run:

- reference: the published program's computation (benchmarks/reference), in float32.
- plain PyTorch: the correct model at its best without our kernels: bf16, SDPA, the text cut after
  its last end, the last block for the class token alone, as it is and under torch.compile. On a GPU
  nn.GRU, which is cuDNN's, walks over the frames. In bf16 on a CPU the reference's loop is faster
  (benchmarks.temporal_adapter has both). torch.compile unrolls either into one graph; on a GPU it
  is also timed around nn.GRU, called between its graphs.
- ours: what ``peclip_fast`` does with the same options, keeping freed memory on the CPU as its
  commands do (engine/steps/memory.py); on a GPU also with each backend by name,
  and a train step as CUDA graphs.

Beside them stands the floor: the step's products by themselves, at the rate of the library's own
product of the MLP's shape, measured in the same turns.

That they compute the same is checked first, on one clip (with more the reference leaks). Peak
memory is of a process of its own for each, beyond what it held before its first step.
"""

from __future__ import annotations

import argparse
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.measure.flops import gflop
from benchmarks.measure.record import RESULTS, interleaved, place, rows_kept, write
from benchmarks.reference.model import ReferencePECLIP
from peclip_fast import create_model, ops
from peclip_fast.config.texts import PUBLISHED_ACTION_UNITS
from peclip_fast.engine.graphs import GraphedModel
from peclip_fast.engine.steps.memory import kept_memory
from peclip_fast.errors import InputError
from peclip_fast.models.methods.pe_clip import PECLIP
from peclip_fast.models.parts.adapters import GRU, TemporalAdapter
from peclip_fast.models.published.embedded_texts import PREFIX, SUFFIX
from peclip_fast.models.published.pe_clip import published_name
from peclip_fast.models.tokenizer import END, START, tokenizer

CLASSES = tuple(PUBLISHED_ACTION_UNITS)
FRAMES = 16
CONTEXT = 77  # positions of the published text encoder
PLACEHOLDER = 343  # CLIP's token "X", where the context stands
NEAR = {"fp32": 1e-3, "bf16": 0.5}  # logits, which are up to 100
LR_ADAPTERS, LR_PROMPTS, WEIGHT_DECAY = 2e-4, 3e-5, 0.01

Program = Callable[[Tensor], Tensor]
Maker = Callable[[], tuple[nn.Module, Program]]


def make_ours(backbone: str, backend: str) -> PECLIP:
    """The model with random weights, the same on each call, none of them zero."""
    torch.manual_seed(0)
    model = create_model(backbone=backbone, classes=CLASSES, backend=backend)
    with torch.no_grad():
        for parameter in model.trained_parameters().values():
            if not parameter.any():
                parameter.normal_(std=0.02)
    return model


def make_reference(backbone: str) -> ReferencePECLIP:
    """The reference implementation with the same weights."""
    ours = make_ours(backbone, "reference")
    context = ours.config.context_tokens
    encode = tokenizer().encode
    rows = [[START, *[PLACEHOLDER] * context, *encode(text), END] for text in ours.texts]
    tokens = torch.tensor([row + [0] * (CONTEXT - len(row)) for row in rows])
    embedded = ours.backbone.token_embedding.weight[tokens].detach()
    state = {
        published_name(name): tensor
        for name, tensor in ours.state_dict().items()
        if "token_embedding" not in name
    }
    state |= {PREFIX: embedded[:, :1], SUFFIX: embedded[:, 1 + context :]}
    return ReferencePECLIP(state, tokens)


def with_nn_gru(model: PECLIP) -> PECLIP:
    """The model with PyTorch's own GRU in each TDA, and PyTorch around it; cuDNN's on a GPU."""
    for adapter in list(model.modules()):
        if isinstance(adapter, TemporalAdapter) and isinstance(adapter.recurrence, GRU):
            gru = adapter.recurrence = ops.gru_with(*adapter.recurrence.weights())
            gru.forward = torch.compiler.disable(gru.forward)  # which would unroll it
    return model


def reference_program(backbone: str) -> tuple[nn.Module, Program]:
    """The reference implementation, in float32."""
    model = make_reference(backbone)
    return model, lambda frames: model(frames.float() / 255)


def program_of(
    backbone: str, dtype: str, backend: str, *, nn_gru: bool = False, compiled: bool = False,
    graphed: bool = False,
) -> tuple[PECLIP, Program]:  # fmt: skip
    """The package's model with our kernels, or in plain PyTorch as `reference`."""
    model = make_ours(backbone, backend)
    if nn_gru:
        with_nn_gru(model)
    function = torch.compile(model, dynamic=False) if compiled else model
    graphs = functools.cache(functools.partial(GraphedModel, model))

    def program(frames: Tensor) -> Tensor:
        on, kind = dtype == "bf16", frames.device.type
        run = graphs(len(frames)) if graphed and torch.is_grad_enabled() else function
        with torch.autocast(kind, torch.bfloat16, enabled=on, cache_enabled=not graphed):
            return run(frames)

    return model, program


FLOOR = "products alone"
PRODUCTS = 10  # of each run for the floor: a single one's time varies by more
# On a GPU alone; the second for train steps alone.
AROUND_GRU, GRAPHED = "torch.compile around nn.GRU", "ours as CUDA graphs"
# Backends that `auto`, which "ours" is, takes only once they are verified.
NAMED = {f"ours, {backend}": backend for backend in ("cudnn", "triton", "cuda")}


def programs(backbone: str, dtype: str, device: str) -> dict[str, Maker]:
    """By name: what makes a model, and what computes logits from uint8 frames (B, T, 3, H, W)."""
    plain = functools.partial(program_of, backbone, dtype, "reference")
    gpu = device == "cuda"
    ours = functools.partial(program_of, backbone, dtype, "auto")
    found: dict[str, Maker] = {
        "reference": functools.partial(reference_program, backbone),
        "plain PyTorch": functools.partial(plain, nn_gru=gpu or dtype == "fp32"),
        "torch.compile": functools.partial(plain, compiled=True),
    }
    if gpu:
        found[AROUND_GRU] = functools.partial(plain, nn_gru=True, compiled=True)
        found[GRAPHED] = functools.partial(ours, graphed=True)
        for name, backend in NAMED.items():
            found[name] = functools.partial(program_of, backbone, dtype, backend)
    return {**found, "ours": ours}


def chosen(able: Mapping[str, Maker], names: Iterable[str]) -> dict[str, Maker]:
    """Those of the names, or SystemExit for a name that isn't there."""
    if unknown := sorted(set(names) - set(able)):
        raise SystemExit(f"--programs {unknown[0]}: expected of {', '.join(able)}")
    return {name: able[name] for name in names}


def train_step(model: nn.Module, program: Program, labels: Tensor) -> Callable[[Tensor], object]:
    """Forward, loss, backward and optimizer, as the published recipe has it."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for n, p in named if n.startswith("prompt") == prompts], "lr": rate}
        for prompts, rate in ((False, LR_ADAPTERS), (True, LR_PROMPTS))
    ]
    # The published program takes PyTorch's default.
    fused = None if isinstance(model, ReferencePECLIP) else True
    optimizer = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY, fused=fused)
    model.train()

    def step(frames: Tensor) -> Tensor:
        loss = F.cross_entropy(program(frames), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def infer(model: nn.Module, program: Program) -> Callable[[Tensor], object]:
    model.eval()
    return torch.no_grad()(program)


def image_size(backbone: str) -> int:
    """Side of the frames, without weights."""
    with torch.device("meta"):
        return create_model(backbone=backbone, classes=CLASSES).image_size


def make_frames(clips: int, size: int, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (clips, FRAMES, 3, size, size)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator).to(device)


def floor_ms(backbone: str, clips: int, what: str, products_ms: float) -> float:
    """Of all the step's products, at the rate of some_products()."""
    with torch.device("meta"):
        model = create_model(backbone=backbone, classes=CLASSES)
    rows, width, hidden = _mlp(model, clips)
    rate = PRODUCTS * 2e-9 * rows * width * hidden / products_ms
    return gflop(model, FRAMES, clips, what == "train step") / rate


def some_products(
    backbone: str, clips: int, dtype: str, device: torch.device
) -> Callable[[], object]:
    """PyTorch's product of the MLP's input with its first weight, over and over, into one result:
    none of its time goes to memory that the system has to clear.
    """
    with torch.device("meta"):
        rows, width, hidden = _mlp(create_model(backbone=backbone, classes=CLASSES), clips)
    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    x, weight = (torch.randn(n, width, device=device).to(kind) for n in (rows, hidden))
    result = torch.empty(rows, hidden, device=device, dtype=kind)

    def products() -> None:
        for _ in range(PRODUCTS):
            torch.mm(x, weight.mT, out=result)

    return products


def _mlp(model: PECLIP, clips: int) -> tuple[int, int, int]:
    hidden, width = model.backbone.visual.transformer.resblocks[0].mlp.c_fc.weight.shape
    tokens = model.vision.prefix + model.vision.patches + model.config.context_tokens
    return clips * FRAMES * tokens, width, hidden


def peak_memory(make: Maker, clips: int, size: int, device_name: str) -> float:
    """Bytes that two train steps take at their highest, beyond model and interpreter."""
    device = torch.device(device_name)
    model, program = make()
    model.to(device)
    frames = make_frames(clips, size, device)
    step = train_step(model, program, torch.arange(clips, device=device) % len(CLASSES))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    before = _highest(device)
    for _ in range(2):
        step(frames)
    return _highest(device) - before


def peak_memory_alone(make: Maker, clips: int, size: int, device_name: str) -> float:
    """peak_memory() in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(peak_memory, make, clips, size, device_name).result()


def _highest(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    # Not getrusage's, which a new process takes over from the one that started it.
    (kilobytes,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return 1024.0 * float(kilobytes)


def reference_logits(backbone: str, frames: Tensor) -> Tensor:
    """The reference's logits of these frames, by a model that is gone afterwards."""
    model, program = reference_program(backbone)
    model.to(frames.device)
    with torch.no_grad():
        return program(frames)


def check(logits: dict[str, Tensor], dtype: str) -> dict[str, float]:
    """Largest difference of each program's logits from the reference's."""
    true = logits["reference"]
    found = {name: (given - true).abs().max().item() for name, given in logits.items()}
    for name, error in found.items():
        if not error <= NEAR[dtype]:
            raise SystemExit(f"{name} gives other logits than the reference, by {error}")
    return found


def measure(
    options: argparse.Namespace, able: Mapping[str, Maker], clips: int
) -> list[dict[str, Any]]:
    device = torch.device(options.device)
    frames = make_frames(clips, image_size(options.backbone), device)
    labels = torch.arange(clips, device=device) % len(CLASSES)
    rows = []
    # All are checked against the reference, whether it is timed or not.
    true = {} if "reference" in able else {
        "reference": reference_logits(options.backbone, frames[:1])
    }  # fmt: skip
    for what in options.what:
        runs, given = {}, dict(true)
        for name, make in able.items():
            if (what, name) == ("inference", GRAPHED):
                continue
            try:
                model, program = make()
                model.to(device)
                with torch.no_grad():
                    logits = program(frames[:1]).float()
                run = infer(model, program) if what == "inference" else train_step(
                    model, program, labels
                )  # fmt: skip
                run(frames)
            except (InputError, RuntimeError) as error:  # the compiler's are RuntimeErrors too
                if name not in (AROUND_GRU, GRAPHED, *NAMED):  # without these there is a table
                    raise
                why = str(error).strip().splitlines()[0]
                print(f"{what:<11}{clips:>3} clips  {name} left out: {why}", flush=True)
                rows.append({"what": what, "clips": clips, "program": name, "not_run": why})
                continue
            runs[name], given[name] = functools.partial(run, frames), logits
        differences = check(given, options.dtype) | {FLOOR: 0.0}
        runs[FLOOR] = some_products(options.backbone, clips, options.dtype, device)
        # As the package's commands run it.
        around = {"ours": functools.partial(kept_memory, device)}
        times = interleaved(runs, device, options.seconds, True, options.least, around)
        times[FLOOR] = {
            key: floor_ms(options.backbone, clips, what, value) if key.endswith("_ms") else value
            for key, value in times[FLOOR].items()
        }
        for name, time in times.items():
            rows.append({
                "what": what, "clips": clips, "backbone": options.backbone, "program": name,
                "dtype": "fp32" if name == "reference" else options.dtype, **time,
                "clips_per_s": 1e3 * clips / time["median_ms"],
                "logits_differ_by": differences[name],
                "times_faster_than": {
                    other: times[other]["median_ms"] / time["median_ms"]
                    for other in times if other != name
                },
            })  # fmt: skip
            print(line(rows[-1]), flush=True)
    return rows


def memory(
    options: argparse.Namespace, able: Mapping[str, Maker], clips: int
) -> list[dict[str, Any]]:
    rows, size = [], image_size(options.backbone)
    for name, make in able.items():
        used = peak_memory_alone(make, clips, size, options.device)
        rows.append({"what": "peak memory", "clips": clips, "program": name, "bytes": used})
        print(f"peak memory of a train step  {clips:>3} clips  {name:<14}{used / 1e9:>8.2f} GB")
    return rows


def line(row: dict[str, Any]) -> str:
    return (
        f"{row['what']:<11}{row['clips']:>3} clips  {row['program']:<14}{row['dtype']}"
        f"{row['median_ms']:>10.1f} ms{row['clips_per_s']:>9.2f} clips/s"
        + "".join(f"  {ratio:.2f}x {other}" for other, ratio in row["times_faster_than"].items())
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--backbone", default="ViT-B-16-quickgelu")
    parser.add_argument("--dtype", default="bf16", choices=list(NEAR))
    parser.add_argument("--clips", type=int, nargs="+", default=None)
    parser.add_argument("--what", nargs="+", default=["inference", "train step"])
    parser.add_argument("--programs", nargs="+", help="names in the table; all unless given")
    parser.add_argument("--seconds", type=float, default=60.0, help="per size and kind of work")
    parser.add_argument("--least", type=int, default=5, help="timed runs of each")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument(
        "--add", action="store_true", help="to what the file has of other sizes and kinds of work"
    )
    parser.add_argument("--no-memory", action="store_true", help="leave the peak memory out")
    options = parser.parse_args()
    able = programs(options.backbone, options.dtype, options.device)
    able = chosen(able, options.programs or able)
    rows = []
    for clips in options.clips or ([8, 32] if options.device == "cuda" else [2]):
        rows += measure(options, able, clips)
        failed = {row["program"] for row in rows if "not_run" in row}
        if not options.no_memory:
            rows += memory(options, {n: make for n, make in able.items() if n not in failed}, clips)
    device = torch.device(options.device)
    if options.add:
        rows = rows_kept(place("pe_clip", device, options.output), rows, ("what", "clips"))
    print(write("pe_clip", device, rows, options.output))


if __name__ == "__main__":
    main()
