"""Fill files and stores of any size: survey, measure, fill block by block, write.

A record of one block is filled in memory. A larger one is filled block by block into a folder of parts beside the
output; what is complete there is kept when a fill is interrupted.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import xarray as xr

from hydrofill import __version__
from hydrofill.archives.inputs import Input, check_target, find_input, format_of
from hydrofill.archives.jobs import Job, fill_here, fill_in_processes, fill_on_cluster
from hydrofill.archives.memory import ahead_values, workers_within
from hydrofill.archives.opening import open_input
from hydrofill.archives.output import FilledArchive, write_dataset
from hydrofill.archives.parts import PLAN, DoneBlock, Parts
from hydrofill.archives.reading import DatasetSource
from hydrofill.archives.summaries import Summary, of_counts, summaries_of, with_notes
from hydrofill.archives.views import LargeView, check_filled, filled_dataset, names_to_fill, open_large
from hydrofill.bundle import Bundle
from hydrofill.cf.experiments import merge_experiments
from hydrofill.cores import usable_cores
from hydrofill.errors import ContractError, StructureError
from hydrofill.filling import FillOptions, as_declared, prepare_fill, refuser_for
from hydrofill.paths import FileRefusedError
from hydrofill.prepared_parts import check_reading
from hydrofill.progress import Progress
from hydrofill.reconstruct import FLAG_MEANINGS
from hydrofill.summary import summary_of
from hydrofill.survey import Survey, outline_survey, survey

if TYPE_CHECKING:
    from hydrofill.inference.model import Model

PARTS = ".parts"  # ending of the folder of parts beside the output


class Step(NamedTuple):
    """Progress of a fill: what is being done, parts done and in all, and cells of filled variables in a part."""

    doing: Literal["survey", "measure", "fill"]
    done: int
    total: int
    cells: int


@dataclass(frozen=True)
class ArchiveOptions:
    """Options of the fill of an archive; of these `skip_bad` alone can change a value that is filled.

    memory: bytes that all processes together may use; None for no limit. workers: number of processes; None for one
    for each core that fits into the memory. scheduler: address of a Dask scheduler, "dask://local" for a local
    cluster, None for none. resume: go on with a fill that was interrupted. overwrite: replace an output that exists.
    skip_bad: fill chunks that cannot be read like gaps. provider, threads: what runs the graphs. group: the group of
    the files that holds the data; "" for the root, or else the only group with data.
    """

    memory: int | None = None
    workers: int | None = None
    scheduler: str | None = None
    resume: bool = False
    overwrite: bool = False
    skip_bad: bool = False
    provider: Literal["cpu", "cuda"] = "cpu"
    threads: int | None = None
    group: str = ""


def fill_archive(
    source: str,
    target: str,
    bundle: Bundle,
    options: FillOptions | None = None,
    how: ArchiveOptions | None = None,
    progress: Callable[[Step], None] | None = None,
) -> list[Summary]:
    """Fill the gaps of files or of a store, write `target`, and count the cells of each filled variable.

    Args:
        source: a NetCDF file, a pattern of NetCDF files that follow each other in time, or a Zarr store.
        target: the NetCDF file or Zarr store to write.
        bundle: the bundle that fills.
        options: what to fill; every gap by default.
        how: how it is filled.
        progress: called after each part.

    Raises:
        FileRefusedError: a path cannot be read or must not be written, the memory is too little, or a fill cannot go on
            because the input, the bundle or the options have changed.
        ContractError: the data are damaged or do not suit the bundle.
        WorkersLostError: a worker process was ended from outside.
        ProviderError: the provider is not available on this machine.
        OSError: the output cannot be written; what is complete is kept.
    """
    from hydrofill.inference.graphs import Runtime, check_provider

    options, how = options or FillOptions(), how or ArchiveOptions()
    check_provider(Runtime(how.provider, how.threads or 1))
    given = find_input(source, how.group)
    check_target(given, target, how.overwrite)
    if options.members and format_of(target) == "csv":
        raise StructureError("members do not fit into a table", got=target, expected="a NetCDF file or a Zarr store")
    with open_input(given) as opened:
        try:
            dataset = merge_experiments(as_declared(opened, bundle.manifest.layout, options, lazily=True))
            large = open_large(dataset, given.name, bundle.manifest.layout, skip_bad=how.skip_bad)
            if not large:
                return _fill_in_memory(dataset, target, bundle, options, how, progress)
            return _fill_by_block(given, dataset, large, target, bundle, options, how, progress)
        except ContractError as error:  # an error about the whole file names no variable
            raise error.at(error.where or given.name) from error


def _fill_in_memory(
    dataset: xr.Dataset,
    target: str,
    bundle: Bundle,
    options: FillOptions,
    how: ArchiveOptions,
    progress: Callable[[Step], None] | None,
) -> list[Summary]:
    """Fill a dataset of which every view is one block."""
    from hydrofill.inference.graphs import Runtime
    from hydrofill.inference.model import load_model

    prepared = prepare_fill(dataset.load(), bundle.manifest.layout, options)
    model = load_model(bundle, Runtime(how.provider, how.threads or usable_cores()))
    cells = sum(part.cube.variables[name].values.size for part in prepared.parts for name in part.names)
    reported: Progress | None = None
    if progress is not None:
        reported = lambda done, total: progress(Step("fill", done, total, cells // max(total, 1)))  # noqa: E731
    outcome = prepared.run(model, reported)
    written = prepared.write(outcome.filled, model.provenance(outcome), lazily=True)
    write_dataset(written, target)
    return summaries_of(prepared, outcome.filled, written)


def _fill_by_block(
    given: Input,
    dataset: xr.Dataset,
    views: Sequence[LargeView],
    target: str,
    bundle: Bundle,
    options: FillOptions,
    how: ArchiveOptions,
    progress: Callable[[Step], None] | None,
) -> list[Summary]:
    """Fill a dataset block by block, one view after the other, and write it."""
    if options.members:
        raise StructureError(
            "members are drawn only of data that is filled in one piece",
            got=f"{sum(len(view.blocks) for view in views)} blocks",
            expected="one",
        )
    if options.codes != "keep":
        raise StructureError(
            "codes are filled only in data that is filled in one piece",
            got=f"{sum(len(view.blocks) for view in views)} blocks",
            expected="one",
        )
    from hydrofill.inference.graphs import Runtime
    from hydrofill.inference.model import load_model

    largest = max(block.values_read(*view.source.counts) for view in views for block in view.blocks)
    workers = workers_within(how.memory, largest, how.workers or usable_cores())
    names = names_to_fill(views, bundle.manifest.layout, options.variables)
    for view in views:  # an option that does not suit the data is found early
        present = [name for name in names if name in view.targets]
        refuser_for(present, view.source.first, view.source.dataset, view.targets, dataset, options.control)
    parts = _open_parts(given, views, target, bundle, options, how)
    model = load_model(bundle, Runtime(how.provider, how.threads or 1))
    number = sum(len(view.blocks) for view in views)
    filled: dict[int, FilledArchive] = {}  # by number of the view
    summaries: list[Summary] = []
    for view in views:
        own = parts if len(views) == 1 else parts.within(str(view.number))
        before = sum(len(earlier.blocks) for earlier in views[: view.number])
        reported = (progress, before, number)
        archive, counts = _fill_view(given, view, own, model, bundle, names, options, how, workers, reported)
        if archive is not None:
            filled[view.number] = archive
        summaries += [of_counts(name, of_name, view.label) for name, of_name in counts.items()]
    check_filled(list(filled.values()), names, options.variables)
    empty = [summary.title for summary in summaries if not summary.observed]
    written = filled_dataset(dataset, views, filled, options, empty)
    write_dataset(written, target)
    shutil.rmtree(parts.folder)
    return with_notes(summaries, written, views[0].source.first.source)


def _fill_view(
    given: Input,
    view: LargeView,
    parts: Parts,
    model: Model,
    bundle: Bundle,
    names: Sequence[str],
    options: FillOptions,
    how: ArchiveOptions,
    workers: int,
    reported: tuple[Callable[[Step], None] | None, int, int],
) -> tuple[FilledArchive | None, dict[str, list[int]]]:
    """Fill the blocks of one view; return its fill, None without any value, and the counts of flags by variable.

    `workers` is the number of processes, `reported` the progress, the blocks of earlier views, and the blocks in all.
    """
    from hydrofill.inference.model import Outcome

    progress, before, number = reported
    blocks = view.blocks
    largest = max(block.values_read(*view.source.counts) for block in blocks)
    ahead = ahead_values(how.memory, largest, workers, len(view.source.first.cube.variables))
    source = replace(view.source, ahead_values=ahead)
    found = _surveyed(source, parts, _reporter(progress, "survey"), spans=options.control.interior_only)
    statics = {v.name: summary_of(v.values) for v in found.outline.static}
    check_reading(source.first, {n: v.summary for n, v in found.variables.items()} | statics, source.dataset)
    own = [name for name in names if name in found.variables]
    known = source.first.cube.of_kind("grid", "series")
    counts = {name: [0] * len(FLAG_MEANINGS) for name in names if name in known and name not in own}
    if not own:
        return None, counts
    prepared = model.prepare(source, found, _reporter(progress, "measure"))
    complete = parts.done_blocks()
    job = Job(
        uuid.uuid4().hex,
        given,
        view.number,
        replace(bundle, weights=None),
        how.provider,
        how.threads or 1,
        own,
        options,
        how.skip_bad,
        ahead,
        parts,
        blocks,
        found,
        prepared,
    )
    left = [block.number for block in blocks if block.number not in complete]
    cells = int(np.prod(source.axes.shape)) * len(own) // len(blocks)
    for done in _fill_left(job, left, model, how.scheduler, workers):
        parts.record(done)
        complete[done.number] = done
        if progress is not None:
            progress(Step("fill", before + len(complete), number, cells))
    provenance = model.provenance(Outcome({}, 0.0, 0.0, prepared.summary))
    counts |= {n: np.sum([done.counts[n] for done in complete.values()], axis=0).tolist() for n in own}
    return FilledArchive(source, parts, blocks, {n: prepared.attributes(n) for n in own}, provenance), counts


def _fill_left(job: Job, left: Sequence[int], model: Model, scheduler: str | None, workers: int) -> Iterator[DoneBlock]:
    if scheduler is not None:
        return fill_on_cluster(job, left, scheduler, workers)
    if workers == 1:
        return fill_here(job, left, model)
    return fill_in_processes(job, left, workers)


def _open_parts(
    given: Input, views: Sequence[LargeView], target: str, bundle: Bundle, options: FillOptions, how: ArchiveOptions
) -> Parts:
    """Return the folder of parts of this fill, new or from a fill that was interrupted.

    Raises:
        FileRefusedError: there is a folder of another fill, or one that is not to be resumed.
    """
    plan = {
        "hydrofill": __version__,
        "input": given.identity(),
        "bundle": bundle.sha256,
        "variables": list(options.variables),
        **options.control.described(),
        "missing": list(options.missing),
        "skip_bad": how.skip_bad,
        "shape": list(views[0].source.axes.shape),
        "slices": [view.label for view in views],
    }
    name = target.rstrip("/").rsplit("/", 1)[-1] + PARTS
    folder = Path(name) if "://" in target else Path(target).with_name(name)
    parts = Parts(folder, json.dumps(plan, indent=1))
    if not folder.exists():
        parts.start()
        return parts
    if not how.resume:
        raise FileRefusedError(f"{folder}: an interrupted fill is there; go on with --resume, or delete the folder")
    try:
        earlier = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        earlier = None
    if earlier is None:  # ended before the plan was written
        parts.start()
    elif changed := [key for key, value in plan.items() if earlier.get(key) != value]:
        raise FileRefusedError(f"{folder}: cannot go on with this fill, changed since: {', '.join(changed)}")
    return parts


def _surveyed(source: DatasetSource, parts: Parts, progress: Progress | None, *, spans: bool) -> Survey:
    kept = parts.read_survey()
    if kept is not None:
        return outline_survey(source, kept)
    found = survey(source, progress, spans=spans)
    parts.save_survey(found.variables)
    return found


def _reporter(progress: Callable[[Step], None] | None, doing: Literal["survey", "measure"]) -> Progress | None:
    """Return the progress of a pass over the archive that fills no cell."""
    if progress is None:
        return None
    return lambda done, total: progress(Step(doing, done, total, 0))
