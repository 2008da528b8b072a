"""The benchmark of gauges: every method sees the same matrices, failures are empty cells, finished runs are kept."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gauges
from benchmarks.gauges import OURS, Score, as_dataset, main, report
from hydrofill.cf.dataset import read_dataset

RUNNER = """
import sys, time
import numpy as np
command, *rest = sys.argv[1:]
if command == "contaminate":
    dataset, steps, target = rest
    truth = np.outer(np.arange(int(steps)), [1.0, 2.0])
    gappy = truth.copy()
    gappy[3:5, 1] = np.nan
    np.savez(target, truth=truth, mcar=gappy, aligned=gappy, scattered=gappy, blackout=gappy)
else:
    algorithm, source, pattern, target = rest
    if algorithm == "Slow":
        time.sleep(30)
    if algorithm == "Broken":
        raise ImportError("no library")
    gappy = np.load(source)[pattern]
    filled = np.where(np.isnan(gappy), np.nan if algorithm == "Empty" else 0.0, gappy)
    np.savez(target, recovered=filled, seconds=0.25)
"""


def test_a_run_scores_every_method_and_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runner.py").write_text(RUNNER)
    monkeypatch.setattr(gauges, "RUNNER", tmp_path / "runner.py")
    monkeypatch.setattr(gauges, "PATTERNS", ("mcar",))
    monkeypatch.setattr(gauges, "ALGORITHMS", ("Zero", "Empty", "Broken", "Slow"))
    monkeypatch.setattr(gauges, "BASELINES", ("linear_in_time",))
    monkeypatch.setattr(gauges, "version_of_imputegap", lambda python: "ImputeGAP 0")
    monkeypatch.setattr(gauges, "fill", lambda dataset, bundle: dataset.fillna(7.0))
    words = [sys.executable, "--bundle", "lez-daily", "--steps", "20", "--limit", "3"]
    words += ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "gauges.md")]
    main(words)
    page = (tmp_path / "gauges.md").read_text(encoding="utf-8")
    assert "| RMSE | temperature mcar | meteo mcar | mean rank |" in page
    assert "| hydrofill, zero-shot | 1 | 1 | 2.0 |" in page  # 7 in place of 6 and 8
    assert "| `linear_in_time` | 0 | 0 | 1.0 |" in page
    assert f"| Zero | {np.sqrt(50):.3g} | {np.sqrt(50):.3g} | 3.0 |" in page
    for name in ("Empty", "Broken", "Slow"):
        assert f"| {name} |  |  | 6.0 |" in page
    monkeypatch.setattr(gauges, "fill", lambda *_, **__: pytest.fail("filled again"))
    monkeypatch.setattr(gauges, "recovered", lambda *_: pytest.fail("recovered again"))
    main(words)
    assert (tmp_path / "gauges.md").read_text(encoding="utf-8") == page


def test_a_matrix_is_a_record_of_gauges_that_can_be_read(rng: np.random.Generator) -> None:
    gappy = rng.normal(size=(30, 3))
    gappy[4:9, 1] = np.nan
    dataset = as_dataset(gappy, np.timedelta64(10, "m"))
    cube = read_dataset(dataset).cube
    np.testing.assert_array_equal(cube.variables["value"].values, gappy.astype(np.float32))
    assert len(cube.sites) == 3
    assert set(np.diff(cube.time)) == {np.timedelta64(10, "m")}


def test_ours_is_compared_with_the_best_of_all_others() -> None:
    scores = {"a mcar": {OURS: Score(1.0, 1.0), "x": Score(2.0, 1.0), "y": Score(4.0, 1.0)}}
    assert f"| {OURS}, over the best of the others | 0.50 |  |" in report(scores, 10, 5.0, "a machine")
