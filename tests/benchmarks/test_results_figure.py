"""The picture of docs/results/fill.md shows what the page says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.results_figure import PAGE, SHOWN, Own, draw, read_rows, shown_systems, summary
from benchmarks.support.fill_report import CaseResult, Run, report
from benchmarks.support.fill_systems import TRAINED, TUNED, ZERO_SHOT, chosen_systems

ROOT = Path(__file__).parents[2]


def scored(rmse: float) -> dict[str, Any]:
    kinds = {kind: {"n": 9, "rmse": rmse * more} for kind, more in (("cloud", 1.0), ("frame", 2.0))}
    return {"precipitation": {"kinds": kinds, "observed_changed": 0, "unfilled": 0}}


def page(*systems: str) -> str:
    """Return the page of two cases with known figures, as the benchmark writes it."""
    runs = {
        ZERO_SHOT: [Run(0, {"fill": 1.0}, scored(0.9))],
        TUNED: [Run(s, {"tune": 60.0}, scored(r)) for s, r in ((0, 0.7), (1, 0.9))],
        TRAINED: [Run(0, {"train": 60.0}, scored(1.1))],
    }
    baselines = {
        name: {"seconds": 1.0, "scores": scored(rmse)}
        for name, rmse in (("dineof", 1.0), ("dct_pls", 1.5), ("kriging", 30.0), ("stacked", 0.5))
    }
    listed = {"saits": scored(2.0), "dineof": scored(1.25)}
    chosen = {name: runs[name] for name in systems}
    cases = [CaseResult(name, chosen, baselines, listed) for name in ("lez", "cance", "elsewhere")]
    return report(cases, chosen_systems(",".join(systems), 1.0, 2, None, None), "a machine")


def test_the_figure_reads_what_the_benchmark_writes() -> None:
    rows = read_rows(page(ZERO_SHOT, TUNED, TRAINED))
    assert [(row.case, row.gap) for row in rows] == [(c, g) for c in ("cance", "lez") for g in ("cloud", "frame")]
    first = rows[0]
    assert first.systems == {ZERO_SHOT: Own(0.9, 0.0), TUNED: Own(0.8, 0.14), TRAINED: Own(1.1, 0.0)}
    assert first.best == ("dineof", 1.0)  # the page also lists 1.25, of another implementation
    assert first.ratio(ZERO_SHOT) == pytest.approx(0.9)
    assert rows[1].ratio(TUNED) == pytest.approx(0.8)
    assert "zero-shot: 0.90 (0.90 to 0.90), 4 rows" in summary(rows)


@pytest.mark.parametrize(
    ("systems", "shown"),
    [
        ((ZERO_SHOT, TUNED, TRAINED), [ZERO_SHOT, TUNED]),
        ((ZERO_SHOT, TRAINED), [ZERO_SHOT]),
        ((TRAINED,), [TRAINED]),
    ],
)
def test_zero_shot_is_drawn_first_and_tuned_beside(systems: tuple[str, ...], shown: list[str], tmp_path: Path) -> None:
    rows = read_rows(page(*systems))
    assert shown_systems(rows) == shown
    figure = draw(rows)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert {f"hydrofill, {name}" for name in shown} == {text for text in texts if text.startswith("hydrofill, ")}
    assert f"{rows[0].ratio(shown[-1]):.2f}" in texts
    figure.savefig(tmp_path / "results.png", dpi=50)
    assert (tmp_path / "results.png").stat().st_size > 0


def test_every_row_of_the_repositorys_page_is_drawn(tmp_path: Path) -> None:
    rows = read_rows((ROOT / PAGE).read_text(encoding="utf-8"))
    assert len(rows) == 16
    draw(rows).savefig(tmp_path / "results.png", dpi=50)
    assert (tmp_path / "results.png").stat().st_size > 0


def test_no_existing_method_is_better_than_the_best_existing_method() -> None:
    rows = read_rows((ROOT / PAGE).read_text(encoding="utf-8"))
    ratios = [ratio for row in rows for method in SHOWN if (ratio := row.ratio_of(method)) is not None]
    assert min(ratios) == pytest.approx(1.0)
