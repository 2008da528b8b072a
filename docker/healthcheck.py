"""Exit code 0 where the server in this container says that it is ready; 1 where it does not."""

from __future__ import annotations

import http.client
import os
import sys

TIMEOUT_S = 4.0


def is_ready(port: int) -> bool:
    """Whether GET /readyz answers 200."""
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
