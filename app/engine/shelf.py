"""What is served now: bundles and their costs, exchanged as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.engine.cost import CostModel, calibrate
from app.engine.ladder import climb
from app.engine.registry import Registry


@dataclass(frozen=True, eq=False)
class Stock:
    """Bundles, and the cost of each by the sha256 of its manifest."""

    registry: Registry
    costs: Mapping[str, CostModel]


@dataclass(eq=False)
class Shelf:
    """Holds the stock. A request takes the stock once, and keeps what it took until it is answered."""

    stock: Stock


def stock_of(registry: Registry, last: Stock | None = None) -> Stock:
    """The registry with the cost of each bundle, and batches, measured where the `last` stock does not have them."""
    known = {} if last is None else last.costs
    models = {model.sha256: model for model in registry.models.values()}
    new = {sha256: model for sha256, model in models.items() if sha256 not in known}
    for model in new.values():
        model.batches.max_tokens = climb(model)
    measured = calibrate(new)
    return Stock(registry, {sha256: known.get(sha256) or measured[sha256] for sha256 in models})
