"""Log lines carry the request's id, as text and as JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from starlette.datastructures import Headers

from app.settings import Settings
from app.telemetry import logs
from app.telemetry.redaction import note_secrets
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


def test_traceback_shows_no_values_and_no_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    for log_format in ("text", "json"):
        logs.configure(Settings.model_validate({"log_format": log_format}))
        note_secrets(
            Headers({"Authorization": "Bearer my-own-key", "Cookie": "a=b; session=my-cookie"}), b"api_key=in-query"
        )
        hidden = "a value that is nowhere else"
        try:
            raise ValueError(f"{len(hidden)} my-own-key my-cookie in-query")
        except ValueError:
            logging.getLogger("app.test").exception("failed for my-own-key")
        said = capsys.readouterr().err
        assert "Traceback" in said
        assert "ValueError: 28 [redacted] [redacted] [redacted]" in said
        for word in (hidden, "my-own-key", "my-cookie", "in-query"):
            assert word not in said.replace("ValueError(f", "")


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "\x1b[2Jb", "a\x85b", "a\u2028b", "a\u202eb", "\x00", "\x9b31m"])
def test_text_of_a_client_cannot_begin_a_line_or_control_a_terminal(
    capsys: pytest.CaptureFixture[str], text: str
) -> None:
    logs.configure(Settings())
    logging.getLogger("app.test").warning("got %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("app.test").exception("failed")
    first, *rest = capsys.readouterr().err.splitlines()
    assert "got" in first
    assert text not in first
    assert all(line.startswith("  ") for line in rest[1:])
    assert not any(text.strip() in line for line in rest if "\n" not in text)


def test_log_line_has_a_largest_length(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings())
    logging.getLogger("app.test").warning("got %s", "a" * 10**6)

    def deep(n: int) -> None:
        raise ValueError("\n" * 10**5) if n == 0 else ValueError("b" * 10**6)

    try:
        deep(0)
    except ValueError:
        logging.getLogger("app.test").exception("failed")
    assert len(capsys.readouterr().err) < 20_000


def test_repeated_errors_are_left_out_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings())
    now_s = [0.0]
    handler = logging.getLogger().handlers[0]
    handler.filters = [logs.RepetitionFilter(lambda: now_s[0])]
    logger = logging.getLogger("app.test")
    for n in range(500):
        logger.error("failed for the %s. time, port %d", n, n)
        logger.info("answered %s", n)
    said = capsys.readouterr().err
    assert said.count("failed") == logs.MAX_REPEATS
    assert said.count("answered") == 500
    now_s[0] = logs.WINDOW_S
    logger.info("later")
    said = capsys.readouterr().err
    assert f"left out {500 - logs.MAX_REPEATS} times: failed for the" in said
    logger.error("failed for the %s. time, port %d", 1, 1)
    assert "failed for the 1. time" in capsys.readouterr().err


def test_repetitions_of_very_many_messages_take_bounded_memory() -> None:
    repetitions = logs.RepetitionFilter(lambda: 0.0)
    letters = "abcdefghij"
    for n in range(5000):
        text = "".join(letters[int(digit)] for digit in str(n))
        repetitions.filter(logging.LogRecord("app.test", logging.ERROR, "", 0, text, (), None))
    assert len(repetitions._windows) <= logs.MAX_WINDOWS + 1
