"""Keep what was filled until the output is written: a folder with one file for each block, and a journal.

The journal has a line for each block that is complete, with the sha256 of the block's file and of the plan. A block
without such a line, or whose file has changed, is filled again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hydrofill.blocks import Block, Box
from hydrofill.cube import WaterCube
from hydrofill.paths import write_text, written_whole
from hydrofill.pieces import Piece, make_piece
from hydrofill.reconstruct import FLAG_MEANINGS
from hydrofill.survey import SurveyedVariable

PLAN, SURVEY, JOURNAL = "plan.json", "survey.npz", "journal.jsonl"


@dataclass(frozen=True)
class DoneBlock:
    """A line of the journal.

    number: of the block. plan, sha256: sha256 of the plan and of the block's file. counts: by variable, number of the
    tile's cells with each flag.
    """

    number: int
    plan: str
    sha256: str
    counts: Mapping[str, Sequence[int]]

    def to_json(self) -> str:
        """Return the line."""
        return json.dumps(self.__dict__) + "\n"


@dataclass(frozen=True)
class Parts:
    """A folder with the blocks that are filled. plan: the text of the plan that the folder belongs to."""

    folder: Path
    plan: str

    @property
    def plan_sha256(self) -> str:
        """The sha256 of the plan."""
        return hashlib.sha256(self.plan.encode()).hexdigest()

    def start(self) -> None:
        """Make the folder, and keep the plan."""
        self.folder.mkdir(exist_ok=True)
        write_text(self.folder / PLAN, self.plan)

    def within(self, name: str) -> Parts:
        """Return the folder of this name within the folder, for a part of the fill."""
        inner = Parts(self.folder / name, self.plan)
        inner.folder.mkdir(exist_ok=True)
        return inner

    def save_survey(self, variables: Mapping[str, SurveyedVariable]) -> None:
        """Keep what a survey found."""
        arrays = {}
        for number, (name, variable) in enumerate(variables.items()):
            arrays[f"{number}_name"] = np.array(name)
            arrays |= {f"{number}_{key}": getattr(variable, key) for key in ("sums", "ends", "inside")}
            arrays |= {} if variable.span is None else {f"{number}_span": variable.span}
        with written_whole(self.folder / SURVEY) as partial, partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    def read_survey(self) -> dict[str, SurveyedVariable] | None:
        """Return what was found by the survey; None if the survey was not complete."""
        try:
            with np.load(self.folder / SURVEY, allow_pickle=False) as arrays:
                kept = dict(arrays)
        except (OSError, ValueError, EOFError):
            return None
        numbers = range(sum(key.endswith("_name") for key in kept))
        return {
            str(kept[f"{n}_name"]): SurveyedVariable(
                kept[f"{n}_sums"], kept[f"{n}_ends"], kept[f"{n}_inside"], span=kept.get(f"{n}_span")
            )
            for n in numbers
        }

    def save_block(self, block: Block, pieces: Mapping[str, Piece], axes: WaterCube) -> DoneBlock:
        """Write the pieces of one block of a record with these axes."""
        path = self._path(block.number)
        path.parent.mkdir(exist_ok=True)
        counts = {}
        with written_whole(path) as partial, partial.open("wb") as file:
            for name, piece in pieces.items():
                for array in (np.array(name), piece.flag, piece.mean, piece.std, piece.ends):
                    np.save(file, array, allow_pickle=False)
                counts[name] = _counts(block, piece, axes)
        return DoneBlock(block.number, self.plan_sha256, _sha256(path), counts)

    def record(self, done: DoneBlock) -> None:
        """Add a block to the journal."""
        with (self.folder / JOURNAL).open("a", encoding="utf-8") as file:
            file.write(done.to_json())
            file.flush()
            os.fsync(file.fileno())

    def done_blocks(self) -> dict[int, DoneBlock]:
        """Return the blocks that are complete, by number; their files are read and compared with the journal."""
        try:
            lines = (self.folder / JOURNAL).read_text(encoding="utf-8").splitlines()
        except OSError:
            return {}
        found = {}
        for line in lines:
            try:
                done = DoneBlock(**json.loads(line))
            except (ValueError, TypeError):  # the line that was being written when the fill was ended
                continue
            path = self._path(done.number)
            if done.plan == self.plan_sha256 and path.is_file() and _sha256(path) == done.sha256:
                found[done.number] = done
        return found

    def pieces(self, name: str, blocks: Sequence[Block], box: Box, axes: WaterCube, of_sites: bool) -> Iterator[Piece]:
        """Yield the pieces of a variable that overlap a box, in the order of the blocks; values are read when used.

        Args:
            name: the variable.
            blocks: all blocks.
            box: a part of the record.
            axes: the axes of the record.
            of_sites: whether the variable is a series; pieces then overlap wherever their steps do.
        """
        for block in blocks:
            near = block.core.time.start < box.time.stop and box.time.start < block.core.time.stop
            if near and (of_sites or block.core.overlaps(box)):
                yield from (
                    make_piece(block, axes, *arrays) for of, *arrays in _arrays(self._path(block.number)) if of == name
                )

    def extremes(self, name: str, blocks: Sequence[Block]) -> tuple[float, float]:
        """Return the lowest and the highest mean that a variable was filled with; NaN if none was."""
        lowest, highest = np.inf, -np.inf
        for block in blocks:
            for of, _, mean, *_ in _arrays(self._path(block.number)):
                if of == name and mean.size:
                    lowest, highest = min(lowest, float(mean.min())), max(highest, float(mean.max()))
        return (lowest, highest) if lowest <= highest else (np.nan, np.nan)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number // 1000:06d}" / f"{number:09d}.npy"


def _counts(block: Block, piece: Piece, axes: WaterCube) -> list[int]:
    """Return the number of cells of the tile with each flag."""
    tile = block.tile.within(block.core)
    if piece.sites is None:
        flag = piece.flag[tuple(tile)]
    else:
        flag = piece.flag[tile.time][:, axes.sites_in(block.tile.y, block.tile.x)[piece.sites]]
    return [int(np.count_nonzero(flag == number)) for number in range(len(FLAG_MEANINGS))]


def _arrays(path: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield name, flag, mean, std and ends of each variable in the file of a block, mapped into memory."""
    size = path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size:
            name = str(np.load(file, allow_pickle=False))
            flag, mean, std = (_mapped(file, path) for _ in range(3))
            yield name, flag, mean, std, np.load(file, allow_pickle=False)


def _mapped(file: BinaryIO, path: Path) -> np.ndarray:
    """Return the array at the position of a file, mapped into memory, and go past the array."""
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    start, count = file.tell(), int(np.prod(shape))
    file.seek(start + count * dtype.itemsize)
    return np.memmap(path, dtype, "r", start, shape) if count else np.empty(shape, dtype)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
