"""The Python interface: `hydrofill.fill`, `fill_archive`, `open_bundle` and `inspect`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import xarray as xr

from hydrofill.bundle import find_bundle, read_bundle
from hydrofill.cf.missing import Declared, as_texts, hide_declared, hide_missing
from hydrofill.cores import usable_cores
from hydrofill.errors import OptionError
from hydrofill.fill_codes import Codes
from hydrofill.filling import FillOptions, prepare_fill
from hydrofill.gaps.control import GapControl, MaxDistance, MaxGap
from hydrofill.inspection import Inspection, inspect_dataset
from hydrofill.progress import Progress

Missing = float | str | Sequence[float | str] | Mapping[str, float | Sequence[float]]

if TYPE_CHECKING:
    from hydrofill.archives.fill import Step
    from hydrofill.archives.summaries import Summary
    from hydrofill.inference.model import Model


def fill(
    dataset: xr.Dataset,
    *,
    bundle: str | os.PathLike[str] | Model | None = None,
    variables: Sequence[str] = (),
    max_gap: MaxGap = None,
    max_distance: MaxDistance = None,
    interior_only: bool = False,
    where: str | xr.DataArray | None = None,
    support: float | None = None,
    uncertainty: bool = True,
    only_gaps: bool = False,
    missing: Missing = (),
    codes: Codes = "keep",
    members: int = 0,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Fill the gaps of `dataset`.

    For every filled variable V the result holds `V`, with observed values unchanged to the bit and gaps filled;
    `V_std`, the predictive standard deviation, 0 where observed; and `V_flag` (int8): 0 observed, 1 filled,
    2 outside (the variable has no value there at any time), 3 refused (left missing); `max_distance`, `interior_only`,
    `where` and `support` add 4 to 7. Everything else is unchanged.

    Args:
        dataset: CF-like data with dims such as (time, y, x) for fields and (time, site) for gauges; NaN is missing.
            Units are converted to those of the bundle and back.
        bundle: the name of a shipped bundle, a bundle's folder, or a bundle that `open_bundle` returned; by default
            the general bundle, which fills any variable and measures on `dataset` itself how well.
        variables: names of the variables to fill, as the bundle calls them; by default all that dataset and bundle
            share.
        max_gap: the longest gap to fill: a number of missing values in a row, or the longest time between the values
            at both ends of the gap ("6h", "3D", "PT6H", a timedelta). Longer gaps stay missing, flag 3. None for any.
        max_distance: the longest distance in space from a gap cell to an observed cell or site of the same time, in
            cells (3) or as a length ("20 km", "500 m"). Cells that are farther stay missing, flag 4.
        interior_only: whether a cell is filled only between two observed values in time; else flag 5.
        where: the name of a variable of the dataset, or an array, whose dimensions are some of those of each filled
            variable: cells where it is zero, false or missing stay missing, flag 6.
        support: the least share of observed cells, 0 to 1, within 5 steps, rows and columns of a cell that is filled;
            else flag 7. None of these options changes a value that is filled.
        uncertainty: whether the result holds `V_std`, in the units of V.
        only_gaps: whether `V` holds the filled values alone, NaN elsewhere.
        missing: values that stand for missing values though the data does not say so: a value, values, or values by
            the name of a variable; "NAME=none" says that all values of a variable are real.
        codes: what is done about the gaps of codes, such as classes: "keep" them, or fill them with the "nearest" code
            or with the most "frequent" code around.
        members: number of possible fields to draw into `V_members` (member, dims of V): observed values as they are,
            and in the gaps values that hang together as the errors of the fill do. Needs a general bundle.
        progress: called with (parts done, parts in all).

    Returns:
        A new dataset with the same variables in the same order, then V_std and V_flag of each filled variable. Global
        attributes name the bundle and its sha256. A general bundle adds `hydrofill_calibration`, and
        `hydrofill_expected_skill` to the attributes of each filled variable.

    Raises:
        ContractError: the dataset does not suit the bundle. Its subclasses say in what way: `UnitsError`,
            `CoordinateError`, `StructureError`, `ValueRangeError`, `UnknownVariableError`, `NothingObservedError`.
        BundleError: the bundle is missing, damaged or of another schema.
        TypeError: `dataset` is not an xarray.Dataset.
        OptionError: an option that says which gaps are filled is not possible, or does not suit the data.

    Examples:
        >>> import hydrofill, numpy as np, xarray as xr
        >>> rain = np.full((4, 3, 3), 2.0, np.float32)
        >>> rain[2, 1, 1] = np.nan
        >>> dataset = xr.Dataset(
        ...     {"precipitation": (("time", "y", "x"), rain, {"units": "mm day-1"})},
        ...     {
        ...         "time": np.arange("2012-08-01", "2012-08-05", dtype="datetime64[D]").astype("datetime64[ns]"),
        ...         "y": ("y", [3000.0, 2000.0, 1000.0], {"units": "m"}),
        ...         "x": ("x", [0.0, 1000.0, 2000.0], {"units": "m"}),
        ...     },
        ... )
        >>> filled = hydrofill.fill(dataset)
        >>> list(filled.data_vars)
        ['precipitation', 'precipitation_std', 'precipitation_flag']
        >>> int(filled["precipitation_flag"].sum()), bool(filled["precipitation"].isnull().any())
        (1, False)
    """
    if not isinstance(dataset, xr.Dataset):
        raise TypeError(
            f"fill takes an xarray.Dataset, got {type(dataset).__name__}; use DataArray.to_dataset(name=...)"
        )
    control = GapControl.of(max_gap, max_distance, interior_only, where, support)
    options = replace(_options(variables, control, uncertainty, only_gaps, missing, members), codes=codes)
    dataset = hide_missing(dataset, lazily=False)
    model = open_bundle(bundle) if bundle is None or isinstance(bundle, str | os.PathLike) else bundle
    prepared = prepare_fill(dataset, model.layout, options)
    outcome = prepared.run(model, progress)
    return prepared.write(outcome.filled, model.provenance(outcome))


