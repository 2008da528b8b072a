"""A trimmed environment still loads."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from numba import _helperlib

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trim() -> ModuleType:
    spec = importlib.util.spec_from_file_location("trim", ROOT / "docker" / "trim.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_library_without_symbol_tables_is_smaller_and_still_loads(trim: ModuleType, tmp_path: Path) -> None:
    copy = tmp_path / "copy.so"
    shutil.copy(_helperlib.__file__, copy)
    before = copy.stat().st_size
    trim.drop_symbols(copy)
    assert copy.stat().st_size < before
    assert ctypes.PyDLL(str(copy)).PyInit__helperlib is not None


def test_other_files_stay_as_they_are(trim: ModuleType, tmp_path: Path) -> None:
    for content in (b"", b"text", b"\x7fELF\x01\x01" + bytes(60)):
        path = tmp_path / "library.so"
        path.write_bytes(content)
        trim.drop_symbols(path)
        assert path.read_bytes() == content


def test_tests_stubs_and_unused_parts_are_removed(trim: ModuleType, tmp_path: Path) -> None:
    for name in (
        "scipy/stats/a.py",
        "scipy/linalg/tests/b.py",
        "numba/core/c.pyi",
        "numba/cuda/d.py",
        "scipy/linalg/e.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")
    assert trim.trim(tmp_path) == 4 * len("x = 1\n")
    assert [p.name for p in tmp_path.rglob("*.py*")] == ["e.py"]
