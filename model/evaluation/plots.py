"""Plots of how good a fill is: maps of error, reliability, spectra."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtri

from hydrofill.paths import written_whole
from model.evaluation.comparison import Trial, whole_frames_of
from model.evaluation.metrics.spectra import radial_spectrum
from model.evaluation.tables import OURS

LEVELS = np.arange(0.05, 1.0, 0.05)
MAX_LINES = 6  # methods in a plot: more cannot be distinguished


class PlotsUnavailableError(ImportError):
    """matplotlib, which only plots need, is not installed."""


def draw(trial: Trial, folder: Path) -> list[Path]:
    """Write the plots that suit the trial into `folder` as PNG, and return the files.

    Raises:
        PlotsUnavailableError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotsUnavailableError("--plots needs matplotlib: pip install matplotlib") from error
    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^A-Za-z0-9]+", "-", f"{trial.variable}-{trial.gap}").strip("-")
    written = []
    for name, method in (("error", _error_map), ("reliability", _reliability), ("spectra", _spectra)):
        figure = Figure(figsize=(9.0 if name == "error" else 5.0, 4.0), layout="constrained")
        if method(figure, trial):
            path = folder / f"{stem}-{name}.png"
            with written_whole(path) as partial:
                figure.savefig(partial, format="png", dpi=120)
            written.append(path)
    return written


def _error_map(figure: Any, trial: Trial) -> bool:
    """Draw root mean squared error and bias of each cell, and return True; return False for series."""
    if trial.truth.ndim != 3:
        return False
    error = np.where(trial.hidden, trial.fills[OURS].values - trial.truth, np.nan).astype(np.float64)
    number = (~np.isnan(error)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        rmse = np.sqrt(np.nansum(error**2, axis=0) / number)
        bias = np.nansum(error, axis=0) / number
    left, right = figure.subplots(1, 2)
    far = float(np.nanmax(np.abs(bias))) or 1.0
    shown = ((left, rmse, "root mean squared error", "viridis", None), (right, bias, "bias", "RdBu_r", far))
    for axes, values, title, colours, limit in shown:
        image = axes.imshow(values, cmap=colours, vmin=None if limit is None else -limit, vmax=limit)
        axes.set_title(f"{trial.variable}: {title}")
        figure.colorbar(image, ax=axes, label=trial.units, shrink=0.8)
    figure.suptitle(trial.gap)
    return True


def _reliability(figure: Any, trial: Trial) -> bool:
    """Draw the share of truths inside central intervals of each level, for methods with a standard deviation."""
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    for name, fill in trial.fills.items():
        if fill.std is None:
            continue
        known = trial.hidden & np.isfinite(fill.std) & np.isfinite(fill.values)
        if known.any():
            axes.plot(LEVELS, coverage_by_level(trial, name), marker=".", label=name)
    axes.set(xlabel="level of the central interval", ylabel="share of truths inside", xlim=(0, 1), ylim=(0, 1))
    axes.set_title(f"{trial.variable}, {trial.gap}")
    axes.legend()
    return True


def coverage_by_level(trial: Trial, name: str) -> np.ndarray:
    """Return the share of hidden truths inside a normal's central interval at each of LEVELS.

    The method `name` must have standard deviations.
    """
    fill = trial.fills[name]
    assert fill.std is not None
    at = trial.hidden & np.isfinite(fill.std) & np.isfinite(fill.values)
    score = np.abs(fill.values[at] - trial.truth[at]) / np.maximum(fill.std[at], 1e-12)
    return np.array([(score <= ndtri(0.5 + level / 2)).mean() for level in LEVELS])


def _spectra(figure: Any, trial: Trial) -> bool:
    """Draw the variance of truth and fills at each wavelength; return False without a grid that has whole frames."""
    if trial.truth.ndim != 3 or min(trial.truth.shape[1:]) < 4:
        return False
    truth, _ = whole_frames_of(trial, trial.truth)
    if len(truth) == 0:
        return False
    axes = figure.subplots()
    axes.loglog(*radial_spectrum(truth), color="black", label="truth")
    for name, fill in list(trial.fills.items())[:MAX_LINES]:
        _, made = whole_frames_of(trial, np.where(trial.hidden, fill.values, trial.truth))
        axes.loglog(*radial_spectrum(made), label=name, linewidth=2 if name == OURS else 1)
    axes.invert_xaxis()
    axes.set(xlabel="wavelength, cells", ylabel="variance", title=f"{trial.variable}, {trial.gap}")
    axes.legend(fontsize="small")
    return True
