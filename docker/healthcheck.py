"""Health check of the container: exit code 0 if the server is ready, else 1."""

from __future__ import annotations

import http.client
import os
import sys

TIMEOUT_S = 4.0


def is_ready(port: int) -> bool:
    """Return whether GET /readyz answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not is_ready(int(os.environ.get("HYDROFILL_PORT", "8000"))))
