"""Which bundle fills a request that names none: one of named variables where it suits, else the general one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import xarray as xr

from app.codecs.base import BodyLimits
from app.bundles.registry import Registry
from app.codecs import json
from app.codecs.netcdf import NetcdfBody
from app.errors import AmbiguousBundleError
from app.service import choose_bundle
from hydrofill.bundle import find_bundle, read_bundle
from hydrofill.filling import FillOptions
from hydrofill.inference.model import Model
from hydrofill.layout import GENERAL, Layout
from tests.support.general import FIRST_CALL
from tests.support.servers import SAMPLE
from tests.support.tiny import sample


@pytest.fixture
def registry(bundles: Path) -> Registry:
    """The tiny bundle and a general one; their graphs are not loaded."""
    tiny = unloaded(bundles / "tiny")
    return registry_of(tiny, renamed(tiny, "general", GENERAL))


def unloaded(folder: Path) -> Model:
    bundle = read_bundle(folder)
    return Model(bundle.manifest, bundle.sha256, None)  # type: ignore[arg-type]


def renamed(model: Model, name: str, layout: Layout) -> Model:
    manifest = model.manifest.model_copy(update={"name": name, "layout": layout})
    return Model(manifest, name, model.graphs)


def registry_of(*models: Model) -> Registry:
    by_name = {model.manifest.name: model for model in models}
    return Registry(by_name, by_name)


def chosen(registry: Registry, dataset: xr.Dataset, bundle: str | None = None) -> str:
    return choose_bundle(NetcdfBody(dataset), registry, bundle, FillOptions())[0].manifest.name


def test_data_on_the_training_grid_go_to_the_bundle_that_knows_them(registry: Registry) -> None:
    assert chosen(registry, sample()) == "tiny"
    assert chosen(registry, sample()[["precipitation"]]) == "tiny"


def test_variable_that_the_bundle_does_not_know_goes_to_the_general_bundle(registry: Registry) -> None:
    assert chosen(registry, sample().assign(snow=sample()["temperature"])) == "general"
    assert chosen(registry, sample().rename(temperature="snow")) == "general"


def test_unknown_static_field_and_flags_do_not_matter(registry: Registry) -> None:
    flags = (sample()["precipitation"] > 1).astype(np.int8)
    data = sample().assign(height=sample()["slope"], precipitation_flag=flags)
    assert chosen(registry, data) == "tiny"


def test_data_elsewhere_go_to_the_general_bundle(registry: Registry) -> None:
    data = sample()[["precipitation"]]
    assert chosen(registry, data.assign_coords(y=data["y"] + 20)) == "general"


def test_another_time_step_goes_to_the_general_bundle(registry: Registry) -> None:
    data = sample()
    hourly = data["time"].values[0] + np.arange(5) * np.timedelta64(1, "h")
    assert chosen(registry, data.assign_coords(time=hourly)) == "general"


def test_units_that_the_bundle_cannot_convert_go_to_the_general_bundle(registry: Registry) -> None:
    data = sample()
    data["temperature"].attrs["units"] = "counts"
    assert chosen(registry, data) == "general"


def test_named_bundle_is_used_as_named(registry: Registry) -> None:
    assert chosen(registry, sample(), "general") == "general"
    assert chosen(registry, sample().assign(snow=sample()["temperature"]), "tiny") == "tiny"


def test_several_bundles_that_suit_must_be_named(registry: Registry) -> None:
    tiny, general = registry.models["tiny"], registry.models["general"]
    several = registry_of(tiny, renamed(tiny, "other", tiny.layout), general)
    with pytest.raises(AmbiguousBundleError, match="'tiny', 'other'"):
        chosen(several, sample())
    assert chosen(several, sample().rename(temperature="snow")) == "general"
    twice = registry_of(tiny, general, renamed(general, "second", GENERAL))
    with pytest.raises(AmbiguousBundleError, match="'general', 'second'"):
        chosen(twice, sample().rename(temperature="snow"))


def test_general_bundle_alone_fills_everything(registry: Registry) -> None:
    alone = registry_of(registry.models["general"])
    assert chosen(alone, sample()) == "general"
    assert chosen(alone, sample().rename(temperature="snow")) == "general"


def test_sample_of_the_page_goes_to_the_shipped_bundle_of_its_basin(registry: Registry) -> None:
    both = registry_of(unloaded(find_bundle("lez-daily")), registry.models["general"])
    with xr.open_dataset(SAMPLE, engine="h5netcdf") as page_sample:
        assert chosen(both, page_sample.load()) == "lez-daily"


def test_first_call_of_the_documentation_goes_to_the_general_bundle(registry: Registry) -> None:
    both = registry_of(unloaded(find_bundle("lez-daily")), registry.models["general"])
    body = json.decode(msgspec.json.encode(FIRST_CALL), BodyLimits())
    model, fill = choose_bundle(body, both, None, FillOptions())
    assert (model.manifest.name, fill.names) == ("general", ["precipitation"])
