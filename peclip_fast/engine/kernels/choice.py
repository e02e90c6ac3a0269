"""Which kernels a run takes: those that were found right and fast on this machine.

Called by what trains or uses a model, before the model goes to the device, and never by an
operator. In turn it asks the run's own record, the verdicts that are shipped, those in the user's
cache, and at last a check, in processes of their own. What nobody knows anything of isn't taken.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence

import torch

from peclip_fast.config.run import RunConfig
from peclip_fast.engine.distributed import World, gather
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.ops.declared import install, kernels_of, operators
from peclip_fast.ops.verdicts import machine, settle, store
from peclip_fast.ops.verdicts.verdict import OperatorCall, Record, Verdict, choices
from peclip_fast.registry import load_plugins

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
_LOCKED = 15 * 60.0  # seconds after which another process's check is no longer waited for
ALONE = World(0, 1, 0, 1)

Tell = Callable[[str], None]


def settle_kernels(
    config: RunConfig,
    device: torch.device,
    world: World = ALONE,
    run: RunFolder | None = None,
    tell: Tell = store.warn,
) -> Record | None:
    """Have ``auto`` take the fastest kernels that are right here, checking them if need be.

    Of several processes the first one of each machine checks, and all take what passed everywhere.

    Args:
        config: of the run; ``train.kernel_check`` says whether and how.
        device: of the model.
        world: the processes, which are connected.
        run: whose record comes first, if it was made on such a machine.
        tell: gets a line for each check.

    Returns:
        What the choice follows from, for keep_in(); None where there was nothing to choose.
    """
    load_plugins()
    mode = config.train.kernel_check
    nothing = not _unverified(device) and not store.anything()
    if mode in ("off", "trust") or nothing:
        install({}, trust=mode == "trust")
        return None
    record = None
    if world.local_rank == 0:
        record = _of_machine(config, device, run, mode == "force", tell)
    records = [found for found in gather(record) if found is not None]
    agreed = records[0].with_(in_common([found.verdicts for found in records]))
    install(choices(agreed.verdicts, device.type))
    return agreed


def keep_in(run: RunFolder, record: Record | None) -> None:
    """Write what a run's kernels follow from into its folder, so that it goes on with the same."""
    if record is not None:
        store.write(run.kernels, record)


def in_common(found: Sequence[Sequence[Verdict]]) -> list[Verdict]:
    """What passed on all machines, with the longest times; the rest with the first reason."""
    if len(found) == 1:
        return list(found[0])
    by_key = [{(v.call.text, v.backend): v for v in verdicts} for verdicts in found]
    common = []
    for key in dict.fromkeys(key for verdicts in by_key for key in verdicts):
        some = [verdicts.get(key) for verdicts in by_key]
        there = [v for v in some if v is not None]
        bad = next((v for v in there if v.state != "passed"), None)
        if bad is not None:
            common.append(bad)
        elif None in some:
            said = "unknown to one of the machines"
            common.append(dataclasses.replace(there[0], state="unknown", reason=said))
        else:
            forward, both = (
                max((t for v in there if (t := getattr(v, name)) is not None), default=None)
                for name in ("forward", "both")
            )
            common.append(dataclasses.replace(there[0], forward=forward, both=both))
    return common


def known(device: torch.device) -> Record:
    """What is shipped for this machine and what is in the user's cache."""
    facts = machine.facts(device)
    kept = store.cached(facts)
    return store.shipped(facts).with_(kept.verdicts, kept.models)


def checked(
    config: RunConfig, device: torch.device, *, every: bool = False, force: bool = False,
    seconds: float | None = None, tell: Tell = store.warn,
) -> Record:  # fmt: skip
    """The verdicts on all that a configuration's model calls, after checking what isn't known.

    Args:
        every, force, seconds: as ``settle.check`` has them.
    """
    with store.alone(machine.facts(device), _LOCKED):
        before = known(device)  # also what another process has found just now
        done = _digest(config) in before.models or not _unverified(device)
        if done and not force and not every:
            return before
        calls = calls_of(config, device)
        verdicts = settle.check(
            calls, device, before, every=every, force=force, seconds=seconds, tell=tell
        )
        models = {}
        if all(v.state != "unknown" for v in verdicts):
            models[_digest(config)] = f"{config.model.method} on {config.model.backbone}"
        after = before.with_(verdicts, models)
        if after != before:
            store.keep(after)
        return after


def calls_of(config: RunConfig, device: torch.device) -> list[OperatorCall]:
    """The operators' calls of a configuration's model, as its precision has them."""
    from peclip_fast.engine.kernels.calls import model_calls  # open_clip takes seconds

    return model_calls(
        config.model, config.data.frames, AUTOCAST[config.train.precision], device
    )  # fmt: skip


def _of_machine(
    config: RunConfig, device: torch.device, run: RunFolder | None, force: bool, tell: Tell
) -> Record:
    facts = machine.facts(device)
    if run is not None and run.kernels.is_file() and not force:
        record = store.read(run.kernels)
        if record is not None and record.machine == facts and _digest(config) in record.models:
            return record
    record = checked(config, device, force=force, tell=tell)
    # Of this run, though what is unknown now may be known later.
    return record.with_([], {_digest(config): f"{config.model.method} on {config.model.backbone}"})


def _unverified(device: torch.device) -> bool:
    """Whether there is a kernel to be checked on such a device."""
    return any(
        device.type in kernel.devices and not kernel.verified and kernel.missing() is None
        for op in operators()
        for kernel in kernels_of(op).values()
    )


def _digest(config: RunConfig) -> str:
    """Of all that decides which calls there are, and of kernels that aren't ours."""
    model = {key: str(value) for key, value in dataclasses.asdict(config.model).items()}
    code = {
        f"{op} {name}": settle.code_of(op, name) for op in operators() for name in kernels_of(op)
    }
    whole = [model, config.data.frames, config.train.precision, code]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]
