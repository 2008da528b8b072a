"""A variable without any value is left out and named; it is an error only where it is asked for, or all are empty."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from hydrofill.errors import NothingObservedError
from hydrofill.filling import FillOptions, prepare_fill
from hydrofill.layout import GENERAL
from tests.support.field_files import stored


def with_empty() -> xr.Dataset:
    data = stored()
    return data.assign(sst=(data["precipitation"].dims, np.full(data["precipitation"].shape, np.nan, np.float32)))


def test_it_is_named_and_the_others_are_filled() -> None:
    prepared = prepare_fill(with_empty(), GENERAL, FillOptions())
    assert prepared.names == ["precipitation"]
    assert prepared.left_out == ["sst"]
    assert prepared.write({}, {}).attrs["hydrofill_left_out"] == "all values are missing: sst"
    assert "hydrofill_left_out" not in prepare_fill(stored(), GENERAL, FillOptions()).write({}, {}).attrs


def test_it_is_refused_where_it_is_asked_for_or_alone() -> None:
    with pytest.raises(NothingObservedError, match="sst: has no value"):
        prepare_fill(with_empty(), GENERAL, FillOptions(("sst",)))
    with pytest.raises(NothingObservedError, match="all values of all variables are missing"):
        prepare_fill(with_empty().drop_vars("precipitation"), GENERAL, FillOptions())
