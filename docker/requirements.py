"""Prints the packages that an image needs for an extra of pyproject.toml: `serve` (CPU) or `gpu`.

The two runtimes overwrite each other's files: the list for `gpu` has onnxruntime-gpu in place of onnxruntime.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def requirements(pyproject: Path, extra: str) -> list[str]:
    """Return the requirements of the package with `extra`, without the package itself."""
    project = tomllib.loads(pyproject.read_text())["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["serve"]]
    if extra == "serve":
        return needed
    if extra != "gpu":
        raise SystemExit(f"unknown extra {extra!r}: expected serve or gpu")
    runtime = [line for line in extras["gpu"] if line.startswith("onnxruntime-gpu")]
    return [line for line in needed if not line.startswith("onnxruntime")] + runtime


if __name__ == "__main__":
    print("\n".join(requirements(Path(sys.argv[1]), sys.argv[2])))
