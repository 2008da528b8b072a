"""`python -m benchmarks`: measures, prints, and writes docs/results/."""

from __future__ import annotations

from pathlib import Path

from benchmarks.harness import machine
from benchmarks.speed import window_rows

RESULTS = Path("docs/results")


def main() -> None:
    """Run every benchmark; each figure is a median within this run."""
    text = f"""# Speed

One window of the shipped bundle. Written by `make bench`; medians of 7 within one run. {machine()}.

{window_rows()}
"""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "speed.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
