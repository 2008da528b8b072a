"""Settings come from the environment; unknown names and impossible values are refused."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import pytest

from app.settings import Settings, SettingsError, check_address, read_settings
from hydrofill import __version__
from hydrofill.cores import usable_cores


def test_defaults_bind_loopback() -> None:
    settings = read_settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.bundles == Path("bundles")
    assert settings.max_body_bytes == 64 * 2**20
    assert settings.max_decoded_bytes == 512 * 2**20


def test_environment_is_read_and_options_take_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDROFILL_PORT", "9000")
    monkeypatch.setenv("HYDROFILL_HOST", "::1")
    settings = read_settings(port=9001, host=None)
    assert (settings.host, settings.port) == ("::1", 9001)


def test_unknown_setting_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDROFILL_PORTS", "9000")
    with pytest.raises(SettingsError, match=r"unknown setting HYDROFILL_PORTS; known settings are .*HYDROFILL_PORT"):
        read_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "70000"),
        ("PORT", "http"),
        ("PROVIDER", "tpu"),
        ("THREADS", "0"),
        ("MAX_BODY_BYTES", "-1"),
        ("LOG_LEVEL", "x"),
    ],
)
def test_impossible_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"HYDROFILL_{name}", value)
    with pytest.raises(SettingsError, match=f"HYDROFILL_{name}: .*{value}"):
        read_settings()


def test_threads_are_the_cores_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert read_settings().graph_threads == 3
    assert read_settings(threads=1).graph_threads == 1
    monkeypatch.delattr(os, "sched_getaffinity")
    assert read_settings().graph_threads == os.cpu_count()


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "max 100000"}, 3),
        ({"cpu.max": "900000 100000"}, 3),
        ({"cpu.max": "10000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({}, 3),
    ],
)
def test_control_group_limits_the_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert usable_cores(tmp_path) == cores


def test_printed_settings_can_be_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read_settings(port=9002, threads=3)
    for line in (line for line in settings.lines().splitlines() if not line.startswith("#")):
        monkeypatch.setenv(*line.split("=", 1))
    assert read_settings() == settings


def test_version_is_that_of_the_project() -> None:
    assert importlib.metadata.version("hydrofill") == __version__


def test_every_setting_is_printed_with_its_description() -> None:
    lines = read_settings().lines().splitlines()
    assert "# HYDROFILL_KEYS_FILE=" in lines
    for name, field in Settings.model_fields.items():
        at = next(n for n, line in enumerate(lines) if line.removeprefix("# ").startswith(f"HYDROFILL_{name.upper()}="))
        assert lines[at - 1] == f"# {field.description}"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    check_address(read_settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_open_address_needs_keys_or_an_explicit_setting(host: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"open to other machines: set HYDROFILL_KEYS_FILE"):
        check_address(read_settings(host=host))
    check_address(read_settings(host=host, keys_file=tmp_path / "keys"))
    check_address(read_settings(host=host, open_to_network=True))
