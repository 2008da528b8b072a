"""Training reads calendars, groups and longitudes as filling does, and refuses with the same words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hydrofill.errors import ContractError
from model.data.lazy_cube import read_lazily
from model.data.sources import open_sources
from tests.support.field_files import FILLED, REFUSED, as_netcdf4, field, stored


def written(folder: Path, content: bytes, name: str = "in.nc") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize("kind", FILLED)
def test_a_layout_is_read(kind: str, tmp_path: Path) -> None:
    cube = read_lazily(open_sources([written(tmp_path, FILLED[kind]())])).cube
    part = cube.window(*(slice(0, n) for n in cube.shape))
    np.testing.assert_array_equal(part.variables["precipitation"].values, field())
    assert cube.step_s == 86_400.0


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refusal_has_the_words_of_filling(kind: str, tmp_path: Path) -> None:
    make, message = REFUSED[kind]
    with pytest.raises(ContractError) as refused:
        read_lazily(open_sources([written(tmp_path, make())]))
    assert message in str(refused.value)


def test_files_of_other_units_are_joined(tmp_path: Path) -> None:
    first = written(tmp_path, as_netcdf4(stored()), "a.nc")
    later = stored(np.arange(6.0) * 24, {"units": "hours since 2001-01-07"})
    second = written(tmp_path, as_netcdf4(later), "b.nc")
    cube = read_lazily(open_sources([first, second])).cube
    assert cube.shape == (12, 4, 5)
    assert set(np.diff(cube.time)) == {np.timedelta64(1, "D")}
