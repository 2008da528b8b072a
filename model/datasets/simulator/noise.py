"""Gaussian random fields: fields that drift with the wind and change, and fractal surfaces."""

from __future__ import annotations

import numpy as np
from scipy import fft

PADDING = 1.2  # the fields are periodic on a domain that is wider than the grid by this number of length scales


class DriftingField:
    """A stationary Gaussian field (H, W) of mean 0 and variance 1 that evolves in time.

    The phase of each wave moves with the wind and is forgotten with one e-folding time: an AR(1) process in Fourier
    space. Source: the spectral advection of STREAP (Paschalis et al. 2013, Water Resour. Res. 49:8430).

    Args:
        shape: (H, W) of the grid.
        length: length scales along and across the field's long axis, cells; equal for round structures.
        heading: direction of the long axis, radians from the x axis.
        memory_days: e-folding time in a frame that moves with the wind.
        rng: source of randomness.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        length: tuple[float, float],
        heading: float,
        memory_days: float,
        rng: np.random.Generator,
    ) -> None:
        self.shape, self.memory_days, self.rng = shape, memory_days, rng
        self.size = tuple(fft.next_fast_len(n + int(np.ceil(PADDING * max(length))), real=True) for n in shape)
        self.y = fft.fftfreq(self.size[0])[:, None]  # cycles a cell
        self.x = fft.rfftfreq(self.size[1])[None, :]
        self.amplitude = self._amplitude(length, heading)
        self.waves = self._fresh()

    def step(self, days: float, drift: tuple[float, float]) -> np.ndarray:
        """Return the field (H, W) float32 `days` later, moved by `drift` = (north, east) in cells per day."""
        kept = float(np.exp(-days / self.memory_days))
        north = kept * np.exp(-2j * np.pi * days * drift[0] * self.y)
        east = np.exp(-2j * np.pi * days * drift[1] * self.x)
        self.waves *= north.astype(np.complex64)
        self.waves *= east.astype(np.complex64)
        self.waves += self._fresh() * np.float32(np.sqrt(1 - kept**2))
        field: np.ndarray = fft.irfft2(self.waves, s=self.size)[: self.shape[0], : self.shape[1]]
        return field

    def _amplitude(self, length: tuple[float, float], heading: float) -> np.ndarray:
        """Return the amplitudes of the two parts of each wave, (rows, waves, 1) float32; the field's variance is 1."""
        along = self.x * np.cos(heading) + self.y * np.sin(heading)
        across = self.y * np.cos(heading) - self.x * np.sin(heading)
        power = (1 + (2 * np.pi * length[0] * along) ** 2 + (2 * np.pi * length[1] * across) ** 2) ** -2.0
        power[0, 0] = 0.0  # without the mean over the domain
        mirrored = np.ones(self.x.shape[1], bool)  # a column also stands for its mirror image, except for:
        mirrored[0] = False
        if self.size[1] % 2 == 0:
            mirrored[-1] = False
        # The exceptions keep only the half of their power that a real field has.
        scale = np.sqrt(power / (power * np.where(mirrored, 2, 1)).sum()) * self.size[0] * self.size[1]
        return (scale * np.where(mirrored, np.sqrt(0.5), 1)).astype(np.float32)[..., None]

    def _fresh(self) -> np.ndarray:
        """Return new waves that are independent of all earlier ones, (rows, waves) complex64."""
        shape = (self.size[0], self.x.shape[1], 2)
        return (self.rng.standard_normal(shape, np.float32) * self.amplitude).view(np.complex64)[..., 0]


def rough_field(shape: tuple[int, int], slope: float, rng: np.random.Generator) -> np.ndarray:
    """Return a fractal surface (H, W) float64 of mean 0 and standard deviation 1 with a power spectrum k**-slope."""
    size = tuple(
        fft.next_fast_len(2 * n, real=True) for n in shape
    )  # twice as wide, so that opposite edges are independent
    y, x = fft.fftfreq(size[0])[:, None], fft.rfftfreq(size[1])[None, :]
    frequency = np.hypot(y, x)
    frequency[0, 0] = np.inf
    field = fft.irfft2(fft.rfft2(rng.standard_normal(size)) * frequency ** (-slope / 2), s=size)
    field = field[: shape[0], : shape[1]]
    return (field - field.mean()) / field.std()
