"""Which decoder a run takes by ``auto``: DALI where some of its clips showed that it is good."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from peclip_fast.config.run import RunConfig
from peclip_fast.data.loading import decoders
from peclip_fast.data.loading.dali.trial import PLACE, TrialClips
from peclip_fast.data.records import ClipRecord
from peclip_fast.engine.distributed import World, gather
from peclip_fast.engine.kernels.choice import ALONE, Tell, in_common, known
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.ops.verdicts import machine, settle, store
from peclip_fast.ops.verdicts.verdict import OperatorCall, Record, Verdict, choice

OP = "decode"


def settle_decoder(
    config: RunConfig,
    records: Sequence[ClipRecord],
    image_size: int,
    device: torch.device,
    world: World = ALONE,
    run: RunFolder | None = None,
    tell: Tell = store.warn,
) -> Record | None:
    """Have ``auto`` take the decoder that is right and faster, trying some clips if need be.

    Args:
        config: of the run; ``train.kernel_check`` says whether and how.
        records: its clips.
        image_size: of the model.
        device, world, run, tell: as settle_kernels() has them.

    Returns:
        What the choice follows from; None where there was nothing to choose.
    """
    mode, missing = config.train.kernel_check, decoders.dali_missing()
    decoders.install({device.type} if mode == "trust" else ())
    asked = config.data.decoder == "auto" and not (config.reads_cues or config.reads_descriptions)
    if mode in ("off", "trust") or not asked or config.data.noise or missing or not records:
        return None
    call = OperatorCall(
        OP, {"frames": [config.data.frames, image_size, image_size, 3]}, [], {}, "uint8",
        image_size, 0, config.data.frames, kinds(records),
    )  # fmt: skip
    found = None
    if world.local_rank == 0:
        sample = TrialClips.of(
            records, config.data, image_size, world.share(config.train.batch_size),
            config.train.seed,
        )  # fmt: skip
        found = _of_machine(call, sample, device, run, mode == "force", tell)
    every = [verdicts for verdicts in gather(found) if verdicts is not None]
    verdicts = in_common(every)
    decoders.install({device.type} if choice(verdicts).backend == "dali" else ())
    return Record(machine.facts(device), verdicts)


def kinds(records: Sequence[ClipRecord]) -> str:
    """Of files, by their endings: what a decoder can do depends on them."""
    return ", ".join(sorted({record.path.suffix.lower() or "images" for record in records}))


def _of_machine(
    call: OperatorCall, sample: TrialClips, device: torch.device, run: RunFolder | None,
    force: bool, tell: Tell,
) -> list[Verdict]:  # fmt: skip
    code = decoders.dali_version()
    if not force:
        of_run = store.read(run.kernels) if run is not None and run.kernels.is_file() else None
        for record in (of_run, known(device)):
            if record is None or record.machine != machine.facts(device):
                continue
            former = record.of(call)
            if "dali" in former and former["dali"].code == code:
                return list(former.values())
    if refusal := settle.not_now(device):
        return [Verdict(call, "dali", "unknown", refusal, code=code)]
    tell(f"trying DALI on {len(sample.records)} clips")
    answers = settle.run_task(PLACE, [dataclasses.asdict(sample)], device, settle.limit())
    state, reason = answers.verdicts.get(0, (answers.state, answers.reason))
    if state != "passed":
        tell(f"DALI isn't taken: {reason}")
        verdicts = [Verdict(call, "dali", state, reason, code=code)]
    else:
        verdicts = [
            Verdict(call, name, "passed", forward=times["forward"], code=code)
            for name, times in answers.times[0].items()
        ]
    store.keep(Record(machine.facts(device)).with_(verdicts))
    return verdicts
