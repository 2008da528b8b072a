"""The committed app/page/dist is built from the sources under frontend/."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest
import xarray as xr

ROOT = Path(__file__).parents[2]
FRONTEND, DIST = ROOT / "frontend", ROOT / "app" / "page" / "dist"
SOURCES = ("index.html", "package-lock.json", "package.json", "public", "src", "tsconfig.json", "vite.config.mjs")


def test_built_page_matches_its_sources() -> None:
    """Every build writes this digest (frontend/vite.config.mjs). If it differs, run `make page`."""
    files = [f for s in SOURCES for f in ([FRONTEND / s] if (FRONTEND / s).is_file() else (FRONTEND / s).rglob("*"))]
    names = sorted(f.relative_to(FRONTEND).as_posix() for f in files if f.is_file())
    lines = [f"{hashlib.sha256((FRONTEND / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert (DIST / "sources.sha256").read_text().strip() == digest


def test_building_again_makes_the_same_files(tmp_path: Path) -> None:
    if shutil.which("node") is None or not (FRONTEND / "node_modules").is_dir():
        pytest.skip("no node, or no frontend/node_modules: make page")
    vite = FRONTEND / "node_modules" / "vite" / "bin" / "vite.js"
    subprocess.run(
        ["node", vite, "build", "--outDir", tmp_path], check=True, cwd=FRONTEND, capture_output=True, timeout=180
    )
    for name in ("index.html", "page/page.js", "page/page.css", "page/sample.nc", "page/icon.svg"):
        assert (tmp_path / name).read_bytes() == (DIST / name).read_bytes()


def test_page_has_nothing_inline_and_nothing_from_other_hosts() -> None:
    html = (DIST / "index.html").read_text()
    assert "style=" not in html
    assert "<script>" not in html
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "https://" not in html


def test_sample_is_what_its_script_makes_and_is_small() -> None:
    spec = importlib.util.spec_from_file_location("sample", FRONTEND / "sample.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with xr.open_dataset(DIST / "page" / "sample.nc", engine="h5netcdf") as committed:
        made = module.make_sample()
        xr.testing.assert_allclose(committed.load(), made, rtol=1e-5)
        assert "no measurement" in committed.attrs["source"]
    assert (DIST / "page" / "sample.nc").stat().st_size < 300_000


def test_the_lock_file_names_no_registry() -> None:
    assert '"resolved"' not in (FRONTEND / "package-lock.json").read_text()
