"""Fill a NetCDF file on disk; the output file is written completely or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hydrofill.cf.netcdf import read_netcdf, write_netcdf
from hydrofill.errors import ContractError
from hydrofill.filling import FillOptions, prepare_fill
from hydrofill.paths import FileRefusedError, check_paths, written_whole
from hydrofill.progress import Progress
from hydrofill.reconstruct import FILLED, OBSERVED, OUTSIDE, REFUSED, FilledVariable

if TYPE_CHECKING:
    from hydrofill.inference.model import Model


@dataclass(frozen=True)
class Summary:
    """Number of cells of one variable for each flag."""

    name: str
    observed: int
    filled: int
    refused: int
    outside: int


def fill_file(
    source: Path,
    target: Path,
    model: Model,
    options: FillOptions | None = None,
    progress: Progress | None = None,
) -> list[Summary]:
    """Fill the gaps of the NetCDF file `source`, write `target`, and count the cells of each filled variable.

    Args:
        source: a NetCDF-4 or classic file.
        target: the file to write; an existing file is replaced once the fill is complete.
        model: an open bundle.
        options: what to fill; every gap by default.
        progress: called with (parts done, parts in all).

    Raises:
        FileRefusedError: a path cannot be read or must not be written.
        ContractError: the file is damaged or does not suit the bundle.
    """
    check_paths(source, target)
    options = options or FillOptions()
    try:
        prepared = prepare_fill(read_netcdf(source), model.layout, options)
    except OSError as error:
        raise FileRefusedError(f"{source}: {error.strerror or error}") from error
    except ContractError as error:  # an error about the whole file names no variable
        raise error.at(error.where or source.name) from error
    outcome = model.run(prepared.reading.cube, prepared.names, options.max_gap, progress)
    content = write_netcdf(prepared.write(outcome.filled, model.provenance(outcome)))
    try:
        with written_whole(target) as partial:
            partial.write_bytes(content.getbuffer())
    except OSError as error:
        raise FileRefusedError(f"{target}: {error.strerror or error}") from error
    return [_summary(name, filled) for name, filled in outcome.filled.items()]


def _summary(name: str, filled: FilledVariable) -> Summary:
    observed, n_filled, refused, outside = (
        int(np.count_nonzero(filled.flag == flag)) for flag in (OBSERVED, FILLED, REFUSED, OUTSIDE)
    )
    return Summary(name, observed, n_filled, refused, outside)
