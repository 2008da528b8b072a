"""How much of a field lies at which size: radial power spectra of fills against those of truths."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]

SMALL_CELLS = 6.0  # wavelengths up to this many cells are what a blurring fill loses


def radial_spectrum(fields: Floats) -> tuple[Doubles, Doubles]:
    """Wavelengths in cells, long to short, and the mean variance at each, over frames (T, H, W) without gaps.

    The cosine transform, which needs no periodic field; variances in bins of equal normalised wave number.
    Source: Denis et al. 2002, Mon. Wea. Rev. 130:1812, eqs. 9 to 13.
    """
    height, width = fields.shape[1:]
    anomaly = fields.astype(np.float64) - fields.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
    variance = np.square(fft.dctn(anomaly, axes=(1, 2), norm="ortho")).mean(axis=0) / (height * width)
    y, x = np.arange(height)[:, None] / height, np.arange(width) / width
    number = max(min(height, width) // 2, 1)
    bins = np.clip(np.round(np.hypot(y, x) * number).astype(int), 1, number) - 1
    total = np.bincount(bins.ravel(), variance.ravel(), minlength=number)
    return 2.0 * number / np.arange(1, number + 1), total.astype(np.float64)  # wavelength = 2 / normalised wave number


def psd_ratio(truth: Floats, filled: Floats, longest_cells: float = SMALL_CELLS) -> float | None:
    """Variance of fills over that of truths at wavelengths up to `longest_cells`: below 1 is blurred, above is noise.

    Both (T, H, W) without gaps: frames in which the fill stands in the truth's place. None where nothing varies.
    """
    if truth.size == 0 or min(truth.shape[1:]) < 4:
        return None
    wavelength, true = radial_spectrum(truth)
    _, made = radial_spectrum(filled)
    small = wavelength <= longest_cells
    total = float(true[small].sum())
    return float(made[small].sum()) / total if total > 0 else None
