"""The rules of imports, checked in fresh processes: see docs/adr/0007-library.md."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

HTTP = {"fastapi", "starlette", "uvicorn"}
TRAINING = {"torch", "lightning", "onnx", "onnxscript"}
FORBIDDEN = {
    "hydrofill": TRAINING | HTTP | {"app", "model", "export", "benchmarks", "tests"},
    "app": TRAINING | {"model", "export", "benchmarks", "tests"},
    "model": HTTP | {"onnxruntime", "app", "export", "benchmarks", "tests"},
    "export": HTTP | {"app", "benchmarks", "tests"},
}
RUNTIME_FOLDER = "hydrofill.inference"  # the only part of the library that loads onnxruntime

# `onerror` raises: walk_packages otherwise steps over a package that fails to import.
IMPORT_ALL = """
import importlib, json, pkgutil, sys
def fail(name):
    raise
package = importlib.import_module(sys.argv[1])
walked = [package.__name__]
for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".", onerror=fail):
    if len(sys.argv) > 2 and f"{module.name}.".startswith(f"{sys.argv[2]}."):
        continue
    importlib.import_module(module.name)
    walked.append(module.name)
print(json.dumps({"walked": walked, "loaded": sorted(sys.modules)}))
"""


class Imported(NamedTuple):
    """The modules that a fresh process imported of a package, and every module that it then held."""

    walked: set[str]
    loaded: set[str]


def import_all(package: str, root: Path, without: str = "") -> Imported:
    """Import all modules of `package` under `root` in a fresh process, its __main__ included, `without` left out."""
    command = [sys.executable, "-c", IMPORT_ALL, package, *([without] if without else [])]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{package} does not import:\n{done.stderr}"
    seen = json.loads(done.stdout.splitlines()[-1])
    return Imported(set(seen["walked"]), set(seen["loaded"]))


def trespassers(imported: Imported, forbidden: set[str]) -> set[str]:
    """Loaded modules that are one of `forbidden`, or lie below one."""
    return {name for name in imported.loaded if any(f"{name}.".startswith(f"{ban}.") for ban in forbidden)}


def modules_on_disk(package: str, root: Path) -> set[str]:
    """Dotted names of all Python files of `package`, wherever they lie below its folder."""
    folder = root.joinpath(*package.split("."))
    parts = [path.relative_to(root).with_suffix("").parts for path in folder.rglob("*.py")]
    return {".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts}


@pytest.mark.slow
@pytest.mark.parametrize("package", FORBIDDEN)
def test_package_loads_nothing_it_may_not(package: str) -> None:
    imported = import_all(package, ROOT)
    assert imported.walked == modules_on_disk(package, ROOT), "a folder without __init__.py hides modules"
    assert trespassers(imported, FORBIDDEN[package]) == set()


@pytest.mark.slow
def test_only_inference_loads_the_runtime() -> None:
    loaded = import_all("hydrofill", ROOT, without=RUNTIME_FOLDER)
    assert RUNTIME_FOLDER in modules_on_disk("hydrofill", ROOT) - loaded.walked
    assert "hydrofill.api" in loaded.walked
    assert trespassers(loaded, {"onnxruntime"}) == set()
    assert "onnxruntime" in import_all(RUNTIME_FOLDER, ROOT).loaded


@pytest.mark.slow
def test_nothing_outside_tests_imports_tests() -> None:
    assert trespassers(import_all("benchmarks", ROOT, without="benchmarks.support.litserve_app"), {"tests"}) == set()


@pytest.mark.parametrize("statement", ["import banned", "from banned.inner import thing", "import between"])
def test_trespass_is_seen_however_it_is_written(tmp_path: Path, statement: str) -> None:
    for folder in ("house/room", "banned"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "house/__init__.py").touch()
    (tmp_path / "banned/inner.py").write_text("thing = 1\n")
    (tmp_path / "between.py").write_text("import banned\n")
    assert trespassers(import_all("house", tmp_path), {"banned"}) == set()
    (tmp_path / "house/room/__main__.py").write_text(f"{statement}\n")
    assert "banned" in trespassers(import_all("house", tmp_path), {"banned"})


def test_module_that_does_not_import_fails_the_walk(tmp_path: Path) -> None:
    (tmp_path / "house/room").mkdir(parents=True)
    (tmp_path / "house/__init__.py").touch()
    (tmp_path / "house/room/__init__.py").write_text("import nowhere_to_be_found\n")
    with pytest.raises(AssertionError, match="nowhere_to_be_found"):
        import_all("house", tmp_path)


def test_name_that_only_begins_alike_is_no_trespass() -> None:
    assert trespassers(Imported(set(), {"onnxruntime", "models.zoo"}), {"onnx", "model"}) == set()


@pytest.mark.parametrize("package", FORBIDDEN)
def test_linter_bans_what_this_test_bans(package: str) -> None:
    config = tomllib.loads((ROOT / package / "ruff.toml").read_text())
    assert FORBIDDEN[package] <= set(config["lint"]["flake8-tidy-imports"]["banned-api"])
