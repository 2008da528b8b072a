"""The picture of docs/results/fill.md shows what the page says."""

from pathlib import Path

import pytest

from benchmarks.results_figure import PAGE, SHOWN, draw, read_rows

ROOT = Path(__file__).parents[2]


def test_every_row_of_the_page_is_drawn(tmp_path: Path) -> None:
    rows = read_rows((ROOT / PAGE).read_text(encoding="utf-8"))
    assert len(rows) == 16
    draw(rows).savefig(tmp_path / "results.png", dpi=50)
    assert (tmp_path / "results.png").stat().st_size > 0


def test_no_existing_method_is_better_than_the_best_existing_method() -> None:
    rows = read_rows((ROOT / PAGE).read_text(encoding="utf-8"))
    ratios = [ratio for row in rows for method in SHOWN if (ratio := row.ratio_of(method)) is not None]
    assert min(ratios) == pytest.approx(1.0)


def test_figures_are_those_of_the_page() -> None:
    rows = {(row.case, row.variable, row.gap): row for row in read_rows((ROOT / PAGE).read_text(encoding="utf-8"))}
    row = rows["lez", "precipitation", "cloud"]
    assert (row.ours, row.std) == (0.05346, 0.00083)
    assert row.best == ("dineof_then_time", 0.03478)
    assert row.others["biharmonic"] == 0.4694  # the page also lists 0.4696, of another implementation
