"""From a query's answer to the predictive distribution of its cells, and its moments in physical units."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hydrofill.guesses.first_guesses import DISTANCES, GUESSES, INNER_FROM, REGIONS

SURELY_WET = 5.0  # standard deviations above zero: the dry share is 3e-7
TRUST = 4.0  # power of a guess's usual error by which it is trusted less
SURELY_DRY = 5e-3  # of the squared scale: the least spread of a root, below which float32 has no digits of it
NO_GUESS = -1e4  # a logit that leaves no weight, and is finite
ANCHORS = (
    "few_eofs",
    "anomaly",
    "completed_in_time",
    "in_time",
    "mean",
)  # the first that exists is what others differ from
CELL_FEATURES = 2 * len(GUESSES) + len(DISTANCES) + 3
MIN_SCALE = 1e-3  # of a variable's own spread: no cell is known better than that from its neighbours
UNIT_SOFTPLUS = 0.541324854612918  # log(e - 1): softplus of it is 1, so a new network starts at the data's spread
MAGNIFIED = 10.0  # differences of guesses are read through asinh of so many times themselves: small ones count too
LOG_SCALES = (-9.0, 4.0)  # the natural logarithm of a scale, in units of the guesses' usual error, is held to this
ERFC = (  # coefficients of the logarithm of erfc(x) (1 + x / 2) exp(x^2) by powers of 1 / (1 + x / 2)
    *(-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806),
    *(0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277),
)
SQRT_2, SQRT_PI = math.sqrt(2), math.sqrt(math.pi)


class Predictive(NamedTuple):
    """A normal of `loc` and `scale` in the network's space; where `censored`, its square root is what is normal.

    For a censored cell the physical value is y = max(z, 0)^2 with z ~ N(loc, scale): a mass at zero
    (dry) and a skewed tail, all moments closed. Elsewhere y = z. Shapes broadcast to `loc`.
    """

    loc: Tensor
    scale: Tensor
    censored: Tensor

    def mean(self) -> Tensor:
        """E[y], physical units."""
        return torch.where(self.censored, self._censored_moments()[0], self.loc)

    def std(self) -> Tensor:
        """sqrt(Var[y]), physical units."""
        mean, square = self._censored_moments()
        m2, s2 = self.loc.square(), self.scale.square()
        nearly_never_dry = self.loc > SURELY_WET * self.scale  # there the difference of moments would lose its digits
        variance = torch.where(nearly_never_dry, 4 * m2 * s2 + 2 * s2.square(), square - mean.square())
        return torch.where(self.censored, torch.maximum(variance, (SURELY_DRY * s2).square()).sqrt(), self.scale)

    def crps(self, target: Tensor) -> Tensor:
        """Continuous ranked probability score against physical `target`, in the network's space.

        Source: Gneiting and Raftery 2007, eq. 21 (normal); for a normal censored at zero the part of
        the integral of F^2 below zero is taken off (Jordan et al. 2019, scoringRules, appendix A).
        """
        truth = torch.where(self.censored, target.clamp(min=0).sqrt(), target)
        omega = (truth - self.loc) / self.scale
        normal = omega * torch.erf(omega / SQRT_2) + 2 * _density(omega) - 1 / SQRT_PI
        below = torch.where(self.censored, _integral_of_square(-self.loc / self.scale), torch.zeros_like(normal))
        return self.scale * (normal - below)

    def _censored_moments(self) -> tuple[Tensor, Tensor]:
        """E[max(z, 0)^2] and E[max(z, 0)^4] of z ~ N(loc, scale)."""
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
    """An answer (B, Q, D) -> location and scale of every cell, (B, Q, P), as the published decoders do.

    Each variable has its own weights.
    """

    def __init__(self, dim: int, num_variables: int, token_size: int) -> None:
        super().__init__()
        self.num_variables, self.token_size = num_variables, token_size
        self.pred = nn.Linear(dim, num_variables * token_size * 2)

    def forward(self, answer: Tensor, variable: Tensor) -> Standard:
        every = self.pred(answer).unflatten(-1, (self.num_variables, self.token_size * 2))
        index = variable[..., None, None].expand(-1, -1, 1, self.token_size * 2)
        loc, raw = torch.gather(every, 2, index).squeeze(2).unflatten(-1, (self.token_size, 2)).unbind(-1)
        return Standard(loc, F.softplus(raw + UNIT_SOFTPLUS) + MIN_SCALE)


class CellGuesses(NamedTuple):
    """First guesses of a query's cells as the network reads them, (B, Q, P, .), all standard scores.

    `relative` (G) to the `anchor` (1), the best classical guess that exists; `logit` (G) is how far each may be
    trusted before anything is learnt, `error` (1) what to expect then; `features` (F) is all that is known.
    """

    anchor: Tensor
    relative: Tensor
    logit: Tensor
    error: Tensor
    features: Tensor


class GuessPrior(nn.Module):
    """How wrong each guess of each variable usually is: what a network that has learnt nothing weighs them by.

    `error` (V, R, G): root mean squared errors in standard scores on hidden cells of the training data, by region.
    """

    def __init__(self, num_variables: int) -> None:
        super().__init__()
        self.error: Tensor
        self.register_buffer("error", torch.ones(num_variables, len(REGIONS), len(GUESSES)))

    def read(self, scores: Tensor, guessed: Tensor, distance: Tensor, variable: Tensor) -> CellGuesses:
        """Guesses as differences from an anchor, so that a storm far beyond the usual is read as a shower is.

        Args:
            scores: (B, Q, P, G) standard scores, any number where not `guessed`.
            guessed: (B, Q, P, G) bool.
            distance: (B, Q, P, D).
            variable: (B, Q).
        """
        anchor = torch.zeros_like(scores[..., :1])
        for name in reversed(ANCHORS):
            index = GUESSES.index(name)
            anchor = torch.where(guessed[..., index : index + 1], scores[..., index : index + 1], anchor)
        relative = torch.where(guessed, scores - anchor, torch.zeros_like(scores))
        usual = self.error.flatten(0, 1)[variable.unsqueeze(-1) * len(REGIONS) + _regions(distance)]  # (B, Q, P, G)
        logit = -TRUST * torch.log(usual)
        logit = torch.where(guessed, logit, torch.full_like(relative, NO_GUESS))
        weight = logit.softmax(-1)
        middle = (weight * relative).sum(-1, keepdim=True)
        apart = (weight * (relative - middle).square()).sum(-1, keepdim=True)
        error = (weight * usual).sum(-1, keepdim=True)
        known = [torch.asinh(MAGNIFIED * relative), guessed.to(scores.dtype), distance, torch.asinh(anchor)]
        known += [torch.log(apart + MIN_SCALE**2), torch.log(error)]
        return CellGuesses(anchor, relative, logit, error, torch.cat(known, dim=-1))


class GuessHead(nn.Module):
    """An answer (B, Q, D) and the first guesses of its cells -> location and scale of every cell, (B, Q, P).

    The location is a softmax mix of the guesses that exist plus a correction in units of the scale, so that a network
    that has learnt nothing is already an interpolation, and one that is sure of a cell corrects it little.
    """

    def __init__(self, dim: int, token_size: int, hidden_dim: int = 64) -> None:
        super().__init__()
        self.token_size, self.hidden_dim = token_size, hidden_dim
        self.from_query = nn.Linear(dim, token_size * hidden_dim)
        self.from_cell = nn.Linear(CELL_FEATURES, hidden_dim)
        self.between = nn.Linear(hidden_dim, hidden_dim)
        self.out = nn.Linear(hidden_dim, len(GUESSES) + 2)

    def forward(self, answer: Tensor, cells: CellGuesses) -> Standard:
        query = self.from_query(answer).unflatten(-1, (self.token_size, self.hidden_dim))
        hidden = F.gelu(query + self.from_cell(cells.features))
        out = self.out(hidden + F.gelu(self.between(hidden)))  # (B, Q, P, G + 2)
        mix = ((out[..., :-2] + cells.logit).softmax(-1) * cells.relative).sum(-1)
        scale = cells.error.squeeze(-1) * torch.exp(out[..., -1].clamp(*LOG_SCALES)) + MIN_SCALE
        return Standard(cells.anchor.squeeze(-1) + mix + out[..., -2] * scale, scale)


def _regions(distance: Tensor) -> Tensor:
    """As `hydrofill.guesses.first_guesses.regions`: (B, Q, P) indices of cells with these distances (B, Q, P, D)."""
    empty = distance[..., DISTANCES.index("frame_seen")] == 0
    inner = distance[..., DISTANCES.index("cells_in_space")] > INNER_FROM
    return torch.where(empty, torch.full_like(inner, 2, dtype=torch.int64), inner.long())


def _density(u: Tensor) -> Tensor:
    return torch.exp(-0.5 * u.square()) / math.sqrt(2 * math.pi)


def _cumulative(u: Tensor) -> Tensor:
    """The standard normal distribution function, to seven digits of itself in its lower tail as well.

    There 1 + erf(u / sqrt 2) has none left. Source: Press et al. 1992, section 6.2 (Chebyshev fit of erfc).
    """
    x = u.abs() / SQRT_2
    t = 1 / (1 + 0.5 * x)
    polynomial = torch.full_like(t, ERFC[-1])
    for coefficient in reversed(ERFC[:-1]):
        polynomial = polynomial * t + coefficient
    tail = 0.5 * t * torch.exp(polynomial - x * x)
    return torch.where(u < 0, tail, 1 - tail)


def _integral_of_square(u: Tensor) -> Tensor:
    """The integral of the squared standard normal distribution function up to u."""
    phi = _cumulative(u)
    return u * phi.square() + 2 * _density(u) * phi - _cumulative(SQRT_2 * u) / SQRT_PI
