"""``peclip-fast analyze --sources``: the options of an archive, put together."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from peclip_fast.analyze.analyzer import AnalyzeOptions, Analyzer
from peclip_fast.analyze.outputs.make import Wanted
from peclip_fast.analyze.pipeline.sources import TimeSpan
from peclip_fast.archive.engines import Cluster, Engine, LocalEngine, RayEngine
from peclip_fast.archive.listing import list_sources
from peclip_fast.archive.run import analyze_archive
from peclip_fast.archive.work import Order
from peclip_fast.config.run import RunConfig
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError
from peclip_fast.locks import locked
from peclip_fast.stopping import Stopped, named

RAY = "ray"
SHARD = 100  # videos in a Parquet file, unless told otherwise


def run_archive(
    options: argparse.Namespace,
    output: Path,
    run: RunFolder,
    config: RunConfig,
    chosen: AnalyzeOptions,
    wanted: Wanted,
    span: TimeSpan,
) -> int:
    """Analyze all, and give how many videos have no result.

    Args:
        options: of the command.
        output: gets the results.
        run: whose model is used.
        config: of the run.
        chosen: how videos are analyzed.
        wanted: what is made of each one's tables, where that is asked for.
        span: which part of each.

    Raises:
        InputError: nothing at all could be analyzed, or the options or lists can't be used.
        Stopped: by a signal.
    """
    by_ray = options.engine == RAY
    given = {
        name: value
        for name in Cluster.__dataclass_fields__
        if (value := getattr(options, name)) is not None
    }
    cluster = Cluster(**given)
    # With Ray its workers have the model, and the GPUs are theirs.
    analyzer = Analyzer(run, "cpu" if by_ray else None, options=chosen, config=config)
    pages = options.pages or options.formats or options.video
    order = Order(analyzer.recipe(), span, options.speech, wanted if pages else None)

    def engine() -> Engine:
        if by_ray:
            return RayEngine(order, run, config, cluster)
        return LocalEngine(order, analyzer.classifier)

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with locked(output):
        try:
            with named():
                sources = list_sources(options.listed)
                counts = analyze_archive(
                    sources, output, order, options.shard or SHARD, engine, tell
                )
        except Stopped as stopped:
            advice = stopped.advice or "the same command goes on"
            raise Stopped(stopped.number, advice) from None
    if not counts.done:
        raise InputError(f"none of {counts.failed} videos could be analyzed; {output} says why")
    print(f"{counts.done} videos analyzed, {counts.failed} failed; written to {output}")
    return counts.failed
