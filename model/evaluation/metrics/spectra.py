"""Radial power spectra of fills and of truths: the variance of a field at each wavelength."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]

MAX_FINE_CELLS = 6.0  # wavelengths of up to this many cells, which a blurred fill loses


def radial_spectrum(fields: Floats) -> tuple[Doubles, Doubles]:
    """Return wavelengths in cells, long to short, and the mean variance at each, over frames (T, H, W) without gaps.

    Uses the cosine transform, which needs no periodic field, and bins of equal normalised wave number.
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


def psd_ratio(truth: Floats, filled: Floats) -> float | None:
    """Return the variance of fills over that of truths at fine wavelengths: below 1 is blurred, above 1 is noisy.

    Both are (T, H, W) without gaps; the frames of `filled` have the fill at the cells hidden and the truth elsewhere.
    None where nothing varies.
    """
    if truth.size == 0 or min(truth.shape[1:]) < 4:
        return None
    wavelength, true = radial_spectrum(truth)
    _, made = radial_spectrum(filled)
    small = wavelength <= MAX_FINE_CELLS
    total = float(true[small].sum())
    return float(made[small].sum()) / total if total > 0 else None
