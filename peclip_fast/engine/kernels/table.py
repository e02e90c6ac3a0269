"""Verdicts for people: what passed, how fast it was, what is taken, and why not the rest."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from peclip_fast.engine.kernels.choice import known
from peclip_fast.ops.declared import Choice, Kind, install
from peclip_fast.ops.verdicts import store
from peclip_fast.ops.verdicts.verdict import Record, choices
from peclip_fast.registry import load_plugins


def known_here() -> dict[str, list[dict[str, object]]]:
    """The table() of each device of this machine of which anything is known, which ``auto`` heeds
    from here on."""
    load_plugins()
    taken: dict[Kind, Choice] = {}
    rows = {}
    for name in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        device = torch.device(name)
        record = known(device) if store.anything() else None
        if record is not None and record.verdicts:
            taken |= choices(record.verdicts, name)
            rows[name] = table(record, device)
    install(taken)
    return rows


def table(record: Record, device: torch.device) -> list[dict[str, object]]:
    """A row for each verdict, as ``info`` and ``check-gpu`` show them."""
    taken = choices(record.verdicts, device.type)
    return [
        {
            "op": v.call.op,
            "call": str(v.call),
            "backend": v.backend,
            "state": v.state,
            "forward_ms": v.forward,
            "both_ms": v.both,
            "taken": taken[v.call.kind(device.type)].backend == v.backend,
            "reason": v.reason or taken[v.call.kind(device.type)].refused.get(v.backend, ""),
        }
        for v in record.verdicts
    ]


def table_text(rows: Sequence[dict[str, object]]) -> list[str]:
    """The rows for people, below the calls that they are about."""
    lines: list[str] = []
    for call in dict.fromkeys(str(row["call"]) for row in rows):
        lines.append(f"  {call}")
        for row in (row for row in rows if row["call"] == call):
            times = [f"{row[name]:9.3f} ms" if row[name] is not None else f"{'':12}"
                     for name in ("forward_ms", "both_ms")]  # fmt: skip
            mark, why = ("taken", "") if row["taken"] else ("", row["reason"])
            words = f"    {row['backend']:<14}{row['state']:<8}{' '.join(times)}  {mark}{why}"
            lines.append(words.rstrip())
    return lines