def fill_archive(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    bundle: str | os.PathLike[str] | None = None,
    variables: Sequence[str] = (),
    max_gap: MaxGap = None,
    max_distance: MaxDistance = None,
    interior_only: bool = False,
    where: str | None = None,
    support: float | None = None,
    uncertainty: bool = True,
    only_gaps: bool = False,
    missing: Missing = (),
    members: int = 0,
    memory: int | str | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    skip_bad: bool = False,
    group: str = "",
    progress: Callable[[Step], None] | None = None,
) -> list[Summary]:
    """Fill the gaps of files or of a store on disk, of any size, block by block.

    The same data give the same fill for any number of workers, any chunks and either format. What is filled is kept in
    the folder `<target>.parts` until the output is complete.

    Args:
        source: a NetCDF file, a pattern of NetCDF files that follow each other in time, or a Zarr store (version 2 or
            3; a path, or a URL where the package of its file system is installed).
        target: the NetCDF file or the Zarr store (a name that ends in .zarr, or a URL) to write.
        bundle: the name of a shipped bundle or a bundle's folder; by default the general bundle.
        variables, max_gap, max_distance, interior_only, support, uncertainty, only_gaps, missing, members: as for
            `fill`.
        where: the name of a variable of the data, as for `fill`.
        memory: bytes that all processes together may use, or a size such as "2GiB"; None for no limit.
        workers: number of processes; by default one for each core that fits into the memory.
        scheduler: the address of a Dask scheduler whose workers fill the blocks; "dask://local" starts a local cluster.
        resume: whether a fill that was interrupted goes on.
        overwrite: whether an output that exists is replaced.
        skip_bad: whether chunks that cannot be read are filled like gaps; else the first of them is an error.
        group: the group of the files that holds the data; by default the root, or else the only group with data.
        progress: called after each part.

    Returns:
        For each filled variable the number of cells that are observed, filled, refused and outside.

    Raises:
        FileRefusedError: a path cannot be read or must not be written, the memory is too little, or a fill cannot go on
            because the input, the bundle or the options have changed.
        ContractError: the data are damaged or do not suit the bundle; see `fill`.
        WorkersLostError: a worker process was ended from outside; what is complete is kept.
        OSError: the output cannot be written; what is complete is kept.
        ValueError: `memory` is not a size.
        OptionError: see `fill`.
    """
    from hydrofill.archives.fill import ArchiveOptions
    from hydrofill.archives.fill import fill_archive as fill_blocks
    from hydrofill.archives.memory import parse_bytes

    control = GapControl.of(max_gap, max_distance, interior_only, where, support)
    options = _options(variables, control, uncertainty, only_gaps, missing, members)
    limit = parse_bytes(memory) if isinstance(memory, str) else memory
    how = ArchiveOptions(limit, workers, scheduler, resume, overwrite, skip_bad, group=group)
    known = read_bundle(find_bundle(bundle))
    return fill_blocks(os.fspath(source), os.fspath(target), known, options, how, progress)


