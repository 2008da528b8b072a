"""Every system that the configuration can name runs, keeps samples apart, and differs as its name says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hydrofill.cube import WaterCube
from hydrofill.layout import Layout
from hydrofill.tokens import Tokenised, stack_queries, stack_tokens, tokenise
from model.config import PRESETS, ConfigError, NetworkConfig, choose_preset
from model.network.fusion import may_read
from model.network.layers import EncoderBlock, LayerMemories, WeightedFeatureMaps
from model.network.mae import CrossMAE
from tests.model.conftest import TINY, untrained

pytestmark = pytest.mark.slow

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
SYSTEMS: dict[str, NetworkConfig] = {
    "crossmae": TINY,
    "plan_a": TINY.updated(memory="pooled"),
    "water_fm_small": TINY.updated(memory="pooled", decoder="full"),
    "crossmae_wfm": TINY.updated(feature_layers=(0, 1)),
    "wfm with input": TINY.updated(feature_layers=(1,), use_input=True),
    "queries read each other": TINY.updated(decoder_self_attention=True),
    "fusion none": TINY.updated(fusion="none"),
    "fusion pooled": TINY.updated(fusion="pooled"),
    "static add": TINY.updated(static="add"),
    "static film": TINY.updated(static="film"),
    "static none": TINY.updated(static="none"),
    "all at once": TINY.updated(fusion="pooled", static="film", feature_layers=(0, 1), use_input=True),
}


def windows(cube: WaterCube, layout: Layout) -> list[Tokenised]:
    every = slice(0, None)
    return [tokenise(cube.window(slice(i, i + n), every, every), layout) for i, n in enumerate((8, 5, 3))]


def predict(network: CrossMAE, batch: list[Tokenised]) -> Tensor:
    with torch.inference_mode():
        return network(stack_tokens([w.tokens for w in batch]), stack_queries([w.queries for w in batch])).mean()


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("guesses", [True, False])
def test_samples_of_unequal_lengths_are_predicted_as_they_are_alone(
    water: WaterCube, layout: Layout, system: str, guesses: bool
) -> None:
    layout = layout.model_copy(update={"guesses": guesses})
    network, batch = untrained(layout, water, SYSTEMS[system]), windows(water, layout)
    together = predict(network, batch)
    assert torch.isfinite(together).all()
    for row, window in enumerate(batch):
        n = len(window.queries.variable)
        torch.testing.assert_close(together[row, :n], predict(network, [window])[0], **CLOSE)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("batch", [slice(0, 1), slice(0, 3)])
def test_groups_give_the_result_of_the_masks_of_an_exported_graph(
    water: WaterCube, layout: Layout, system: str, batch: slice, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, chosen = untrained(layout, water, SYSTEMS[system]), windows(water, layout)[batch]
    here = predict(network, chosen)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(here, predict(network, chosen), **CLOSE)


def test_a_variable_absent_from_one_sample_of_a_batch_spoils_none(water: WaterCube, layout: Layout) -> None:
    for system in ("fusion none", "fusion pooled"):
        network, window = untrained(layout, water, SYSTEMS[system]), windows(water, layout)[0]
        blind = water.with_values({"pet": np.full((20, 7, 5), np.nan, np.float32)})
        blind = replace(blind, domain={"pet": np.ones((7, 5), bool)}, variables={
            n: blind.variables[n] for n in ("precipitation", "pet")
        })  # fmt: skip
        other = tokenise(blind.window(slice(0, 8), slice(0, None), slice(0, None)), layout)
        together = predict(network, [window, other])
        assert torch.isfinite(together).all()
        for row, one in enumerate((window, other)):
            n = len(one.queries.variable)
            torch.testing.assert_close(together[row, :n], predict(network, [one])[0], **CLOSE)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_weight_is_used(water: WaterCube, layout: Layout, system: str) -> None:
    network, batch = untrained(layout, water, SYSTEMS[system]), windows(water, layout)
    predicted = network(stack_tokens([w.tokens for w in batch]), stack_queries([w.queries for w in batch]))
    (predicted.loc.square().sum() + predicted.scale.square().sum()).backward()
    unused = [name for name, weight in network.named_parameters() if weight.grad is None]
    assert not unused


@pytest.mark.parametrize("system", ["fusion none", "fusion pooled", "crossmae", "plan_a"])
def test_fusion_sets_whether_variables_depend_on_each_other(water: WaterCube, layout: Layout, system: str) -> None:
    network = untrained(layout, water, SYSTEMS[system])
    window = water.window(slice(4, 12), slice(0, None), slice(0, None))
    wetter = window.with_values({"precipitation": window.variables["precipitation"].values + 5})
    requested = {"river_flow": np.isnan(window.variables["river_flow"].values)}
    here, there = (predict(network, [tokenise(w, layout, requested=requested)]) for w in (window, wetter))
    assert torch.equal(here, there) == (system == "fusion none")


@pytest.mark.parametrize(("system", "used"), [("static none", False), ("static add", True), ("static film", True)])
def test_static_attributes_affect_predictions_only_where_configured(
    water: WaterCube, layout: Layout, system: str, used: bool
) -> None:
    network = untrained(layout, water, SYSTEMS[system])
    steeper = water.with_values({n: water.variables[n].values + 1 for n in ("slope", "area")})
    here, there = (predict(network, windows(w, layout)) for w in (water, steeper))
    assert torch.equal(here, there) != used


@pytest.mark.parametrize("system", ["static add", "static film"])
def test_attributes_of_one_place_stay_there(water: WaterCube, layout: Layout, system: str) -> None:
    config = SYSTEMS[system].updated(depth=1)
    network = untrained(layout, water, config)
    with torch.no_grad():  # without attention a token depends on itself alone
        for block in network.encoder.blocks:
            assert isinstance(block, EncoderBlock)
            block.attn.proj.weight.zero_()
    window = windows(water, layout)[0]
    slope = water.variables["slope"].values.copy()
    slope[:3, :2] += 1  # the first patch
    other = windows(water.with_values({"slope": slope}), layout)[0]
    with torch.inference_mode():
        here, there = (
            network.encode(
                *network.tensors(
                    *(getattr(stack_tokens([w.tokens]), n) for n in ("values", "valid", "variable", "place", "length"))
                )
            )
            for w in (window, other)
        )
    changed = (here.tokens != there.tokens).any(-1)[0, : int(here.length)].numpy()
    place = window.tokens.place[: int(here.length)]
    first = (place[:, 1] == place[:, 1].max()) & (place[:, 2] == place[:, 2].min())
    grids = window.tokens.variable[: int(here.length)] < 2
    assert changed.any()
    np.testing.assert_array_equal(changed, first & grids)


def test_a_prediction_depends_on_other_queries_only_where_configured(water: WaterCube, layout: Layout) -> None:
    for system in SYSTEMS:
        network, window = untrained(layout, water, SYSTEMS[system]), windows(water, layout)[0]
        names = ("variable", "place", "requested", "guess", "guessed", "distance")
        few = replace(window.queries, **{n: getattr(window.queries, n)[3:5] for n in names}, length=np.array(2))
        whole, part = predict(network, [window])[0, 3:5], predict(network, [replace(window, queries=few)])[0]
        same = torch.allclose(whole, part, **CLOSE)
        assert same != network.config.queries_read_each_other, system


def test_a_pooled_memory_is_one_token(water: WaterCube, layout: Layout) -> None:
    network, tokens = (
        untrained(layout, water, SYSTEMS["plan_a"]),
        stack_tokens([w.tokens for w in windows(water, layout)]),
    )
    with torch.inference_mode():
        memory = network.encode(
            *network.tensors(tokens.values, tokens.valid, tokens.variable, tokens.place, tokens.length)
        )
    assert memory.tokens.shape == (3, 1, 16) and memory.length.tolist() == [1, 1, 1]


def test_a_query_with_nothing_to_read_is_finite(water: WaterCube, layout: Layout) -> None:
    network = untrained(layout, water, SYSTEMS["fusion none"])
    alone = replace(water, variables={n: water.variables[n] for n in ("precipitation", "pet")})
    blind = alone.with_values({"pet": np.full((20, 7, 5), np.nan, np.float32)})
    blind = replace(blind, domain={"pet": np.ones((7, 5), bool)})
    window = blind.window(slice(0, 5), slice(0, None), slice(0, None))
    assert torch.isfinite(predict(network, [tokenise(window, layout)])).all()


def test_readers_keep_to_their_variable_and_static_tokens() -> None:
    readable = may_read(torch.tensor([[0, 1]]), torch.tensor([[0, 1, 2, 3]]), num_variables=2)
    assert readable.tolist() == [[[True, False, True, True], [False, True, True, True]]]


def test_weighted_feature_maps_start_as_published(water: WaterCube, layout: Layout) -> None:
    config = SYSTEMS["crossmae_wfm"].updated(depth=12, feature_layers=tuple(range(12)), decoder_depth=12)
    memories = untrained(layout, water, config).encoder.memories
    assert isinstance(memories, LayerMemories) and isinstance(memories.wfm, WeightedFeatureMaps)
    assert float(memories.wfm.linear.weight.detach().std()) == pytest.approx(12**-0.5, rel=0.2)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_system(water: WaterCube, layout: Layout, name: str) -> None:
    preset = choose_preset(name)
    shaped = layout.model_copy(update={"guesses": preset.tokens.guesses})
    assert torch.isfinite(predict(untrained(shaped, water, preset.network), windows(water, shaped))).all()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"decoder": "full"}, "decoder full needs memory pooled"),
        ({"memory": "pooled", "fusion": "none"}, "memory pooled goes with fusion joint"),
        ({"memory": "pooled", "use_input": True}, "memory pooled goes with fusion joint"),
        ({"feature_layers": (7,)}, r"feature_layers \[7\] are not among the 3 layers"),
        ({"feature_layers": (1, 1)}, "feature_layers names a layer twice"),
        ({"fusion": "late"}, "fusion must be 'joint', 'pooled' or 'none', got 'late'"),
        ({"static": "sum"}, "static must be 'token', 'add', 'film' or 'none'"),
    ],
)
def test_a_system_that_cannot_be_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        NetworkConfig(**settings)


def test_a_preset_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="no preset is called 'vit'; there are water_fm_small"):
        choose_preset("vit")
