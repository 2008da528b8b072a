"""`python -m benchmarks [name]`: measures, prints, and writes docs/results/; without a name, all of them in turn."""

from __future__ import annotations

import importlib
import sys

BENCHMARKS = {"speed": "benchmarks.speed", "model": "benchmarks.model"}


def main(arguments: list[str]) -> int:
    """Run the benchmark that is named, with the rest of the arguments, or every one; each is a module with `main`."""
    if arguments and arguments[0] not in BENCHMARKS:
        print(f"no benchmark is called {arguments[0]!r}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    for name in arguments[:1] or BENCHMARKS:
        importlib.import_module(BENCHMARKS[name]).main(arguments[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
