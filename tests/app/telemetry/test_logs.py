"""Log lines carry the request's id, as text and as JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from app.settings import Settings
from app.telemetry import logs
from app.telemetry.request_id import set_request_id


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    logging.captureWarnings(False)


def test_json_line_has_level_logger_message_and_request_id(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_format="json"))
    set_request_id("mine")
    logging.getLogger("app.test").info("filled %s", "rain")
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["logger"], line["event"]) == ("info", "app.test", "filled rain")
    assert line["request_id"] == "mine"
    assert line["timestamp"].endswith("Z")


def test_text_line_holds_the_same_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings())
    set_request_id("mine")
    logging.getLogger("app.test").warning("filled")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    for word in ("warning", "filled", "app.test", "mine"):
        assert word in said


def test_lower_levels_are_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_level="error"))
    logging.getLogger("app.test").warning("filled")
    assert capsys.readouterr().err == ""


def test_error_is_logged_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_format="json"))
    try:
        raise ValueError("lost")
    except ValueError:
        logging.getLogger("app.test").exception("request failed")
    assert "ValueError: lost" in json.loads(capsys.readouterr().err)["exception"]
