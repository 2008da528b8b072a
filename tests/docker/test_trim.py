"""A trimmed environment still loads."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from numba import _helperlib

ROOT = Path(__file__).parents[2]
# Refuses to load the modules below some folders, as if these had been removed.
REFUSE = """
import importlib.abc, sys

class Refused(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if any(name == removed or name.startswith(removed + ".") for removed in {removed}):
            raise ModuleNotFoundError(f"{{name}} was removed", name=name)

sys.meta_path.insert(0, Refused())
"""


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
        "scipy/io/e.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")
    assert trim.trim(tmp_path) == 4 * len("x = 1\n")
    assert [p.name for p in tmp_path.rglob("*.py*")] == ["e.py"]


def test_of_scipy_only_what_reads_classic_netcdf_stays(trim: ModuleType, tmp_path: Path) -> None:
    kept, gone = (
        ("io/a.py", "sparse/b.py", "_lib/c.py", "__init__.py"),
        ("linalg/d.py", "sparse/linalg/e.py", "fft/f.so"),
    )
    for name in (*kept, *gone):
        path = tmp_path / "scipy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "scipy.libs").mkdir()
    trim.trim(tmp_path)
    assert {str(p.relative_to(tmp_path / "scipy")) for p in tmp_path.rglob("*") if p.is_file()} == set(kept)
    assert not (tmp_path / "scipy.libs").exists()


@pytest.mark.slow
def test_every_format_is_filled_without_what_is_removed(trim: ModuleType, tmp_path: Path) -> None:
    packages = Path(_helperlib.__file__).parents[1]
    removed = [".".join(p.relative_to(packages).parts) for p in trim.unused(packages) if p.is_dir()]
    assert {"scipy.linalg", "scipy.special", "scipy.sparse.linalg", "dask.dataframe", "numba.cuda"} <= set(removed)
    (tmp_path / "sitecustomize.py").write_text(REFUSE.format(removed=removed))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-c", (ROOT / "docker" / "inside.py").read_text(), "formats"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("values filled") == 5
    refused = subprocess.run(
        [sys.executable, "-c", "import scipy.linalg"], env=environment, capture_output=True, text=True
    )
    assert "scipy.linalg was removed" in refused.stderr
