"""Predictive distributions of a general network, which is told with each record how wrong each first guess is."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hydrofill.general.guesses import GENERAL_GUESSES, STACKED
from hydrofill.guesses.first_guesses import DISTANCES, INNER_FROM, MAX_DISTANCE
from hydrofill.guesses.stacking import STEPS_OF_CLASSES
from model.network.context import ContextTensors, of_type
from model.network.heads import LOG_SCALES, MIN_SCALE, NO_GUESS, CellGuesses, Standard

NUM_GUESSES = len(GENERAL_GUESSES)
GENERAL_CELL_FEATURES = 3 * STACKED + len(DISTANCES) + 5
GENERAL_ERROR_POWER = 8.0  # a guess is weighted by its measured error to the power of minus this
STACKED_LOGIT = 2.0  # by which a new network prefers the stacked guess to another guess of the same error
MAX_LOG_ERROR = 5.0  # bound of the logarithm of a guess's error over that of the stacked guess


class GeneralPrior(nn.Module):
    """Reads first guesses by the errors that were measured on the record at hand; has no weights of its own."""

    def read(
        self, scores: Tensor, guessed: Tensor, distance: Tensor, variable: Tensor, context: ContextTensors
    ) -> CellGuesses:
        """Return the guesses as differences from the stacked guess.

        Args:
            scores: (B, Q, P, G) standard scores; any number where not `guessed`.
            guessed: (B, Q, P, G) bool, which guesses exist.
            distance: (B, Q, P, D) distances to observed cells.
            variable: (B, Q) index of the variable.
            context: of each sample's record.
        """
        zero = torch.zeros_like(scores)
        anchor = torch.where(guessed, scores, zero)[..., STACKED:]
        relative = torch.where(guessed, scores - anchor, zero)
        usual = guess_errors(distance, variable, context)
        own = usual[..., STACKED:]
        log_error = (torch.log(usual) - torch.log(own)).clamp(-MAX_LOG_ERROR, MAX_LOG_ERROR)
        logit = -GENERAL_ERROR_POWER * log_error
        logit = torch.cat([logit[..., :STACKED], logit[..., STACKED:] + STACKED_LOGIT], dim=-1)
        logit = torch.where(guessed, logit, torch.full_like(logit, NO_GUESS))
        weight = logit.softmax(-1)
        middle = (weight * relative).sum(-1, keepdim=True)
        variance = (weight * (relative - middle).square()).sum(-1, keepdim=True)
        in_errors = relative / own
        floor = self._above_floor(anchor, own, variable, context)
        known = [torch.asinh(in_errors[..., :STACKED]), guessed[..., :STACKED].to(scores.dtype)]
        known += [torch.where(guessed, log_error, zero)[..., :STACKED], distance, torch.log(own), torch.asinh(anchor)]
        known += [0.5 * torch.log(variance / own.square() + MIN_SCALE**2), middle / own, floor]
        return CellGuesses(anchor, relative, logit, own, torch.cat(known, dim=-1))

    def _above_floor(self, anchor: Tensor, own: Tensor, variable: Tensor, context: ContextTensors) -> Tensor:
        """Return how many errors the stacked guess is above zero, from 0 to 5; 5 for variables without square roots."""
        center, std = (of_type(table, variable)[..., :1].unsqueeze(-1) for table in (context.center, context.std))
        root = of_type(context.square_root, variable).unsqueeze(-1).unsqueeze(-1)
        above = ((anchor + center / std) / own).clamp(0, 5)
        return torch.where(root, above, torch.full_like(above, 5.0))


class GeneralHead(nn.Module):
    """Location and scale of every cell (B, Q, P) from the decoder's outputs (B, Q, D) and the cells' first guesses.

    The location is the stacked guess, plus a weighted mean of the differences of the other guesses from it, plus a
    correction in units of the scale. The scale is the measured error of the stacked guess times a factor. So a new
    network gives what was measured on the record.
    """

    def __init__(self, dim: int, token_size: int, hidden_dim: int = 64) -> None:
        super().__init__()
        self.token_size, self.hidden_dim = token_size, hidden_dim
        self.from_query = nn.Linear(dim, token_size * hidden_dim)
        self.from_cell = nn.Linear(GENERAL_CELL_FEATURES, hidden_dim)
        self.between = nn.Linear(hidden_dim, hidden_dim)
        self.out = nn.Linear(hidden_dim, NUM_GUESSES + 2)

    def forward(self, output: Tensor, cells: CellGuesses) -> Standard:
        query = self.from_query(output).unflatten(-1, (self.token_size, self.hidden_dim))
        hidden = F.gelu(query + self.from_cell(cells.features))
        out = self.out(hidden + F.gelu(self.between(hidden)))  # (B, Q, P, G + 2)
        mix = ((out[..., :-2] + cells.logit).softmax(-1) * cells.relative).sum(-1)
        scale = cells.error.squeeze(-1) * torch.exp(out[..., -1].clamp(*LOG_SCALES)) + MIN_SCALE * 0.1
        return Standard(cells.anchor.squeeze(-1) + mix + out[..., -2] * scale, scale)


def guess_errors(distance: Tensor, variable: Tensor, context: ContextTensors) -> Tensor:
    """Return the measured error of each guess at every cell, (B, Q, P, G), in standard scores."""
    by_class = of_type(context.error, variable)  # (B, Q, R, G)
    return by_class.gather(2, _error_class(distance).unsqueeze(-1).expand(-1, -1, -1, NUM_GUESSES))


def _error_class(distance: Tensor) -> Tensor:
    """Return the class of error of each cell (B, Q, P), as `hydrofill.guesses.stacking.error_classes`."""
    column = {name: distance[..., number] for number, name in enumerate(DISTANCES)}
    in_time = torch.minimum(column["steps_before"], column["steps_after"])
    number = torch.zeros_like(in_time, dtype=torch.int64)
    for bound in STEPS_OF_CLASSES:
        number = number + (in_time >= (bound / MAX_DISTANCE) ** 0.5).long()
    inner = (column["cells_in_space"] > INNER_FROM).long()
    region = torch.where(column["frame_seen"] == 0, torch.full_like(inner, 2), inner)
    return region * (len(STEPS_OF_CLASSES) + 1) + number
