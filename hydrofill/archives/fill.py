"""Fill files and stores of any size: survey, measure, fill block by block, write.

A record of one block is filled in memory. A larger one is filled block by block into a folder of parts beside the
output; what is complete there is kept when a fill is interrupted.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import xarray as xr

from hydrofill import __version__
from hydrofill.archives.inputs import Input, check_target, find_input
from hydrofill.archives.jobs import Job, fill_here, fill_in_processes, fill_on_cluster
from hydrofill.archives.memory import ahead_values, workers_within
from hydrofill.archives.opening import open_input
from hydrofill.archives.output import FilledArchive, write_dataset
from hydrofill.archives.parts import PLAN, DoneBlock, Parts
from hydrofill.archives.reading import DatasetSource
from hydrofill.blocks import Block, plan_blocks
from hydrofill.bundle import Bundle
from hydrofill.cf.axes import recognise
from hydrofill.cf.fills import STORAGE_NOTE
from hydrofill.cores import usable_cores
from hydrofill.errors import ContractError, NothingObservedError, StructureError, UnknownVariableError
from hydrofill.filling import FillOptions, as_declared, check_reading, prepare_fill, said_of_empty
from hydrofill.paths import FileRefusedError
from hydrofill.progress import Progress
from hydrofill.reconstruct import FILLED, FLAG_MEANINGS, OBSERVED, OUTSIDE, REFUSED, FilledVariable
from hydrofill.summary import summary_of
from hydrofill.survey import Survey, outline_survey, survey

if TYPE_CHECKING:
    from hydrofill.inference.model import Model

PARTS = ".parts"  # ending of the folder of parts beside the output


@dataclass(frozen=True)
class Summary:
    """Number of cells of one variable for each flag; all are 0 for a variable without any value, which is left out.

    note: why the variable is not stored as it was, "" if it is.
    """

    name: str
    observed: int
    filled: int
    refused: int
    outside: int
    note: str = ""


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
    with open_input(given) as dataset:
        try:
            dataset = as_declared(dataset, bundle.manifest.layout, options, lazily=True)
            opened = _open_large(given, dataset, bundle, how)
            if opened is None:
                return _fill_in_memory(dataset, target, bundle, options, how, progress)
            return _fill_by_block(given, dataset, *opened, target, bundle, options, how, progress)
        except ContractError as error:  # an error about the whole file names no variable
            raise error.at(error.where or given.name) from error


def _open_large(
    given: Input, dataset: xr.Dataset, bundle: Bundle, how: ArchiveOptions
) -> tuple[DatasetSource, Sequence[Block]] | None:
    """Return the dataset as a source, and its blocks; None if it is one block, or has no time axis."""
    if not any(d.axis == "time" for d in recognise(dataset).values()):
        return None
    source = DatasetSource.of(dataset, given.name, bundle.manifest.layout, skip_bad=how.skip_bad)
    blocks = plan_blocks(source.axes.shape, *source.counts)
    return (source, blocks) if len(blocks) > 1 else None


def _fill_in_memory(
    dataset: xr.Dataset,
    target: str,
    bundle: Bundle,
    options: FillOptions,
    how: ArchiveOptions,
    progress: Callable[[Step], None] | None,
) -> list[Summary]:
    """Fill a dataset of one block."""
    from hydrofill.inference.graphs import Runtime
    from hydrofill.inference.model import load_model

    prepared = prepare_fill(dataset.load(), bundle.manifest.layout, options)
    model = load_model(bundle, Runtime(how.provider, how.threads or usable_cores()))
    cells = sum(prepared.reading.cube.variables[name].values.size for name in prepared.names)
    parts: Progress | None = None
    if progress is not None:
        parts = lambda done, total: progress(Step("fill", done, total, cells // max(total, 1)))  # noqa: E731
    outcome = model.run(prepared.reading.cube, prepared.names, options.max_gap, parts)
    written = prepared.write(outcome.filled, model.provenance(outcome))
    write_dataset(written, target)
    empty = [_of_counts(name, [0] * len(FLAG_MEANINGS)) for name in prepared.left_out]
    summaries = [_summary(name, filled) for name, filled in outcome.filled.items()]
    return [*_with_notes(summaries, written, prepared.reading.source), *empty]


def _fill_by_block(
    given: Input,
    dataset: xr.Dataset,
    source: DatasetSource,
    blocks: Sequence[Block],
    target: str,
    bundle: Bundle,
    options: FillOptions,
    how: ArchiveOptions,
    progress: Callable[[Step], None] | None,
) -> list[Summary]:
    """Fill a dataset of several blocks."""
    if options.codes != "keep":
        raise StructureError(
            "codes are filled only in data that is filled in one piece", got=f"{len(blocks)} blocks", expected="one"
        )
    from hydrofill.inference.graphs import Runtime
    from hydrofill.inference.model import Outcome, load_model

    largest = max(block.values_read(*source.counts) for block in blocks)
    workers = workers_within(how.memory, largest, how.workers or usable_cores())
    ahead = ahead_values(how.memory, largest, workers, len(source.first.cube.variables))
    source = replace(source, ahead_values=ahead)
    parts = _open_parts(given, source, target, bundle, options, how)
    model = load_model(bundle, Runtime(how.provider, how.threads or 1))
    found = _surveyed(source, parts, _reporter(progress, "survey"))
    statics = {v.name: summary_of(v.values) for v in found.outline.static}
    check_reading(source.first, {n: v.summary for n, v in found.variables.items()} | statics, dataset)
    names = _names(found, source, model, options.variables)
    prepared = model.prepare(source, found, _reporter(progress, "measure"))
    complete = parts.done_blocks()
    job = Job(
        uuid.uuid4().hex,
        given,
        replace(bundle, weights=None),
        how.provider,
        how.threads or 1,
        names,
        options,
        how.skip_bad,
        ahead,
        parts,
        blocks,
        found,
        prepared,
    )
    left = [block.number for block in blocks if block.number not in complete]
    cells = int(np.prod(source.axes.shape)) * len(names) // len(blocks)
    for done in _fill_left(job, left, model, how.scheduler, workers):
        parts.record(done)
        complete[done.number] = done
        if progress is not None:
            progress(Step("fill", len(complete), len(blocks), cells))
    empty = [name for name in source.first.cube.of_kind("grid", "series") if name not in found.variables]
    provenance = model.provenance(Outcome({}, 0.0, 0.0, prepared.summary)) | said_of_empty(empty)
    archive = FilledArchive(source, parts, blocks, {n: prepared.attributes(n) for n in names}, provenance)
    filled = archive.dataset(dataset, uncertainty=options.uncertainty, only_gaps=options.only_gaps)
    write_dataset(filled, target)
    shutil.rmtree(parts.folder)
    left_out = [_of_counts(name, [0] * len(FLAG_MEANINGS)) for name in empty]
    summaries = [_summed(name, list(complete.values())) for name in names]
    return [*_with_notes(summaries, filled, source.first.source), *left_out]


def _fill_left(job: Job, left: Sequence[int], model: Model, scheduler: str | None, workers: int) -> Iterator[DoneBlock]:
    if scheduler is not None:
        return fill_on_cluster(job, left, scheduler, workers)
    if workers == 1:
        return fill_here(job, left, model)
    return fill_in_processes(job, left, workers)


def _open_parts(
    given: Input, source: DatasetSource, target: str, bundle: Bundle, options: FillOptions, how: ArchiveOptions
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
        "max_gap": options.max_gap,
        "missing": list(options.missing),
        "skip_bad": how.skip_bad,
        "shape": list(source.axes.shape),
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


def _surveyed(source: DatasetSource, parts: Parts, progress: Progress | None) -> Survey:
    kept = parts.read_survey()
    if kept is not None:
        return outline_survey(source, kept)
    found = survey(source, progress)
    parts.save_survey(found.variables)
    return found


def _names(found: Survey, source: DatasetSource, model: Model, wanted: Sequence[str]) -> list[str]:
    """Return the variables to fill, in the order of the record or of the bundle.

    Raises:
        UnknownVariableError: a name is not in the bundle or not in the dataset.
        NothingObservedError: a variable that is wanted has no value.
    """
    known = list(source.first.cube.of_kind("grid", "series"))
    if not model.layout.general:
        known = [spec.name for spec in model.layout.variables if spec.name in known]
    for name in wanted:
        if name not in known:
            raise UnknownVariableError("is not one of the variables that can be filled", where=name, expected=known)
        if name not in found.variables:
            raise NothingObservedError("has no value to fill its gaps from: all its values are missing", where=name)
    if not found.variables:
        raise NothingObservedError("all values of all variables are missing", got=known)
    return [name for name in known if name in found.variables and (not wanted or name in wanted)]


def _reporter(progress: Callable[[Step], None] | None, doing: Literal["survey", "measure"]) -> Progress | None:
    """Return the progress of a pass over the archive that fills no cell."""
    if progress is None:
        return None
    return lambda done, total: progress(Step(doing, done, total, 0))


def _summary(name: str, filled: FilledVariable) -> Summary:
    counts = [int(np.count_nonzero(filled.flag == flag)) for flag in range(len(FLAG_MEANINGS))]
    return _of_counts(name, counts)


def _with_notes(summaries: Sequence[Summary], written: xr.Dataset, source: Mapping[str, str]) -> list[Summary]:
    """Return the summaries with what the variables that were written say of how they are stored."""
    return [replace(s, note=str(written[source[s.name]].attrs.get(STORAGE_NOTE, ""))) for s in summaries]


def _summed(name: str, blocks: Sequence[DoneBlock]) -> Summary:
    return _of_counts(name, np.sum([done.counts[name] for done in blocks], axis=0).tolist())


def _of_counts(name: str, counts: Sequence[int]) -> Summary:
    observed, filled, refused, outside = (counts[int(flag)] for flag in (OBSERVED, FILLED, REFUSED, OUTSIDE))
    return Summary(name, observed, filled, refused, outside)
