"""The memory of requests follows the machine, its control group and the settings."""

from __future__ import annotations

from pathlib import Path

from app.engine.memory import request_memory, usable_memory
from app.settings import Settings

GIB = 2**30


def test_memory_is_that_of_the_control_group_if_it_is_less(tmp_path: Path) -> None:
    machine = usable_memory(tmp_path)
    assert machine > 0
    (tmp_path / "memory.max").write_text("max\n")
    assert usable_memory(tmp_path) == machine
    (tmp_path / "memory.max").write_text("1048576\n")
    assert usable_memory(tmp_path) == 1048576
    (tmp_path / "memory.max").unlink()
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("2097152\n")
    assert usable_memory(tmp_path) == 2097152


def test_requests_get_what_the_process_and_its_readers_leave_and_a_quarter_at_least() -> None:
    plenty = Settings(memory_bytes=16 * GIB, parsers=2, parser_memory_bytes=2 * GIB)
    assert 11 * GIB < request_memory(plenty) < 12 * GIB
    assert request_memory(plenty.model_copy(update={"memory_bytes": 2 * GIB})) == GIB // 2
