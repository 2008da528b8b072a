"""Schemathesis against a real server: no 5xx but the documented ones, no undeclared status, no schema violation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.servers import serving

EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "12"))  # of each operation; more in a longer run
TIMEOUT_S = float(os.environ.get("SCHEMATHESIS_TIMEOUT_S", "540"))
SEED = 20260101
# Left out: what is refused for its form is so by more than its schema (`positive_data_acceptance`: units, shapes, times
# that fit each other), and binary bodies are any bytes to a schema (`negative_data_rejection` takes them for wrong).
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,unsupported_method"
)


@pytest.mark.slow
def test_every_operation_keeps_to_its_schema(bundles: Path, tmp_path: Path) -> None:
    with serving(bundles, tmp_path) as served:
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{served.address}/openapi.json"),
            *("--checks", CHECKS, "--seed", str(SEED), "--max-examples", str(EXAMPLES)),
            *("--phases", "examples,coverage,fuzzing", "--mode", "all", "--no-color"),
            "--generation-database=none",
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        log = served.log.read_text()
        assert "Traceback" not in log
        assert served.process.poll() is None
