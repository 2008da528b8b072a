"""Themes of water data: how a standard Gaussian field becomes rain, a fraction, a temperature, a flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from model.pretraining.gaussian_fields import log_uniform

Marginal = Callable[[np.random.Generator, np.ndarray], np.ndarray]

MIN_DRY, MAX_DRY = 0.1, 0.95  # share of values without rain
MAX_LINEAR = 4.0  # standard deviations
ANY_SCALE = (1e-6, 1e5)
MAX_OFFSET = 60.0  # standard deviations; temperatures in kelvin lie that far from 0


@dataclass(frozen=True)
class Theme:
    """Theme of a variable.

    Attributes:
        marginals: functions from a standard Gaussian field to values; one is drawn.
        units: units to draw from, each with its scale (lowest, highest) in those units.
        offset: whether any offset may be added; values with a physical zero have none.
    """

    marginals: tuple[Marginal, ...]
    units: tuple[tuple[str, float, float], ...]
    offset: bool


def plain(rng: np.random.Generator, field: np.ndarray) -> np.ndarray:  # noqa: ARG001  # a marginal like the others
    """Return the field itself."""
    return field


def lognormal(rng: np.random.Generator, field: np.ndarray) -> np.ndarray:
    """Return the exponential of the field: skewed, above 0."""
    return np.exp(rng.uniform(0.3, 1.5) * field)


def squared(rng: np.random.Generator, field: np.ndarray) -> np.ndarray:
    """Return the square of the field, or of the field with a shift: skewed, from 0."""
    return np.square(field + rng.uniform(0.0, 2.0))


def heavy_tailed(rng: np.random.Generator, field: np.ndarray) -> np.ndarray:
    """Return the hyperbolic sine of the field: symmetric with long tails."""
    strength = rng.uniform(0.5, 1.5)
    return np.asarray(np.sinh(strength * field) / strength)


def two_states(rng: np.random.Generator, field: np.ndarray) -> np.ndarray:
    """Return the field pressed towards two values, as on both sides of a front."""
    strength = rng.uniform(1.0, 4.0)
    return np.tanh(strength * field) + rng.uniform(0.0, 0.3) * field


def negatively_skewed(rng: np.random.Generator, field: np.ndarray) -> np.ndarray:
    """Return the negative of a lognormal field: below 0, as depths and potentials are."""
    return -np.exp(rng.uniform(0.2, 1.0) * field)


def rain(rng: np.random.Generator, field: np.ndarray) -> np.ndarray:
    """Return 0 below a quantile of the field and a skewed rate above: dry areas of 10 to 95 %."""
    dry = np.quantile(field, rng.uniform(MIN_DRY, MAX_DRY))
    wet = np.maximum(field - dry, 0.0)
    kind = rng.choice(3)
    if kind == 0:
        return np.asarray(np.power(wet, rng.uniform(1.0, 3.0)))
    if kind == 1:
        return np.expm1(np.minimum(rng.uniform(0.5, 2.0) * wet, 12.0))
    least = rng.uniform(0.0, 0.5)  # a lowest rate that is seen: edges are sharp
    return np.where(wet > 0.0, least + np.square(wet), 0.0)


def fraction(rng: np.random.Generator, field: np.ndarray) -> np.ndarray:
    """Return a fraction between 0 and 1 without values at the bounds."""
    return np.asarray(1.0 / (1.0 + np.exp(-rng.uniform(0.5, 3.0) * field - rng.uniform(-2.0, 2.0))))


def bounded(rng: np.random.Generator, field: np.ndarray) -> np.ndarray:
    """Return a fraction between 0 and 1 with many values at the bounds, as cloud and snow cover have."""
    return np.clip(rng.uniform(0.2, 0.8) + rng.uniform(0.3, 1.5) * field, 0.0, 1.0)


def counted(rng: np.random.Generator, field: np.ndarray) -> np.ndarray:
    """Return whole numbers of a skewed field."""
    return np.floor(np.exp(rng.uniform(0.5, 1.2) * field + rng.uniform(0.0, 3.0)))


_RAIN_UNITS = (
    ("mm", 0.1, 100.0),
    ("mm d-1", 0.5, 50.0),
    ("mm h-1", 0.1, 20.0),
    ("kg m-2 s-1", 1e-6, 1e-4),
    ("m", 1e-4, 0.1),
)
_TEMPERATURE_UNITS = (("degC", 0.3, 20.0), ("K", 0.3, 20.0))
THEMES: Mapping[str, Theme] = {
    "rain": Theme((rain,), _RAIN_UNITS, offset=False),
    "rain rate": Theme((rain,), (("mm h-1", 0.2, 20.0), ("mm h-1", 0.2, 20.0), ("mm", 0.02, 2.0)), offset=False),
    "temperature": Theme((plain,), _TEMPERATURE_UNITS, offset=True),
    "soil moisture": Theme((fraction,), (("m3 m-3", 0.2, 0.6), ("%", 20.0, 60.0)), offset=False),
    "cover": Theme((bounded, fraction), (("1", 1.0, 1.0), ("%", 100.0, 100.0)), offset=False),
    "wind": Theme((plain, heavy_tailed), (("m s-1", 0.1, 10.0),), offset=False),
    "speed": Theme((squared, lognormal), (("m s-1", 0.1, 10.0),), offset=False),
    "pressure": Theme((plain, two_states), (("hPa", 1.0, 15.0), ("Pa", 100.0, 1500.0), ("m", 0.02, 60.0)), offset=True),
    "humidity": Theme((lognormal, fraction), (("g kg-1", 1.0, 10.0), ("kg kg-1", 1e-3, 1e-2)), offset=False),
    "flow": Theme((lognormal, squared), (("m3 s-1", 0.05, 5000.0), ("mm d-1", 0.1, 10.0)), offset=False),
    "level": Theme((plain, negatively_skewed), (("m", 0.05, 10.0), ("cm", 5.0, 300.0)), offset=True),
    "concentration": Theme((lognormal, counted), (("mg m-3", 0.05, 30.0), ("mg l-1", 0.1, 500.0)), offset=False),
    "flux": Theme((plain, squared, two_states), (("W m-2", 5.0, 200.0), ("mm d-1", 0.5, 3.0)), offset=False),
    "anything": Theme(
        (plain, lognormal, squared, heavy_tailed, two_states, negatively_skewed, bounded, fraction, rain, counted),
        (("1", *ANY_SCALE), ("", *ANY_SCALE)),
        offset=True,
    ),
}
GRID_THEMES = (
    *THEMES,
    "rain",
    "rain",
    "temperature",
    "soil moisture",
    "cover",
    "anything",
)  # drawn from with equal chance


def to_theme(rng: np.random.Generator, theme: Theme, field: np.ndarray) -> tuple[np.ndarray, str]:
    """Return values of a theme, of the shape of `field`, and their units.

    Args:
        rng: source of randomness.
        theme: what the variable is.
        field: standard Gaussian field of any shape.
    """
    marginal = theme.marginals[rng.integers(len(theme.marginals))]
    return in_units(rng, theme, marginal(rng, without_outliers(field)))


def without_outliers(field: np.ndarray) -> np.ndarray:
    """Return a standardised field whose values beyond MAX_LINEAR grow with the logarithm only, so that exp is small."""
    beyond = np.maximum(np.abs(field) - MAX_LINEAR, 0.0)
    return np.asarray(np.clip(field, -MAX_LINEAR, MAX_LINEAR) + np.sign(field) * np.log1p(beyond))


def in_units(rng: np.random.Generator, theme: Theme, values: np.ndarray) -> tuple[np.ndarray, str]:
    """Return the values scaled to units that are drawn, with an offset where the theme allows one, and the units."""
    units, low, high = theme.units[rng.integers(len(theme.units))]
    scale = log_uniform(rng, low, high)
    if theme.offset and rng.random() < 0.7:
        size = float(values.std()) or 1.0
        sign = rng.choice([-1.0, 1.0], p=[0.3, 0.7])
        values = values + sign * size * (log_uniform(rng, 0.1, MAX_OFFSET))
    return values * scale, units


def quantised(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """Return the values rounded to a step of 1 % to 50 % of their standard deviation."""
    step = float(values.std()) * log_uniform(rng, 0.01, 0.5)
    if not step > 0.0:
        return values
    digit = 10.0 ** np.floor(np.log10(step))
    step = float(digit * rng.choice([1.0, 2.0, 5.0]))
    return np.asarray(np.round(values / step) * step)
