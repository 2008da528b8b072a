"""The same two graphs behind LitServe, for comparison: `python -m benchmarks.support.litserve_app PORT`.

It needs the extra litserve. LitServe takes JSON, so the npz is sent as base64. Reading, filling and writing are
hydrofill's own.
"""

from __future__ import annotations

import base64
import io
import sys
from typing import Any

import litserve
import numpy as np

from benchmarks.support.bodies import NPZ, Body, engine_alone, open_model


class Fill(litserve.LitAPI):  # type: ignore[misc, unused-ignore]
    """Fills one request at a time."""

    def setup(self, device: str) -> None:  # noqa: ARG002 (as LitServe calls it)
        """Open the bundle."""
        self.model = open_model()

    def decode_request(self, request: dict[str, str], **_: Any) -> Body:
        """Return the npz of a request."""
        return Body(NPZ, base64.b64decode(request["npz"]))

    def predict(self, x: Body, **_: Any) -> dict[str, np.ndarray]:
        """Return the filled variables."""
        return engine_alone(self.model, x)

    def encode_response(self, output: dict[str, np.ndarray], **_: Any) -> dict[str, str]:
        """Return the npz of a reply as base64."""
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **output)
        return {"npz": base64.b64encode(content.getvalue()).decode()}


if __name__ == "__main__":
    server = litserve.LitServer(Fill(), accelerator="cpu", devices=1, workers_per_device=1, timeout=300)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="error"
    )
