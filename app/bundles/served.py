"""The served bundles: loaded models and their cost models, swapped together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.bundles.registry import Registry
from app.engine.cost import CostModel, measure_costs


@dataclass(frozen=True, eq=False)
class ServedBundles:
    """The loaded bundles, and the cost model of each by the sha256 of its manifest."""

    registry: Registry
    costs: Mapping[str, CostModel]


@dataclass(eq=False)
class CurrentBundles:
    """Holds the bundles that are served `now`. A request reads `now` once and uses that until it is answered."""

    now: ServedBundles


def measure_bundles(registry: Registry, last: ServedBundles | None = None) -> ServedBundles:
    """Measure the cost of every bundle in `registry` that is not in `last`; return both together."""
    known = {} if last is None else last.costs
    models = {model.sha256: model for model in registry.models.values()}
    new = {sha256: model for sha256, model in models.items() if sha256 not in known}
    measured = measure_costs(new)
    return ServedBundles(registry, {sha256: known.get(sha256) or measured[sha256] for sha256 in models})
