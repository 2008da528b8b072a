"""`python -m export RUN BUNDLE`: a run becomes a bundle, or one clear line and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from export.__main__ import cli
from hydrofill.bundle import Bundle, read_bundle
from model.run_folder import Run

pytestmark = pytest.mark.slow


def test_a_run_becomes_a_bundle(
    run: Run, bundle: tuple[Bundle, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "export.precision_gate.export_graphs", lambda _: (bundle[0].encoder, bundle[0].decoder)
    )  # traced once
    result = CliRunner().invoke(cli, [str(run.folder), str(tmp_path / "mine"), "--version", "2.0.0"])
    assert result.exit_code == 0, result.output
    assert "largest difference from the network" in result.output
    assert read_bundle(tmp_path / "mine").manifest.version == "2.0.0"


@pytest.mark.parametrize(
    ("run_name", "name", "version", "says"),
    [
        ("none", "mine", "1.0.0", "none is not a finished run"),
        ("none", "My Bundle", "1.0.0", "'My Bundle' cannot name a bundle"),
        ("none", "mine", "1", "'1' is not a version"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(
    tmp_path: Path, run_name: str, name: str, version: str, says: str
) -> None:
    result = CliRunner().invoke(cli, [str(tmp_path / run_name), str(tmp_path / name), "--version", version])
    assert result.exit_code == 2
    assert says in result.output
    assert len([line for line in result.output.splitlines() if line.strip()]) == 1
    assert not (tmp_path / name).exists()


def test_a_folder_that_is_no_bundle_is_not_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letters.txt").write_text("dear")
    result = CliRunner().invoke(cli, [str(run.folder), str(tmp_path / "mine")])
    assert result.exit_code == 2 and "is not a bundle" in result.output
    assert (tmp_path / "mine" / "letters.txt").exists()
