"""Places and times of tokens and queries, as numbers that the network can use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hydrofill.constants import DAY_S
from hydrofill.cube import WaterCube
from hydrofill.guesses.time_axis import seconds_since_1970
from hydrofill.layout import Layout, VariableSpec

# Columns of `place`: distance from the window's centre in steps and in training cells; position on the training grid,
# -1 to 1; phase of the year and of the day.
PLACE_FEATURES = ("t", "y", "x", "y_domain", "x_domain", "year_sin", "year_cos", "day_sin", "day_cos")
NEAR = slice(0, 3)  # columns of PLACE_FEATURES that are distances within a window
MAX_DISTANCE = 256.0  # distances within a window are clipped to this, so that no coordinate overflows the encoding
MAX_DOMAIN_POSITION = 1.5  # positions on the training grid are clipped to this


@dataclass(frozen=True)
class WindowPlaces:
    """The axes of one window in the model's units.

    t: (T,) steps. phases: (T, 4), sine and cosine of the year and of the day. y (H,), x (W,), site_y (N,) and site_x
    (N,): training cells. A site whose place is unknown is in the middle of the window.
    """

    layout: Layout
    t: np.ndarray
    phases: np.ndarray
    y: np.ndarray
    x: np.ndarray
    site_y: np.ndarray
    site_x: np.ndarray

    @classmethod
    def of(cls, window: WaterCube, layout: Layout) -> WindowPlaces:
        """Return the axes of `window` in the units of `layout`."""
        place = layout.place
        seconds = seconds_since_1970(window.time)
        turns = 2 * np.pi * np.stack([seconds / window.year_s, seconds / DAY_S], axis=1)  # (T, 2)
        phases = np.stack([np.sin(turns), np.cos(turns)], axis=2).reshape(-1, 4)
        y, x = ((window.y - place.y_origin) / place.y_spacing, (window.x - place.x_origin) / place.x_spacing)
        site_y = (window.sites.y - place.y_origin) / place.y_spacing
        site_x = (window.sites.x - place.x_origin) / place.x_spacing
        return cls(
            layout,
            t=(seconds - seconds[0]) / place.step_s,
            phases=phases,
            y=y,
            x=x,
            site_y=np.where(np.isnan(site_y), _middle(y, site_y), site_y),
            site_x=np.where(np.isnan(site_x), _middle(x, site_x), site_x),
        )

    def of_patches(self, spec: VariableSpec) -> np.ndarray:
        """Return the place of every patch of a variable, (patches, C) float32, numbered as by `cut_patches`."""
        if spec.kind == "grid":
            return self._features(self.t, self.phases, *self._patch_centres())
        t, phases = (_chunk_means(a, self.layout.patch.steps) for a in (self.t, self.phases))
        return self._features(t, phases, self.site_y, self.site_x)

    def of_static_patches(self) -> np.ndarray:
        """Return the place of every patch of a static field, (patches, C) float32; the columns of time are 0."""
        return self._features(None, None, *self._patch_centres())

    def of_sites(self) -> np.ndarray:
        """Return the place of every site, (N, C) float32; the columns of time are 0."""
        return self._features(None, None, self.site_y, self.site_x)

    def _patch_centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Return y and x of the patches of one frame, (patches,) each, row by row."""
        patch = self.layout.patch
        y, x = (_chunk_means(a, size) for a, size in ((self.y, patch.rows), (self.x, patch.columns)))
        y, x = (a.ravel() for a in np.meshgrid(y, x, indexing="ij"))
        return y, x

    def _features(self, t: np.ndarray | None, phases: np.ndarray | None, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the features of every pair of a time (t, phases) and a place (y, x), (times * places, C) float32."""
        centre_y, centre_x = _middle(self.y, self.site_y), _middle(self.x, self.site_x)
        n_time, n_place = (1 if t is None else len(t)), len(y)
        out = np.zeros((n_time, n_place, len(PLACE_FEATURES)), np.float32)
        if t is not None and phases is not None:
            middle = (self.t[0] + self.t[-1]) / 2
            out[:, :, 0] = np.clip(t - middle, -MAX_DISTANCE, MAX_DISTANCE)[:, None]
            out[:, :, 5:] = phases[:, None, :]
        for column, axis, centre, size in ((1, y, centre_y, "rows"), (2, x, centre_x, "columns")):
            extent = getattr(self.layout.place, size)
            out[:, :, column] = np.clip(axis - centre, -MAX_DISTANCE, MAX_DISTANCE)
            position = 2 * (axis + 0.5) / extent - 1
            out[:, :, column + 2] = np.clip(position, -MAX_DOMAIN_POSITION, MAX_DOMAIN_POSITION)
        return out.reshape(n_time * n_place, len(PLACE_FEATURES))


def _middle(axis: np.ndarray, sites: np.ndarray) -> float:
    """Return the middle of a window along an axis: of its cells, or of its sites whose place is known; 0 if none is."""
    known = axis if len(axis) else sites[~np.isnan(sites)]
    return float(known.mean()) if len(known) else 0.0


def _chunk_means(axis: np.ndarray, size: int) -> np.ndarray:
    """Return the mean of each run of `size` values along the first axis; the last run may be shorter."""
    starts = np.arange(0, len(axis), size)
    counts = np.minimum(size, len(axis) - starts).reshape(-1, *[1] * (axis.ndim - 1))
    return np.add.reduceat(axis, starts, axis=0) / counts if len(axis) else axis
