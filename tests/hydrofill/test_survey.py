"""A survey tells the same of a record however much of the record is read at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr

from hydrofill import survey as survey_module
from hydrofill.blocks import Box
from hydrofill.cf.dataset import read_dataset
from hydrofill.summary import summary_of
from hydrofill.survey import CubeSource, read_part, survey


def test_a_survey_is_the_summary_of_all_values(dataset: xr.Dataset) -> None:
    cube = read_dataset(dataset).cube
    found = survey(CubeSource(cube))
    assert set(found.variables) == {"precipitation", "pet", "river_flow"}
    for name, variable in found.variables.items():
        values = cube.variables[name].values
        expected = summary_of(values)
        assert variable.summary.number == expected.number
        assert variable.summary.std == pytest.approx(expected.std)
        assert (variable.inside == (~np.isnan(values)).any(axis=0)).all()
        assert variable.seen.tolist() == (~np.isnan(values)).reshape(len(values), -1).sum(axis=1).tolist()
    assert {variable.name for variable in found.outline.static} == {"slope", "area"}


@dataclass(frozen=True, eq=False)
class Stored(CubeSource):
    """A record that is stored in chunks."""

    stored: tuple[int, int, int] = (1, 1, 1)

    @property
    def chunk(self) -> tuple[int, int, int]:
        """Steps, rows and columns that are stored together."""
        return self.stored


@pytest.mark.parametrize("chunk", [(1, 1, 1), (2, 2, 2), (7, 1, 3), (1, 3, 1)])
@pytest.mark.parametrize("values", [1, 10, 10_000])
def test_chunks_and_the_names_of_others_change_nothing(
    dataset: xr.Dataset, monkeypatch: pytest.MonkeyPatch, chunk: tuple[int, int, int], values: int
) -> None:
    cube = read_dataset(dataset).cube
    whole = survey(CubeSource(cube))
    monkeypatch.setattr(survey_module, "READ_VALUES", values)
    in_chunks = survey(Stored(cube, stored=chunk))
    alone = survey(CubeSource(read_dataset(dataset[["pet"]]).cube))
    for name, variable in whole.variables.items():
        assert in_chunks.variables[name].sums.tobytes() == variable.sums.tobytes()
        assert in_chunks.variables[name].summary == variable.summary
        assert in_chunks.seed(name) == whole.seed(name)
    assert alone.seed("pet") == whole.seed("pet")


def test_a_part_knows_where_its_variables_live_in_the_whole_record(dataset: xr.Dataset) -> None:
    cube = read_dataset(dataset).cube
    source = CubeSource(cube)
    lost = read_part(source, Box(slice(4, 6), slice(0, 3), slice(0, 5)), survey(source))
    assert not lost.variables["pet"].valid.any()
    assert lost.gaps("pet").all()
    assert lost.gaps("river_flow").shape == lost.variables["river_flow"].values.shape


def test_a_scaled_survey_is_the_survey_of_scaled_values(dataset: xr.Dataset) -> None:
    cube = read_dataset(dataset).cube
    scaled = cube.with_values({"pet": cube.variables["pet"].values * np.float32(0.25)})
    of_scaled = survey(CubeSource(scaled)).variables["pet"].summary
    changed = survey(CubeSource(cube)).scaled({"precipitation": 1.0, "pet": 0.25, "river_flow": 1.0})
    for name in ("mean", "std", "lowest", "highest", "skewness", "root_mean", "root_std"):
        assert getattr(changed.variables["pet"].summary, name) == pytest.approx(getattr(of_scaled, name)), name


def test_values_that_cannot_be_written_are_summed_alike(rng: np.random.Generator) -> None:
    values = rng.gamma(2.0, 2.0, (5, 4, 3)).astype(np.float32)
    locked = np.frombuffer(values.tobytes(), np.float32).reshape(values.shape)  # as a body of the server is read
    assert not locked.flags.writeable
    assert summary_of(locked) == summary_of(values)
