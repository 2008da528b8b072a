"""Cube <-> tokens, written once: training and serving cut and join through this file.

A token is one patch of one frame (grids), one chunk of time at one site (series), or the attributes
of one patch or site (static). Validity goes cell by cell: a patch partly observed is a visible token
with its unseen cells flagged, and a query for those cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hydrofill.constants import DAY_S, YEAR_S
from hydrofill.cube import Variable, WaterCube
from hydrofill.guesses.first_guesses import DISTANCES, GUESSES, Guesses, guess
from hydrofill.layout import Layout, VariableSpec

# Columns of `place`: steps and training cells from the window's centre; training-grid position in
# [-1, 1]; the turn of the year and of the day.
PLACE_FEATURES = ("t", "y", "x", "y_domain", "x_domain", "year_sin", "year_cos", "day_sin", "day_cos")
NEAR = slice(0, 3)  # columns of PLACE_FEATURES that are distances within a window
FAR_CELLS = 256.0  # distances in a window are held to this, so that no coordinate overflows the encoding
BEYOND_DOMAIN = 1.5  # the same for the position on the training grid


@dataclass(frozen=True)
class Tokens:
    """What is visible: L tokens of P cells, after any batch dimension.

    values (..., L, P) float32 physical units, 0 where not `valid` (..., L, P) bool; `variable` (..., L) int64
    token type; `place` (..., L, C) float32; `length` (...) int64 counts real tokens, the rest is padding.
    """

    values: np.ndarray
    valid: np.ndarray
    variable: np.ndarray
    place: np.ndarray
    length: np.ndarray


@dataclass(frozen=True)
class Queries:
    """What is asked: Q queries of P cells, after any batch dimension.

    `variable` (..., Q) int64, `place` (..., Q, C) float32, `requested` (..., Q, P) bool cells, `length` (...) int64.
    `guess` (..., Q, P, G) float32 physical units, 0 where not `guessed` (same shape, bool), and `distance`
    (..., Q, P, D) float32 are what classical methods say of the cells; G is 0 in a layout without guesses.
    """

    variable: np.ndarray
    place: np.ndarray
    requested: np.ndarray
    guess: np.ndarray
    guessed: np.ndarray
    distance: np.ndarray
    length: np.ndarray


@dataclass(frozen=True)
class QueryRows:
    """Where the queries of one variable sit: rows `start:stop` of the queries, `patch` their patch numbers."""

    spec: VariableSpec
    start: int
    stop: int
    patch: np.ndarray
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Tokenised:
    """One window as tokens and queries, with the way back."""

    tokens: Tokens
    queries: Queries
    index: tuple[QueryRows, ...]
    layout: Layout

    def join(self, predicted: np.ndarray) -> dict[str, np.ndarray]:
        """(Q, P) per query back as arrays of each asked variable's shape; NaN where nothing was asked."""
        joined = {}
        for requested in self.index:
            n_cells = self.layout.cells(requested.spec)
            patches = np.full((_count(requested.spec, requested.shape, self.layout), n_cells), np.nan, predicted.dtype)
            rows = predicted[requested.start : requested.stop, :n_cells]
            patches[requested.patch] = np.where(
                self.queries.requested[requested.start : requested.stop, :n_cells], rows, np.nan
            )
            joined[requested.spec.name] = join_patches(patches, requested.spec, requested.shape, self.layout)
        return joined

    def cut(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Arrays of each asked variable's shape as (Q, P) per query, NaN beyond; the inverse of `join`."""
        out = np.full(self.queries.requested.shape, np.nan, np.float32)
        for requested in self.index:
            cells = cut_patches(values[requested.spec.name], requested.spec, self.layout, np.nan)
            out[requested.start : requested.stop, : cells.shape[1]] = cells[requested.patch]
        return out


def tokenise(
    window: WaterCube,
    layout: Layout,
    visible: Mapping[str, np.ndarray] | None = None,
    requested: Mapping[str, np.ndarray] | None = None,
    known: Mapping[str, Guesses] | None = None,
) -> Tokenised:
    """The tokens of one window and the queries for what is asked in it.

    Args:
        window: a cube no larger than `layout.window`, in the model's units.
        visible: by variable, bool, which present cells the encoder may see; every one where not named.
        asked: by variable, bool, which cells to predict; by default every gap.
        known: by variable, first guesses of the window's cells, made over the record that it is a part of; made
            from the window alone where not given.
    """
    visible, frame = visible or {}, _Frame.of(window, layout)
    requested = (
        {name: window.gaps(name) for name in window.of_kind("grid", "series")} if requested is None else requested
    )
    pieces, queries, index, row = [], [], [], 0  # of each variable in turn
    for number, spec in enumerate(layout.variables):
        if spec.name not in window.variables:
            continue
        seen, place = _seen(window.variables[spec.name], visible.get(spec.name)), frame.of_patches(spec)
        pieces.append(_visible_tokens(seen, spec, layout, number, place))
        if (wanted := requested.get(spec.name)) is None:
            continue
        cells = cut_patches(wanted, spec, layout, False)
        patch = np.flatnonzero(cells.any(axis=1))
        if layout.guesses and len(patch):
            made = known[spec.name] if known is not None else first_guesses(seen, spec, window.time)
            guesses = _cut_guesses(made, spec, layout, patch)
        else:
            guesses = np.zeros((len(patch), layout.cells(spec), 0), np.float32)
        queries.append(_Piece(np.full(len(patch), number), place[patch], cells[patch], guesses))
        index.append(QueryRows(spec, row, row + len(patch), patch, seen.shape))
        row += len(patch)
    pieces += _static_tokens(window, layout, frame)
    return Tokenised(_gather_tokens(pieces, layout), _gather_queries(queries, layout), tuple(index), layout)


def stack_tokens(batch: Sequence[Tokens]) -> Tokens:
    """Tokens of several windows as one batch (B, L, ...), padded to the longest."""
    return Tokens(
        **{name: _pad_stack([getattr(t, name) for t in batch]) for name in ("values", "valid", "variable", "place")},
        length=np.array([len(t.variable) for t in batch], np.int64),
    )


def stack_queries(batch: Sequence[Queries]) -> Queries:
    """Queries of several windows as one batch (B, Q, ...), padded to the longest."""
    names = ("variable", "place", "requested", "guess", "guessed", "distance")
    return Queries(
        **{name: _pad_stack([getattr(q, name) for q in batch]) for name in names},
        length=np.array([len(q.variable) for q in batch], np.int64),
    )


def cut_patches(values: np.ndarray, spec: VariableSpec, layout: Layout, beyond: float | bool) -> np.ndarray:
    """(T, H, W) or (T, N) as (patches, cells of a patch); cells past the border hold `beyond`.

    Patches are numbered frame by frame, row by row (grids) or chunk by chunk, site by site (series).
    """
    if spec.kind == "grid":
        rows, columns = layout.patch.rows, layout.patch.columns
        n_time, height, width = values.shape
        padded = _pad(values, (0, -height % rows, -width % columns), beyond)
        split = padded.reshape(n_time, padded.shape[1] // rows, rows, padded.shape[2] // columns, columns)
        return split.transpose(0, 1, 3, 2, 4).reshape(-1, rows * columns)  # (T * Hp * Wp, P)
    n_sites = values.shape[1]
    padded = _pad(values, (-len(values) % layout.patch.steps, 0), beyond)
    split = padded.reshape(len(padded) // layout.patch.steps, layout.patch.steps, n_sites)
    return split.transpose(0, 2, 1).reshape(-1, layout.patch.steps)  # (chunks * N, P)


def join_patches(patches: np.ndarray, spec: VariableSpec, shape: tuple[int, ...], layout: Layout) -> np.ndarray:
    """(patches, cells of a patch) back as (T, H, W) or (T, N); the inverse of `cut_patches`."""
    if spec.kind == "grid":
        rows, columns = layout.patch.rows, layout.patch.columns
        n_time, height, width = shape
        split = patches.reshape(n_time, -(-height // rows), -(-width // columns), rows, columns)
        whole = split.transpose(0, 1, 3, 2, 4).reshape(n_time, split.shape[1] * rows, split.shape[2] * columns)
        return whole[:, :height, :width]
    n_time, n_sites = shape
    split = patches.reshape(-(-n_time // layout.patch.steps), n_sites, layout.patch.steps)
    return split.transpose(0, 2, 1).reshape(split.shape[0] * layout.patch.steps, n_sites)[:n_time]


@dataclass(frozen=True)
class _Frame:
    """A window's axes on the model's terms: t (T,) steps, y (H,), x (W,) and sites' (N,) training cells."""

    layout: Layout
    t: np.ndarray
    seasons: np.ndarray  # (T, 4)
    y: np.ndarray
    x: np.ndarray
    site_y: np.ndarray
    site_x: np.ndarray

    @classmethod
    def of(cls, window: WaterCube, layout: Layout) -> _Frame:
        place = layout.place
        seconds = _seconds(window.time)
        turns = 2 * np.pi * np.stack([seconds / YEAR_S, seconds / DAY_S], axis=1)  # (T, 2)
        seasons = np.stack([np.sin(turns), np.cos(turns)], axis=2).reshape(-1, 4)
        return cls(
            layout,
            t=(seconds - seconds[0]) / place.step_s,
            seasons=seasons,
            y=(window.y - place.y_origin) / place.y_spacing,
            x=(window.x - place.x_origin) / place.x_spacing,
            site_y=(window.sites.y - place.y_origin) / place.y_spacing,
            site_x=(window.sites.x - place.x_origin) / place.x_spacing,
        )

    def of_patches(self, spec: VariableSpec) -> np.ndarray:
        """Place of every patch of a variable, (patches, C) float32, numbered as `cut_patches` does."""
        patch = self.layout.patch
        if spec.kind == "grid":
            y, x = (_chunk_means(a, size) for a, size in ((self.y, patch.rows), (self.x, patch.columns)))
            y, x = (a.ravel() for a in np.meshgrid(y, x, indexing="ij"))
            return self._features(self.t, self.seasons, y, x)
        t, seasons = (_chunk_means(a, patch.steps) for a in (self.t, self.seasons))
        return self._features(t, seasons, self.site_y, self.site_x)

    def of_static(self, sites: bool) -> np.ndarray:
        """Place of every static patch or site, (places, C) float32, out of time."""
        if sites:
            return self._features(None, None, self.site_y, self.site_x)
        y, x = (_chunk_means(a, s) for a, s in ((self.y, self.layout.patch.rows), (self.x, self.layout.patch.columns)))
        y, x = (a.ravel() for a in np.meshgrid(y, x, indexing="ij"))
        return self._features(None, None, y, x)

    def _features(self, t: np.ndarray | None, seasons: np.ndarray | None, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        centre_y, centre_x = (
            axis.mean() if len(axis) else site.mean() for axis, site in ((self.y, self.site_y), (self.x, self.site_x))
        )
        n_time, n_place = (1 if t is None else len(t)), len(y)
        out = np.zeros((n_time, n_place, len(PLACE_FEATURES)), np.float32)
        if t is not None and seasons is not None:
            middle = (self.t[0] + self.t[-1]) / 2
            out[:, :, 0] = np.clip(t - middle, -FAR_CELLS, FAR_CELLS)[:, None]
            out[:, :, 5:] = seasons[:, None, :]
        for column, axis, centre, size in ((1, y, centre_y, "rows"), (2, x, centre_x, "columns")):
            extent = getattr(self.layout.place, size)
            out[:, :, column] = np.clip(axis - centre, -FAR_CELLS, FAR_CELLS)
            out[:, :, column + 2] = np.clip(2 * (axis + 0.5) / extent - 1, -BEYOND_DOMAIN, BEYOND_DOMAIN)
        return out.reshape(n_time * n_place, len(PLACE_FEATURES))


@dataclass(frozen=True)
class _Piece:
    """The queries of one variable: types (Q,), places (Q, C), asked (Q, cells), guesses (Q, cells, G + distances)."""

    variable: np.ndarray
    place: np.ndarray
    requested: np.ndarray
    guesses: np.ndarray


def _seen(variable: Variable, visible: np.ndarray | None) -> np.ndarray:
    return variable.values if visible is None else np.where(visible, variable.values, np.float32(np.nan))


def first_guesses(seen: np.ndarray, spec: VariableSpec, time: np.ndarray) -> Guesses:
    """Classical first guesses of every cell of a record of one variable, (T, H, W) or (T, N), NaN = not seen."""
    return guess(seen, square_root=spec.transform == "sqrt", seconds=_seconds(time))


def _seconds(time: np.ndarray) -> np.ndarray:
    seconds: np.ndarray = (time - np.datetime64(0, "s")) / np.timedelta64(1, "s")
    return seconds


def _cut_guesses(made: Guesses, spec: VariableSpec, layout: Layout, patch: np.ndarray) -> np.ndarray:
    """Guesses and distances of the cells of the asked patches, (Q, cells, G + D); NaN = no guess."""
    features = np.moveaxis(np.concatenate([made.values, made.distances], axis=-1), -1, 0)
    return np.stack([cut_patches(f, spec, layout, np.nan)[patch] for f in features], axis=-1)


def _visible_tokens(
    seen: np.ndarray, spec: VariableSpec, layout: Layout, number: int, place: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Token types (L,), places (L, C) and values (L, cells) of the patches with a visible cell; NaN = unseen."""
    cells = cut_patches(seen, spec, layout, np.nan)
    keep = ~np.isnan(cells).all(axis=1)
    return np.full(int(keep.sum()), number), place[keep], cells[keep]


def _static_tokens(window: WaterCube, layout: Layout, frame: _Frame) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    pieces = []
    for number, specs, sites in (
        (len(layout.variables), layout.static_grid, False),
        (len(layout.variables) + 1, layout.static_site, True),
    ):
        shape = (len(window.sites),) if sites else (len(window.y), len(window.x))
        if not specs or 0 in shape:
            continue
        unknown = np.full(shape, np.nan, np.float32)
        fields = [window.variables[s.name].values if s.name in window.variables else unknown for s in specs]
        cells = np.stack(fields if sites else [_patch_means(f, layout) for f in fields], axis=1)  # (places, A)
        keep = ~np.isnan(cells).all(axis=1)
        pieces.append((np.full(int(keep.sum()), number), frame.of_static(sites)[keep], cells[keep]))
    return pieces


def _patch_means(values: np.ndarray, layout: Layout) -> np.ndarray:
    """(H, W) as the mean over each patch's present cells, (patches,); NaN where none is."""
    grid = VariableSpec(name="static", kind="grid", units="")
    cells = cut_patches(values[None], grid, layout, np.nan)
    n_present = (~np.isnan(cells)).sum(axis=1)
    total = np.nansum(cells, axis=1)
    return np.where(n_present > 0, total / np.maximum(n_present, 1), np.nan).astype(np.float32)


def _gather_tokens(pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]], layout: Layout) -> Tokens:
    number = sum(len(kind) for kind, _, _ in pieces)
    values = np.full((number, layout.token_size), np.nan, np.float32)
    row = 0
    for kind, _, cells in pieces:
        values[row : row + len(kind), : cells.shape[1]] = cells
        row += len(kind)
    valid = ~np.isnan(values)
    return Tokens(
        values=np.where(valid, values, np.float32(0)),
        valid=valid,
        variable=_concatenate([kind for kind, _, _ in pieces], (), np.int64),
        place=_concatenate([place for _, place, _ in pieces], (len(PLACE_FEATURES),), np.float32),
        length=np.array(number, np.int64),
    )


def _gather_queries(pieces: list[_Piece], layout: Layout) -> Queries:
    number = sum(len(piece.variable) for piece in pieces)
    n_guesses = len(GUESSES) if layout.guesses else 0
    n_distances = len(DISTANCES) if layout.guesses else 0
    requested, row = np.zeros((number, layout.token_size), bool), 0
    features = np.full((number, layout.token_size, n_guesses + n_distances), np.nan, np.float32)
    for piece in pieces:
        rows = slice(row, row + len(piece.variable))
        requested[rows, : piece.requested.shape[1]] = piece.requested
        if len(piece.variable):
            features[rows, : piece.requested.shape[1]] = piece.guesses
        row = rows.stop
    known = ~np.isnan(features)
    features = np.where(known, features, np.float32(0))
    return Queries(
        variable=_concatenate([piece.variable for piece in pieces], (), np.int64),
        place=_concatenate([piece.place for piece in pieces], (len(PLACE_FEATURES),), np.float32),
        requested=requested,
        guess=features[..., :n_guesses],
        guessed=known[..., :n_guesses],
        distance=features[..., n_guesses:],
        length=np.array(number, np.int64),
    )


def _concatenate(parts: list[np.ndarray], tail: tuple[int, ...], dtype: type) -> np.ndarray:
    empty: np.ndarray = np.zeros((0, *tail), dtype)
    return np.concatenate([empty, *parts]).astype(dtype, copy=False)


def _count(spec: VariableSpec, shape: tuple[int, ...], layout: Layout) -> int:
    if spec.kind == "grid":
        return shape[0] * -(-shape[1] // layout.patch.rows) * -(-shape[2] // layout.patch.columns)
    return -(-shape[0] // layout.patch.steps) * shape[1]


def _chunk_means(axis: np.ndarray, size: int) -> np.ndarray:
    """The mean of each run of `size` along the first axis; the last run may be shorter."""
    starts = np.arange(0, len(axis), size)
    counts = np.minimum(size, len(axis) - starts).reshape(-1, *[1] * (axis.ndim - 1))
    return np.add.reduceat(axis, starts, axis=0) / counts if len(axis) else axis


def _pad(values: np.ndarray, after: tuple[int, ...], fill: float | bool) -> np.ndarray:
    return np.pad(values, [(0, n) for n in after], constant_values=fill) if any(after) else values


def _pad_stack(arrays: list[np.ndarray]) -> np.ndarray:
    longest = max(len(a) for a in arrays)
    out = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in enumerate(arrays):
        out[row, : len(array)] = array
    return out
