"""The Python interface: `hydrofill.fill`, `hydrofill.open_bundle`, `hydrofill.inspect`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import xarray as xr

from hydrofill.bundle import find_bundle, read_bundle
from hydrofill.cores import usable_cores
from hydrofill.filling import FillOptions, prepare_fill
from hydrofill.inspection import Inspection, inspect_dataset
from hydrofill.progress import Progress

if TYPE_CHECKING:
    from hydrofill.inference.model import Model


def fill(
    dataset: xr.Dataset,
    *,
    bundle: str | os.PathLike[str] | Model | None = None,
    variables: Sequence[str] = (),
    max_gap: int | None = None,
    uncertainty: bool = True,
    only_gaps: bool = False,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Fill the gaps of `dataset`.

    For every filled variable V the result holds `V`, with observed values unchanged to the bit and gaps filled;
    `V_std`, the predictive standard deviation, 0 where observed; and `V_flag` (int8): 0 observed, 1 filled,
    2 outside (the variable has no value there at any time), 3 refused (left missing). Everything else is unchanged.

    Args:
        dataset: CF-like data with dims such as (time, y, x) for fields and (time, site) for gauges; NaN is missing.
            Units are converted to those of the bundle and back.
        bundle: the name of a shipped bundle, a bundle's folder, or a bundle that `open_bundle` returned; by default
            the general bundle, which fills any variable and measures on `dataset` itself how well.
        variables: names of the variables to fill, as the bundle calls them; by default all that dataset and bundle
            share.
        max_gap: the longest gap to fill, in time steps; longer gaps stay missing, flag 3. None for any length.
        uncertainty: whether the result holds `V_std`, in the units of V.
        only_gaps: whether `V` holds the filled values alone, NaN elsewhere.
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
        ValueError: `max_gap` is less than 1.

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
    if max_gap is not None and max_gap < 1:
        raise ValueError(f"max_gap must be at least 1 time step, got {max_gap}")
    names = (variables,) if isinstance(variables, str) else tuple(variables)
    options = FillOptions(names, max_gap, uncertainty, only_gaps)
    model = open_bundle(bundle) if bundle is None or isinstance(bundle, str | os.PathLike) else bundle
    prepared = prepare_fill(dataset, model.layout, options)
    outcome = model.run(prepared.reading.cube, prepared.names, max_gap, progress)
    return prepared.write(outcome.filled, model.provenance(outcome))


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


def inspect(dataset: xr.Dataset, *, bundle: str | os.PathLike[str] | Model | None = None) -> Inspection:
    """Say what `fill` would read in `dataset`, and why, without filling anything.

    Args:
        dataset: as for `fill`.
        bundle: as for `fill`.

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
    return inspect_dataset(dataset, manifest.layout, manifest.name)
