"""Logging set-up: every line carries the request's id, holds no credential, and is written as text or as JSON."""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from structlog.typing import EventDict, Processor

from app.settings import Settings
from app.telemetry.redaction import printable, redact
from app.telemetry.request_id import current_request_id

MAX_EVENT, MAX_TRACEBACK_LINE, MAX_TRACEBACK_LINES = 2000, 500, 200  # characters, characters, lines
MAX_REPEATS, WINDOW_S = 10, 60.0
MAX_WINDOWS = 1000  # different messages whose repetitions are counted


def configure(settings: Settings) -> None:
    """Send all log lines to standard error, at the level and in the format of `settings`."""
    text = settings.log_format == "text"
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request_id,
        structlog.processors.format_exc_info,
        _clean_text if text else _clean,
    ]
    renderer: Processor = structlog.processors.JSONRenderer()
    if text:
        plain = structlog.dev.plain_traceback  # others show the values of variables, and take seconds
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(RepetitionFilter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a line that cannot be written is lost, rather than shown with its arguments
    for noisy in ("h5py", "httpx", "httpcore", "asyncio", "matplotlib"):
        logging.getLogger(noisy).setLevel(max(root.level, logging.WARNING))


@dataclass
class _Window:
    """When a message was first written, and how often it has come since then; where, how serious and what it is."""

    since_s: float
    logger: str
    level: int
    text: str
    count: int = 1


class RepetitionFilter(logging.Filter):
    """Lets a warning or error pass MAX_REPEATS times in WINDOW_S, then says how many were left out.

    Messages are the same if level, logger, text before its arguments, and type of exception are.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now_s = now_s
        self._windows: dict[tuple[object, ...], _Window] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write the record."""
        now_s = self._now_s()
        with self._lock:
            passes = record.levelno < logging.WARNING or self._count(record, now_s)
            ended = self._end_windows(now_s)
        for window in ended:
            left_out = window.count - MAX_REPEATS
            if left_out > 0:
                logging.getLogger(window.logger).log(window.level, "left out %s times: %s", left_out, window.text)
        return passes

    def _count(self, record: logging.LogRecord, now_s: float) -> bool:
        kind = record.exc_info[0] if record.exc_info else None
        text = redact(str(record.msg)[:200])  # now, while the credentials of this request are known
        key = (record.name, record.levelno, re.sub(r"\d+", "#", text), kind)
        window = self._windows.get(key)
        if window is None or now_s - window.since_s >= WINDOW_S:
            if window is not None:  # ended: report it, under a key of its own
                self._windows[(*key, window.since_s)] = window
            self._windows[key] = _Window(now_s, record.name, record.levelno, text)
            return True
        window.count += 1
        return window.count <= MAX_REPEATS

    def _end_windows(self, now_s: float) -> list[_Window]:
        """Remove and return the windows whose time is over, or all where they are too many."""
        everything = len(self._windows) > MAX_WINDOWS
        ended = {k: w for k, w in self._windows.items() if everything or now_s - w.since_s >= WINDOW_S}
        for key in ended:
            del self._windows[key]
        return list(ended.values())


def _add_request_id(_: object, __: str, event: EventDict) -> EventDict:
    if request_id := current_request_id():
        event["request_id"] = request_id
    return event


def _clean(_: object, __: str, event: EventDict) -> EventDict:
    """Remove credentials, control characters and excess length."""
    event["event"] = printable(redact(str(event["event"])), MAX_EVENT)
    if "exception" in event:
        lines = redact(event["exception"]).split("\n")
        if len(lines) > MAX_TRACEBACK_LINES:
            lines[MAX_TRACEBACK_LINES // 2 : -MAX_TRACEBACK_LINES // 2] = ["..."]
        event["exception"] = "\n".join(printable(line, MAX_TRACEBACK_LINE) for line in lines)
    return event


def _clean_text(logger: object, name: str, event: EventDict) -> EventDict:
    """Clean a line of text, and indent what follows it: no line of a traceback may pass for a line of the log."""
    event = _clean(logger, name, event)
    if "exception" in event:
        event["exception"] = "  " + event["exception"].replace("\n", "\n  ")
    return event
