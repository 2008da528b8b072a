"""A bundle's graphs as the `Predictor` that export.contract.fill asks for: alone, or beside other requests."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnxruntime

from app.control import Control
from app.engine.batches import Answer, Window, run_alone, window_of
from app.engine.meeting import Meeting
from app.engine.sessions import Graphs
from export.contract.tokens import Queries, Tokens


@dataclass
class OnnxPredictor:
    """Counts the seconds spent in each graph, and stops in the midst of one when told to.

    With a `meeting`, the windows go through the graphs there, with those of other requests.
    """

    graphs: Graphs
    control: Control = field(default_factory=Control)
    meeting: Meeting | None = None
    encode_s: float = 0.0
    decode_s: float = 0.0
    beside: list[int] = field(default_factory=list)  # by window, how many went together
    options: onnxruntime.RunOptions = field(default_factory=onnxruntime.RunOptions)

    def __post_init__(self) -> None:
        self.control.on_stop(lambda: setattr(self.options, "terminate", True))

    def __call__(self, tokens: Tokens, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (Q, P) of every query.

        Raises:
            StoppedError: it was told to stop.
        """
        self.control.check()
        try:
            answer = self._answer(window_of(tokens, queries, self.graphs))
        except Exception:  # the runtime's own words for a run that was stopped share no class but this
            self.control.check()
            raise
        self.encode_s += answer.encode_s
        self.decode_s += answer.decode_s
        self.beside.append(answer.beside)
        asked = len(queries.variable)
        return answer.mean[:asked], answer.std[:asked]

    def _answer(self, window: Window) -> Answer:
        if self.meeting is not None:
            return self.meeting.ask(window)
        return run_alone(self.graphs, window, self.options)
