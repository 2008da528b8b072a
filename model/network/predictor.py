"""A trained network as the predictor that `reconstruct` calls."""

from __future__ import annotations

import numpy as np
import torch

from hydrofill.tokens import Queries, Tokens, stack_queries, stack_tokens
from model.network.mae import CrossMAE


class TorchPredictor:
    """Predicts one window at a time: mean and standard deviation (Q, P) of the cells of all queries, physical units."""

    def __init__(self, network: CrossMAE) -> None:
        self.network = network.eval()

    @torch.inference_mode()
    def __call__(self, tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        predicted = self.network(stack_tokens([tokens]), stack_queries([queries]))
        return predicted.mean()[0].cpu().numpy(), predicted.std()[0].cpu().numpy()
