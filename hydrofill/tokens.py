"""Turn one window of a cube into tokens and queries, and turn predictions back into arrays.

Training and serving both use this module. A token is one patch of one frame (grids), a few time steps of one site
(series), or the attributes of one patch or site (static variables). A patch with some values missing is a token whose
missing cells are marked, and also a query for those cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hydrofill.cube import Variable, WaterCube
from hydrofill.general.guesses import GENERAL_GUESSES
from hydrofill.guesses.first_guesses import DISTANCES, GUESSES, Guesses, guess_variable
from hydrofill.layout import Layout, VariableSpec
from hydrofill.patches import count_patches, cut_patches, join_patches, patch_means
from hydrofill.places import PLACE_FEATURES, WindowPlaces


@dataclass(frozen=True)
class Tokens:
    """The visible input of the network: L tokens of P cells, after any batch dimension.

    values: (..., L, P) float32 in physical units, 0 where not `valid`. valid: (..., L, P) bool, True where observed.
    variable: (..., L) int64, the type of the token: the number of its variable in the layout, then one number for
    static patches and one for static sites. place: (..., L, C) float32, columns as PLACE_FEATURES. length: (...) int64,
    how many of the L tokens are real; the rest is padding.
    """

    values: np.ndarray
    valid: np.ndarray
    variable: np.ndarray
    place: np.ndarray
    length: np.ndarray


@dataclass(frozen=True)
class Queries:
    """The cells that the network predicts: Q queries of P cells, after any batch dimension.

    variable: (..., Q) int64, as for tokens. place: (..., Q, C) float32. requested: (..., Q, P) bool, the cells to
    predict. guess: (..., Q, P, G) float32, classical first guesses of each cell in physical units, 0 where not
    `guessed`. guessed: (..., Q, P, G) bool. distance: (..., Q, P, D) float32, how far each cell is from observed
    values, columns as DISTANCES. G and D are 0 in a layout without guesses. length: (...) int64, how many of the Q
    queries are real.
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
    """Which queries belong to one variable.

    start, stop: their rows among the queries. patch: (stop - start,) the number of each one's patch. shape: of the
    variable in the window.
    """

    spec: VariableSpec
    start: int
    stop: int
    patch: np.ndarray
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Tokenised:
    """One window as tokens and queries, with what is needed to turn predictions back into arrays."""

    tokens: Tokens
    queries: Queries
    index: tuple[QueryRows, ...]
    layout: Layout

    def join(self, predicted: np.ndarray) -> dict[str, np.ndarray]:
        """Turn predictions (Q, P) into one array for each variable; NaN where no value was requested."""
        joined = {}
        for rows in self.index:
            n_cells = self.layout.cells(rows.spec)
            patches = np.full((count_patches(rows.spec, rows.shape, self.layout), n_cells), np.nan, predicted.dtype)
            requested = self.queries.requested[rows.start : rows.stop, :n_cells]
            patches[rows.patch] = np.where(requested, predicted[rows.start : rows.stop, :n_cells], np.nan)
            joined[rows.spec.name] = join_patches(patches, rows.spec, rows.shape, self.layout)
        return joined

    def cut(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Turn one array for each variable into (Q, P), NaN in unused cells; the inverse of `join`."""
        out = np.full(self.queries.requested.shape, np.nan, np.float32)
        for rows in self.index:
            cells = cut_patches(values[rows.spec.name], rows.spec, self.layout, np.nan)
            out[rows.start : rows.stop, : cells.shape[1]] = cells[rows.patch]
        return out


def tokenise(
    window: WaterCube,
    layout: Layout,
    visible: Mapping[str, np.ndarray] | None = None,
    requested: Mapping[str, np.ndarray] | None = None,
    known: Mapping[str, Guesses] | None = None,
) -> Tokenised:
    """Return the tokens of one window and the queries for the requested cells.

    Args:
        window: a cube no larger than `layout.window`, in the model's units.
        visible: for each variable, bool: the observed cells that the encoder may see. All of them for a variable that
            is not named.
        requested: for each variable, bool: the cells to predict. By default every gap.
        known: for each variable, first guesses of the window's cells that were made over a longer record. By default
            they are made from the window alone.
    """
    visible, places = visible or {}, WindowPlaces.of(window, layout)
    if requested is None:
        requested = {name: window.gaps(name) for name in window.of_kind("grid", "series")}
    tokens, queries, index, row = [], [], [], 0  # lists with one entry for each variable
    for number, spec in enumerate(layout.variables):
        if spec.name not in window.variables:
            continue
        seen, place = _seen(window.variables[spec.name], visible.get(spec.name)), places.of_patches(spec)
        tokens.append(_visible_tokens(seen, spec, layout, number, place))
        if (wanted := requested.get(spec.name)) is None:
            continue
        cells = cut_patches(wanted, spec, layout, False)
        patch = np.flatnonzero(cells.any(axis=1))
        if layout.guesses and len(patch):
            made = known[spec.name] if known is not None else guess_variable(seen, spec, window.time, window.year_s)
            guesses = _cut_guesses(made, spec, layout, patch)
        else:
            guesses = np.zeros((len(patch), layout.cells(spec), 0), np.float32)
        queries.append(_VariableQueries(np.full(len(patch), number), place[patch], cells[patch], guesses))
        index.append(QueryRows(spec, row, row + len(patch), patch, seen.shape))
        row += len(patch)
    tokens += _static_tokens(window, layout, places)
    return Tokenised(_gather_tokens(tokens, layout), _gather_queries(queries, layout), tuple(index), layout)


def count_guesses(layout: Layout) -> int:
    """Return the number of first guesses of each cell in queries of this layout, G."""
    if not layout.guesses:
        return 0
    return len(GENERAL_GUESSES) if layout.general else len(GUESSES)


def stack_tokens(batch: Sequence[Tokens]) -> Tokens:
    """Stack the tokens of several windows into one batch (B, L, ...), padded to the most tokens of a window."""
    return Tokens(
        **{name: _pad_stack([getattr(t, name) for t in batch]) for name in ("values", "valid", "variable", "place")},
        length=np.array([len(t.variable) for t in batch], np.int64),
    )


def stack_queries(batch: Sequence[Queries]) -> Queries:
    """Stack the queries of several windows into one batch (B, Q, ...), padded to the most queries of a window."""
    names = ("variable", "place", "requested", "guess", "guessed", "distance")
    return Queries(
        **{name: _pad_stack([getattr(q, name) for q in batch]) for name in names},
        length=np.array([len(q.variable) for q in batch], np.int64),
    )


@dataclass(frozen=True)
class _VariableTokens:
    """The tokens of one variable: types (L,), places (L, C) and cells (L, cells), NaN = not seen."""

    variable: np.ndarray
    place: np.ndarray
    cells: np.ndarray


@dataclass(frozen=True)
class _VariableQueries:
    """The queries of one variable: types (Q,), places (Q, C), requested (Q, cells), guesses (Q, cells, G + D)."""

    variable: np.ndarray
    place: np.ndarray
    requested: np.ndarray
    guesses: np.ndarray


def _seen(variable: Variable, visible: np.ndarray | None) -> np.ndarray:
    return variable.values if visible is None else np.where(visible, variable.values, np.float32(np.nan))


def _cut_guesses(made: Guesses, spec: VariableSpec, layout: Layout, patch: np.ndarray) -> np.ndarray:
    """Return guesses and distances of the cells of these patches, (Q, cells, G + D); NaN = no guess."""
    return np.concatenate([cut_patches(a, spec, layout, np.nan)[patch] for a in (made.values, made.distances)], axis=-1)


def _visible_tokens(
    seen: np.ndarray, spec: VariableSpec, layout: Layout, number: int, place: np.ndarray
) -> _VariableTokens:
    """Return a token for each patch in which at least one cell is seen."""
    return _nonempty(number, place, cut_patches(seen, spec, layout, np.nan))


def _static_tokens(window: WaterCube, layout: Layout, places: WindowPlaces) -> list[_VariableTokens]:
    """Return the tokens of the static fields (one for each patch) and of the site attributes (one for each site)."""
    first_type, grid, sites = layout.first_static_type, (len(window.y), len(window.x)), (len(window.sites),)
    tokens = []
    if layout.static_grid and 0 not in grid:
        fields = [patch_means(f, layout) for f in _static_values(window, layout.static_grid, grid)]
        tokens.append(_nonempty(first_type, places.of_static_patches(), np.stack(fields, axis=1)))
    if layout.static_site and 0 not in sites:
        attributes = _static_values(window, layout.static_site, sites)
        tokens.append(_nonempty(first_type + 1, places.of_sites(), np.stack(attributes, axis=1)))
    return tokens


def _static_values(window: WaterCube, specs: Sequence[VariableSpec], shape: tuple[int, ...]) -> list[np.ndarray]:
    """Return the values of each static variable; NaN for a variable that the window does not hold."""
    unknown = np.full(shape, np.nan, np.float32)
    return [window.variables[s.name].values if s.name in window.variables else unknown for s in specs]


def _nonempty(number: int, place: np.ndarray, cells: np.ndarray) -> _VariableTokens:
    """Return tokens of type `number` for the rows of `cells` that hold a value."""
    keep = ~np.isnan(cells).all(axis=1)
    return _VariableTokens(np.full(int(keep.sum()), number), place[keep], cells[keep])


def _gather_tokens(parts: list[_VariableTokens], layout: Layout) -> Tokens:
    """Join the tokens of all variables, each padded to `layout.token_size` cells."""
    number = sum(len(part.variable) for part in parts)
    values = np.full((number, layout.token_size), np.nan, np.float32)
    row = 0
    for part in parts:
        values[row : row + len(part.variable), : part.cells.shape[1]] = part.cells
        row += len(part.variable)
    valid = ~np.isnan(values)
    return Tokens(
        values=np.where(valid, values, np.float32(0)),
        valid=valid,
        variable=_concatenate([part.variable for part in parts], (), np.int64),
        place=_concatenate([part.place for part in parts], (len(PLACE_FEATURES),), np.float32),
        length=np.array(number, np.int64),
    )


def _gather_queries(parts: list[_VariableQueries], layout: Layout) -> Queries:
    """Join the queries of all variables, each padded to `layout.token_size` cells."""
    number = sum(len(part.variable) for part in parts)
    n_guesses = count_guesses(layout)
    n_distances = len(DISTANCES) if layout.guesses else 0
    requested, row = np.zeros((number, layout.token_size), bool), 0
    features = np.full((number, layout.token_size, n_guesses + n_distances), np.nan, np.float32)
    for part in parts:
        rows = slice(row, row + len(part.variable))
        requested[rows, : part.requested.shape[1]] = part.requested
        if len(part.variable):
            features[rows, : part.requested.shape[1]] = part.guesses
        row = rows.stop
    known = ~np.isnan(features)
    features = np.where(known, features, np.float32(0))
    return Queries(
        variable=_concatenate([part.variable for part in parts], (), np.int64),
        place=_concatenate([part.place for part in parts], (len(PLACE_FEATURES),), np.float32),
        requested=requested,
        guess=features[..., :n_guesses],
        guessed=known[..., :n_guesses],
        distance=features[..., n_guesses:],
        length=np.array(number, np.int64),
    )


def _concatenate(arrays: list[np.ndarray], tail: tuple[int, ...], dtype: type) -> np.ndarray:
    """Concatenate arrays (n, *tail); (0, *tail) if there are none."""
    empty: np.ndarray = np.zeros((0, *tail), dtype)
    return np.concatenate([empty, *arrays]).astype(dtype, copy=False)


def _pad_stack(arrays: list[np.ndarray]) -> np.ndarray:
    """Stack arrays of different lengths, with zeros after the end of the shorter ones."""
    longest = max(len(a) for a in arrays)
    out = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in enumerate(arrays):
        out[row, : len(array)] = array
    return out
