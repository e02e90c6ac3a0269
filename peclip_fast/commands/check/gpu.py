"""``peclip-fast check-gpu``: which kernels are right and fast on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from peclip_fast.commands.shared.options import CommandLine, positive
from peclip_fast.commands.shared.running import run_command
from peclip_fast.config.layers import config_layers

DESCRIPTION = """Check every kernel that a configuration's model can run here, each in a process of
its own: against fp64 on the model's own sizes and an odd one, between guards and over NaN, for the
same bits in every repeat, and, on a GPU, on another stream and in a CUDA graph. Then time those
that passed. The verdicts are kept in the cache for the other commands, whose --model.backend auto
takes the fastest kernels that passed. It ends with code 1 if a kernel failed. With --train.device
cpu the CPU's kernels are checked."""
SHOWN = ("model.method", "model.backbone", "model.reduction", "model.scaling", "data.frames",
         "train.precision", "train.device", "train.threads")  # fmt: skip
FAILED = 1


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_check, argv)


def _check(argv: list[str]) -> int:
    line = CommandLine("check-gpu", DESCRIPTION, "[--config NAME ...] [--force] [--json] [options]",
                       SHOWN)  # fmt: skip
    line.add_config()
    line.add("--force", action="store_true", help="check again what is known")
    line.add("--seconds", type=float, metavar="N",
             help="that the check of a call may take before its process is killed; 120, or what "
                  "PECLIP_FAST_CHECK_SECONDS says, unless given")  # fmt: skip
    line.add("--output", type=Path, metavar="FILE", help="write the verdicts to a file, too")
    line.add("--json", action="store_true", help="print JSON")
    given = line.read(argv)
    own = given.own
    positive("seconds", own.seconds)
    files = {"data": {"cues": "any", "descriptions": "any"}}  # kernels depend on no clip
    config = given.resolve([("check-gpu", files), *config_layers(own.config)])

    from peclip_fast.engine.distributed import set_up
    from peclip_fast.engine.kernels.choice import ALONE, checked
    from peclip_fast.engine.kernels.table import table, table_text
    from peclip_fast.errors import InputError
    from peclip_fast.ops.devices import gpu_missing
    from peclip_fast.ops.verdicts import store
    from peclip_fast.registry import load_plugins

    device = set_up(config.train, ALONE)
    if device.type == "cpu" and config.train.device != "cpu":
        raise InputError(f"{gpu_missing()}; --train.device cpu checks the CPU's kernels")
    load_plugins()
    record = checked(
        config, device, every=True, force=own.force, seconds=own.seconds,
        tell=lambda text: print(text, file=sys.stderr, flush=True),
    )  # fmt: skip
    rows = table(record, device)
    if own.json:
        print(json.dumps({"machine": record.machine, "verdicts": rows}, indent=1))
    else:
        print("\n".join([f"{record.machine['name']}", *table_text(rows)]))
    if own.output is not None:
        store.write(own.output, record)
        print(f"written to {own.output}", file=sys.stderr)
    return FAILED if any(row["state"] == "failed" for row in rows) else 0
