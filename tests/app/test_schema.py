"""Schemathesis against a real server: only documented statuses, and no violation of a schema."""

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
# Two checks are left out. `positive_data_acceptance`: a request that matches the schema may still be refused, for its
# units, shapes or times. `negative_data_rejection`: a schema cannot describe the binary bodies.
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