def _options(
    variables: Sequence[str], control: GapControl, uncertainty: bool, only_gaps: bool, missing: Missing, members: int
) -> FillOptions:
    if members < 0:
        raise OptionError("must be at least 0", where="members", got=members)
    names = (variables,) if isinstance(variables, str) else tuple(variables)
    return FillOptions(names, control, uncertainty, only_gaps, as_texts(missing), members=members)


def open_bundle(
    bundle: str | os.PathLike[str] | None = None,
    *,
    provider: Literal["cpu", "cuda"] = "cpu",
    threads: int | None = None,
) -> Model:
    """Open a bundle once, to fill many datasets with it.

    Args:
        bundle: the name of a shipped bundle or a bundle's folder; by default the general bundle.
        provider: what runs the graphs: the processor, or an NVIDIA GPU, which needs onnxruntime-gpu.
        threads: threads of the graphs on a processor; by default the cores that this process may use.

    Returns:
        The bundle with its graphs loaded and checked; pass it to `fill` as `bundle`.

    Raises:
        BundleError: the bundle is missing, damaged or of another schema, or its graphs do not run.
        ProviderError: the provider is not available on this machine.

    Examples:
        >>> import hydrofill
        >>> bundle = hydrofill.open_bundle("lez-daily")
        >>> bundle.manifest.name
        'lez-daily'
        >>> [variable.name for variable in bundle.layout.variables]
        ['precipitation', 'pet', 'river_flow']
    """
    from hydrofill.inference.graphs import Runtime, check_provider
    from hydrofill.inference.model import load_model

    runtime = Runtime(provider, threads or usable_cores())
    check_provider(runtime)
    return load_model(read_bundle(find_bundle(bundle)), runtime)


def inspect(
    dataset: xr.Dataset, *, bundle: str | os.PathLike[str] | Model | None = None, missing: Missing = ()
) -> Inspection:
    """Say what `fill` would read in `dataset`, and why, without filling anything.

    Args:
        dataset: as for `fill`.
        bundle: as for `fill`.
        missing: as for `fill`.

    Returns:
        One row a variable: dimensions, units, share missing, longest gap, lowest and highest value, what the variable
        is taken as, and the reason.

    Raises:
        BundleError: the bundle is missing, damaged or of another schema.

    Examples:
        >>> import hydrofill, numpy as np, xarray as xr
        >>> level = xr.Dataset({"level": (("time", "site"), np.ones((2, 1), np.float32), {"units": "m"})})
        >>> hydrofill.inspect(level).variables[0].reason
        'has the dimensions time, site; general fills any variable'
    """
    if bundle is None or isinstance(bundle, str | os.PathLike):
        manifest = read_bundle(find_bundle(bundle)).manifest
    else:
        manifest = bundle.manifest
    dataset = hide_missing(dataset, lazily=True)
    dataset = hide_declared(dataset, Declared.of(as_texts(missing)), lazily=True)
    return inspect_dataset(dataset, manifest.layout, manifest.name)
