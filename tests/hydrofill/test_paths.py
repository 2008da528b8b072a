"""Files and folders are written completely or not at all, and nothing but files and folders is replaced."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hydrofill import paths
from hydrofill.paths import FileRefusedError, write_text, written_whole


def names_in(folder: Path) -> list[str]:
    """The names in a folder, in order."""
    return sorted(path.name for path in folder.iterdir())


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def _link_to_device(path: Path) -> None:
    path.symlink_to("/dev/null")


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [_fifo, _socket, _link_to_device, _loop, _folder])
def test_what_is_no_regular_file_is_refused_before_anything_is_written(
    make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    target = Path("target")
    make(target)
    before = target.lstat()
    with pytest.raises(FileRefusedError, match=r"target: is .*; it is not replaced"), written_whole(target):
        pytest.fail("something is written")
    assert (target.lstat().st_ino, target.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert names_in(Path()) == ["target"]


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(FileRefusedError, match="is not a folder"), written_whole(tmp_path / "file", folder=True):
        pytest.fail("something is written")


def test_a_link_stays_a_link_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to("elsewhere/target")
    write_text(link, "new")
    assert link.is_symlink() and target.read_text() == "new" and names_in(target.parent) == ["target"]


def test_a_link_to_nothing_yet_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "new"


@pytest.mark.parametrize("mode", [0o400, 0o640, 0o666])
def test_the_mode_of_a_replaced_file_is_kept(mode: int, tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    target.chmod(mode)
    with written_whole(target) as partial:
        partial.write_text("new")
        assert partial.stat().st_mode & 0o077 == 0  # nobody else reads it before it has its mode
    assert target.stat().st_mode & 0o777 == mode and target.read_text() == "new"


def test_a_new_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "file", "new")
    finally:
        os.umask(old)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_takes_the_place_of_a_folder(exchanges: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not exchanges:
        monkeypatch.setattr(paths, "RENAME_EXCHANGE", 1 << 30)  # a flag that no file system knows
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").write_text("old")
    with written_whole(folder, folder=True) as partial:
        partial.mkdir()
        (partial / "new").write_text("new")
        assert (folder / "old").exists()
    assert names_in(tmp_path) == ["folder"] and names_in(folder) == ["new"]


def test_everything_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync = os.fsync

    def traced(opened: int) -> None:
        events.append(Path(f"/proc/self/fd/{opened}").resolve().name)
        fsync(opened)

    rename = Path.replace

    def renamed(path: Path, to: Path) -> Path:
        events.append("rename")
        return rename(path, to)

    monkeypatch.setattr(os, "fsync", traced)
    monkeypatch.setattr(Path, "replace", renamed)
    with written_whole(tmp_path / "store", folder=True) as partial:
        (partial / "inner").mkdir(parents=True)
        (partial / "inner" / "chunk").write_text("values")
        name = partial.name
    assert sorted(events[:-2]) == sorted(["chunk", "inner", name]) and events[-2:] == ["rename", tmp_path.name]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(OSError, match="full"), written_whole(tmp_path / "file") as partial:  # noqa: PT012
        partial.write_text("half")
        raise OSError("full")
    assert (tmp_path / "file").read_text() == "old" and names_in(tmp_path) == ["file"]


WRITER = """
import sys, time
from pathlib import Path
from hydrofill.paths import exit_on_signals, written_whole
exit_on_signals()
with written_whole(Path(sys.argv[1]), folder=True) as partial:
    partial.mkdir()
    (partial / "chunk").write_text("values")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_process_that_is_ended_removes_its_partial_output(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "store")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None and process.stdout.readline() == b"writing\n"
        process.send_signal(number)
        assert process.wait(20) in (128 + number, -number)
    assert not list(tmp_path.iterdir())
