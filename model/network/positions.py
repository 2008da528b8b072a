"""Encoding of place and time: sines and cosines of many wavelengths."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hydrofill.places import NEAR, PLACE_FEATURES

NUM_WAVES = 8
MIN_WAVELENGTH = 2.0  # cells or steps: the shortest wave that a grid can represent
MAX_WAVELENGTH = 512.0  # cells or steps: twice the largest distance in a window
DOMAIN_WAVES = (1.0, 2.0, 4.0)  # half turns over the training grid
Y_X_DOMAIN = slice(3, 5)


class PlaceEncoding(nn.Module):
    """Encodes places (B, L, C), with columns as PLACE_FEATURES, as (B, L, dim).

    Sines and cosines of the distances in a window and of the position on the training grid, with the season and the
    hour, pass through one linear layer. Source: Vaswani et al. 2017, section 3.5, with wavelengths from two cells to
    beyond a window, because coordinates here are real numbers. With `relative`, the position on the training grid is
    left out.
    """

    def __init__(self, dim: int, relative: bool = False) -> None:
        super().__init__()
        self.relative = relative
        self.near_frequency: Tensor
        self.domain_frequency: Tensor
        ratio = (MAX_WAVELENGTH / MIN_WAVELENGTH) ** (1 / (NUM_WAVES - 1))
        waves = 2 * math.pi / (MIN_WAVELENGTH * ratio ** torch.arange(NUM_WAVES))
        self.register_buffer("near_frequency", waves, persistent=False)
        self.register_buffer("domain_frequency", math.pi * torch.tensor(DOMAIN_WAVES) / 2, persistent=False)
        width = 2 * (3 * NUM_WAVES + (0 if relative else 2 * len(DOMAIN_WAVES))) + len(PLACE_FEATURES) - NEAR.stop
        width -= Y_X_DOMAIN.stop - Y_X_DOMAIN.start if relative else 0
        self.proj = nn.Linear(width, dim)

    def forward(self, place: Tensor) -> Tensor:
        near = (place[..., NEAR].unsqueeze(-1) * self.near_frequency).flatten(-2)  # (B, L, 3 * waves)
        if self.relative:
            return self.proj(torch.cat([near.sin(), near.cos(), place[..., Y_X_DOMAIN.stop :]], dim=-1))
        domain = (place[..., Y_X_DOMAIN].unsqueeze(-1) * self.domain_frequency).flatten(-2)
        waves = torch.cat([near, domain], dim=-1)
        return self.proj(torch.cat([waves.sin(), waves.cos(), place[..., NEAR.stop :]], dim=-1))
