"""`python -m benchmarks [NAME] [OPTIONS]`: measure, and write docs/results/NAME.md; by default those of EVERY."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from benchmarks.support.harness import RESULTS

EVERY = ("speed", "model", "server")  # modules whose `main` takes options and returns a page of results
BENCHMARKS = (*EVERY, "archives", "attacks", "device", "fuzz", "guesses", "long_fill")


def main(arguments: Sequence[str]) -> None:
    """Run one benchmark with its options, or those that run by default."""
    named = bool(arguments) and arguments[0] in BENCHMARKS
    if arguments and not named:
        raise SystemExit(f"error: no benchmark is called {arguments[0]!r}; there are {', '.join(BENCHMARKS)}")
    for name in arguments[:1] or EVERY:
        text = importlib.import_module(f"benchmarks.{name}").main(arguments[1:])
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
        print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
