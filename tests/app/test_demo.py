"""The demo's parts: the data that it sends, its server, its figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from app.__main__ import cli
from app.demo import figure
from app.demo import run as demo
from app.demo.run import DemoError
from app.local_server import StartError, local_server
from tests.support.tiny import write_bundle

CLOUD, OUTAGE = 2, 6
FLAGS = {
    "flag_values": np.arange(7, dtype=np.int8),
    "flag_meanings": "observed natural cloud_blob swath square frame outage",
}


def case_and_reply(cloudy: int = 7) -> tuple[xr.Dataset, xr.Dataset]:
    """A case of 30 days whose clouds are on day `cloudy` alone, and a reply that answers the truth, give or take 1."""
    rng = np.random.default_rng(3)
    coordinates = {
        "time": np.datetime64("2012-08-01", "ns") + np.arange(30) * np.timedelta64(1, "D"),
        "y": ("y", np.arange(5) * 1000.0, {"units": "m"}),
        "x": ("x", np.arange(4) * 1000.0, {"units": "m"}),
        "site": np.array(["A", "B"], dtype=object),
    }
    case, reply = xr.Dataset(coords=coordinates), xr.Dataset(coords=coordinates)
    for name, dims, units in (
        ("precipitation", ("time", "y", "x"), "mm day-1"),
        ("pet", ("time", "y", "x"), "mm day-1"),
        ("river_flow", ("time", "site"), "m3 s-1"),
    ):
        truth = rng.gamma(2.0, 2.0, [case.sizes[d] for d in dims])
        gap = np.zeros(truth.shape, np.int8)
        if name == "river_flow":
            gap[10:15, 1] = OUTAGE
        else:
            gap[cloudy, :2] = CLOUD
        case[f"{name}_truth"] = (dims, truth, {"units": units})
        case[f"{name}_gap"] = (dims, gap, FLAGS)
        case[name] = (dims, np.where(gap == 0, truth, np.nan), {"units": units})
        reply[name] = (dims, truth, {"units": units})
        reply[f"{name}_std"] = (dims, np.where(gap == 0, 0.0, 1.0))
        reply[f"{name}_flag"] = (dims, np.where(gap == 0, 0, 1))
    return case, reply


def test_withheld_values_are_never_sent() -> None:
    case, _ = case_and_reply()
    sent = demo.drop_withheld(case)
    assert set(sent.data_vars) == {"precipitation", "pet", "river_flow"}
    assert np.isnan(sent["precipitation"].values[7, 0]).all()


def test_figure_shows_a_day_with_clouds_and_the_gauge_with_the_outage() -> None:
    case, _ = case_and_reply(cloudy=11)
    assert figure.choose_step(case) == 11
    site, span = figure.choose_gauge(case)
    assert site == 1
    assert span.start <= 10
    assert span.stop >= 15


@pytest.mark.slow
def test_figure_is_drawn(tmp_path: Path) -> None:
    case, reply = case_and_reply()
    figure.draw(case, reply, tmp_path / "demo.png")
    content = (tmp_path / "demo.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 20_000


def test_figure_without_hidden_values_is_refused(tmp_path: Path) -> None:
    case, reply = case_and_reply()
    with pytest.raises(figure.NothingToShowError, match="pet"):
        figure.draw(case, reply.drop_vars("pet"), tmp_path / "demo.png")
    case["pet_gap"][:] = 0
    with pytest.raises(figure.NothingToShowError, match="clouds"):
        figure.draw(case, reply, tmp_path / "demo.png")
    case["river_flow_gap"][:] = 0
    with pytest.raises(figure.NothingToShowError, match="river_flow"):
        figure.choose_gauge(case)


@pytest.mark.slow
def test_step_that_fails_ends_the_demo_with_its_exit_code() -> None:
    with pytest.raises(DemoError, match="python -m app paint ended with exit code 2"):
        demo._run("app", "paint")


@pytest.mark.slow
def test_server_that_does_not_start_raises_an_error_with_its_log(tmp_path: Path) -> None:
    write_bundle(tmp_path, decoder=b"no graph")
    log = tmp_path / "demo-server.log"
    with pytest.raises(StartError, match=r"exit code 2; see .*demo-server.log"), local_server(tmp_path, log):
        pass
    assert "no bundle that can be used" in log.read_text()


def test_demo_without_its_bundle_exits_with_1_and_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["demo", "--out", str(tmp_path / "out"), "--bundles", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: there is no bundle at")
