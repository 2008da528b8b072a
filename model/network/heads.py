"""Heads: from the decoder's outputs to predictive distributions, with their moments in physical units."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hydrofill.guesses.first_guesses import DISTANCES, GUESSES, INNER_FROM, REGIONS

NEVER_DRY = 5.0  # standard deviations above zero; beyond that the dry share is below 3e-7
ERROR_POWER = 4.0  # a guess is weighted by its usual error to the power of minus this
MIN_STD = 5e-3  # smallest standard deviation of a censored value, in squared scales; float32 resolves no less
NO_GUESS = -1e4  # a finite logit whose weight is zero
# The other guesses enter as differences from the anchor, the first of these guesses that exists.
ANCHORS = ("few_eofs", "anomaly", "completed_in_time", "in_time", "mean")
CELL_FEATURES = 2 * len(GUESSES) + len(DISTANCES) + 3
MIN_SCALE = 1e-3  # smallest scale of a cell, in standard deviations of its variable
UNIT_SOFTPLUS = 0.541324854612918  # log(e - 1), whose softplus is 1: the scale of a new network
MAGNIFICATION = 10.0  # differences of guesses enter as asinh(10 difference), so that small ones count too
LOG_SCALES = (-9.0, 4.0)  # bounds of the natural logarithm of scale / usual error of the guesses
ERFC = (  # coefficients of the logarithm of erfc(x) (1 + x / 2) exp(x^2) by powers of 1 / (1 + x / 2)
    *(-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806),
    *(0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277),
)
SQRT_2, SQRT_PI = math.sqrt(2), math.sqrt(math.pi)


class Predictive(NamedTuple):
    """A normal distribution of `loc` and `scale` in the network's space.

    For a `censored` cell the physical value is y = max(z, 0)^2 with z ~ N(loc, scale), with a mass at zero (dry), a
    skewed tail and moments in closed form. For other cells y = z. Shapes broadcast to `loc`.
    """

    loc: Tensor
    scale: Tensor
    censored: Tensor

    def mean(self) -> Tensor:
        """Return E[y] in physical units."""
        return torch.where(self.censored, self._censored_moments()[0], self.loc)

    def std(self) -> Tensor:
        """Return sqrt(Var[y]) in physical units."""
        mean, square = self._censored_moments()
        m2, s2 = self.loc.square(), self.scale.square()
        nearly_never_dry = self.loc > NEVER_DRY * self.scale  # there the difference of moments loses precision
        variance = torch.where(nearly_never_dry, 4 * m2 * s2 + 2 * s2.square(), square - mean.square())
        return torch.where(self.censored, torch.maximum(variance, (MIN_STD * s2).square()).sqrt(), self.scale)

    def crps(self, target: Tensor) -> Tensor:
        """Return the continuous ranked probability score of physical values `target`, in the network's space.

        Source: Gneiting and Raftery 2007, eq. 21 (normal). For a normal distribution censored at zero, the part of
        the integral of F^2 below zero is subtracted (Jordan et al. 2019, scoringRules, appendix A).
        """
        truth = torch.where(self.censored, target.clamp(min=0).sqrt(), target)
        omega = (truth - self.loc) / self.scale
        normal = omega * torch.erf(omega / SQRT_2) + 2 * _density(omega) - 1 / SQRT_PI
        below = torch.where(self.censored, _integral_of_square(-self.loc / self.scale), torch.zeros_like(normal))
        return self.scale * (normal - below)

    def _censored_moments(self) -> tuple[Tensor, Tensor]:
        """Return E[max(z, 0)^2] and E[max(z, 0)^4] of z ~ N(loc, scale)."""
        m, s = self.loc, self.scale
        u = m / s
        wet, at = _cumulative(u), _density(u)
        m2, s2, ms = m * m, s * s, m * s  # products: powers are far slower in ONNX Runtime
        second = (m2 + s2) * wet + ms * at
        fourth = (m2 * m2 + 6 * m2 * s2 + 3 * s2 * s2) * wet + (m2 + 5 * s2) * ms * at
        return second.clamp(min=0), fourth.clamp(min=0)


class Standard(NamedTuple):
    """Location and scale of every cell as standard scores of its variable, (B, Q, P) each; scale > 0."""

    loc: Tensor
    scale: Tensor


class PatchHead(nn.Module):
    """Location and scale of every cell (B, Q, P) from the decoder's outputs (B, Q, D), as in the published decoders.

    Each variable has its own weights.
    """

    def __init__(self, dim: int, num_variables: int, token_size: int) -> None:
        super().__init__()
        self.num_variables, self.token_size = num_variables, token_size
        self.pred = nn.Linear(dim, num_variables * token_size * 2)

    def forward(self, output: Tensor, variable: Tensor) -> Standard:
        every = self.pred(output).unflatten(-1, (self.num_variables, self.token_size * 2))
        index = variable[..., None, None].expand(-1, -1, 1, self.token_size * 2)
        loc, raw = torch.gather(every, 2, index).squeeze(2).unflatten(-1, (self.token_size, 2)).unbind(-1)
        return Standard(loc, F.softplus(raw + UNIT_SOFTPLUS) + MIN_SCALE)


class CellGuesses(NamedTuple):
    """First guesses of the cells of queries, (B, Q, P, .), in standard scores.

    Attributes:
        anchor: (1) the best classical guess that exists.
        relative: (G) each guess minus the anchor.
        logit: (G) weight of each guess in an untrained network, before the softmax.
        error: (1) error to expect of the guesses with these weights.
        features: (F) everything that is known of the cell.
    """

    anchor: Tensor
    relative: Tensor
    logit: Tensor
    error: Tensor
    features: Tensor


class GuessPrior(nn.Module):
    """The usual error of each first guess, by which an untrained network weights the guesses.

    `error` (V, R, G) holds root mean square errors in standard scores, on hidden cells of the training data, by region.
    """

    def __init__(self, num_variables: int) -> None:
        super().__init__()
        self.error: Tensor
        self.register_buffer("error", torch.ones(num_variables, len(REGIONS), len(GUESSES)))

    def read(self, scores: Tensor, guessed: Tensor, distance: Tensor, variable: Tensor) -> CellGuesses:
        """Return the guesses as differences from an anchor, so that a rare storm is read as an ordinary shower is.

        Args:
            scores: (B, Q, P, G) standard scores; any number where not `guessed`.
            guessed: (B, Q, P, G) bool, which guesses exist.
            distance: (B, Q, P, D) distances to observed cells.
            variable: (B, Q) index of the variable.
        """
        anchor = torch.zeros_like(scores[..., :1])
        for name in reversed(ANCHORS):
            index = GUESSES.index(name)
            anchor = torch.where(guessed[..., index : index + 1], scores[..., index : index + 1], anchor)
        relative = torch.where(guessed, scores - anchor, torch.zeros_like(scores))
        usual = self.error.flatten(0, 1)[variable.unsqueeze(-1) * len(REGIONS) + _regions(distance)]  # (B, Q, P, G)
        logit = -ERROR_POWER * torch.log(usual)
        logit = torch.where(guessed, logit, torch.full_like(relative, NO_GUESS))
        weight = logit.softmax(-1)
        middle = (weight * relative).sum(-1, keepdim=True)
        variance = (weight * (relative - middle).square()).sum(-1, keepdim=True)
        error = (weight * usual).sum(-1, keepdim=True)
        known = [torch.asinh(MAGNIFICATION * relative), guessed.to(scores.dtype), distance, torch.asinh(anchor)]
        known += [torch.log(variance + MIN_SCALE**2), torch.log(error)]
        return CellGuesses(anchor, relative, logit, error, torch.cat(known, dim=-1))


class GuessHead(nn.Module):
    """Location and scale of every cell (B, Q, P) from the decoder's outputs (B, Q, D) and the cells' first guesses.

    The location is a weighted mean (softmax) of the guesses that exist plus a correction in units of the scale. So an
    untrained network is already an interpolation, and a correction is small where the scale is.
    """

    def __init__(self, dim: int, token_size: int, hidden_dim: int = 64) -> None:
        super().__init__()
        self.token_size, self.hidden_dim = token_size, hidden_dim
        self.from_query = nn.Linear(dim, token_size * hidden_dim)
        self.from_cell = nn.Linear(CELL_FEATURES, hidden_dim)
        self.between = nn.Linear(hidden_dim, hidden_dim)
        self.out = nn.Linear(hidden_dim, len(GUESSES) + 2)

    def forward(self, output: Tensor, cells: CellGuesses) -> Standard:
        query = self.from_query(output).unflatten(-1, (self.token_size, self.hidden_dim))
        hidden = F.gelu(query + self.from_cell(cells.features))
        out = self.out(hidden + F.gelu(self.between(hidden)))  # (B, Q, P, G + 2)
        mix = ((out[..., :-2] + cells.logit).softmax(-1) * cells.relative).sum(-1)
        scale = cells.error.squeeze(-1) * torch.exp(out[..., -1].clamp(*LOG_SCALES)) + MIN_SCALE
        return Standard(cells.anchor.squeeze(-1) + mix + out[..., -2] * scale, scale)


def _regions(distance: Tensor) -> Tensor:
    """Return the region of each cell (B, Q, P) from its distances, as `hydrofill.guesses.first_guesses.regions`."""
    empty = distance[..., DISTANCES.index("frame_seen")] == 0
    inner = distance[..., DISTANCES.index("cells_in_space")] > INNER_FROM
    return torch.where(empty, torch.full_like(inner, 2, dtype=torch.int64), inner.long())


def _density(u: Tensor) -> Tensor:
    return torch.exp(-0.5 * u.square()) / math.sqrt(2 * math.pi)


def _cumulative(u: Tensor) -> Tensor:
    """Return the standard normal distribution function, with a relative precision of seven digits in the lower tail.

    There 1 + erf(u / sqrt 2) would lose all digits. Source: Press et al. 1992, section 6.2 (Chebyshev fit of erfc).
    """
    x = u.abs() / SQRT_2
    t = 1 / (1 + 0.5 * x)
    polynomial = torch.full_like(t, ERFC[-1])
    for coefficient in reversed(ERFC[:-1]):
        polynomial = polynomial * t + coefficient
    tail = 0.5 * t * torch.exp(polynomial - x * x)
    return torch.where(u < 0, tail, 1 - tail)


def _integral_of_square(u: Tensor) -> Tensor:
    """Return the integral of the squared standard normal distribution function up to u."""
    phi = _cumulative(u)
    return u * phi.square() + 2 * _density(u) * phi - _cumulative(SQRT_2 * u) / SQRT_PI
