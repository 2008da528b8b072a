"""Read a CSV of gauges, `time, gauge1, gauge2, ...`, as a dataset, and write the fill with the text of observed cells.

A column header may end in its units: `flow [m3/s]`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from hydrofill.cf.csv_times import read_times
from hydrofill.errors import StructureError, UnreadableError
from hydrofill.reconstruct import FILLED

TABLE = "csv"  # key in the encoding of a dataset that was read from a CSV: its text
SEPARATORS = {";": "semicolon", "\t": "tab", ",": "comma"}
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "-", "--"})  # in lower case
UNITS = re.compile(r"^(?P<name>.*?)\s*[\[(](?P<units>[^\[\]()]*)[\])]$")
NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
MAX_COLUMNS = 2000
DAY_NS = 86_400 * 10**9
DIGITS = 6  # of filled values


@dataclass(frozen=True)
class Table:
    """The text of a CSV.

    comments: lines before the header. header, rows: the text of each cell, as written. separator, decimal, newline: how
    it is written. mark: the byte order mark, or "". variables: by column, the name of its variable; "" for text.
    """

    comments: Sequence[str]
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    separator: str
    decimal: str
    newline: str
    mark: str
    variables: Sequence[str]


def read_csv(content: bytes) -> xr.Dataset:
    """Read a CSV whose first column is time; every other column of numbers becomes a variable along time.

    Empty cells, NA, NaN and the like are gaps. Columns of text are kept and not filled.

    `content` is UTF-8, or else Latin-1.

    Raises:
        UnreadableError: it is not a table with one separator.
        StructureError: a cell is not a number, or a name is there twice; names the line.
        CoordinateError: a time cannot be read, is there twice or out of order; names the line.
    """
    text = _decoded(content)
    mark, text = ("\ufeff", text[1:]) if text.startswith("\ufeff") else ("", text)
    lines = text.splitlines()
    first = next((n for n, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    numbered = [(n + 1, line) for n, line in enumerate(lines) if n >= first and line.strip()]
    if len(numbered) < 2:
        raise UnreadableError("the CSV has no row of values", got=f"{len(lines)} lines")
    separator = _separator(numbered)
    (_, header), *rows = [(n, _cells(line, separator)) for n, line in numbered]
    names = _names(header)
    decimal = _decimal(rows, separator)
    time = read_times([(n, _plain(cells[0])) for n, cells in rows])
    data, variables = {}, [""]
    for column, (name, units) in enumerate(names[1:], start=1):
        values = _numbers([(n, _plain(cells[column])) for n, cells in rows], name, decimal)
        variables.append("" if values is None else name)
        if values is not None:
            data[name] = ("time", values, {"units": units} if units else {})
    if not data:
        raise StructureError("the CSV has no column of numbers", got=[name for name, _ in names])
    dataset = xr.Dataset(data, {"time": time})
    ends = "\r\n" if "\r\n" in text else "\n"
    texts = [cells for _, cells in rows]
    dataset.encoding[TABLE] = Table(lines[:first], header, texts, separator, decimal, ends, mark, variables)
    return dataset


def absent_steps(dataset: xr.Dataset) -> str:
    """Return in words which time steps the rows leave out, or that they are irregular; "" for neither."""
    time = dataset["time"].values
    if len(time) < 3:
        return ""
    steps = np.diff(time).astype("timedelta64[ns]").astype(np.int64)
    usual = Counter(steps.tolist()).most_common(1)[0][0]
    monthly = usual > 27 * DAY_NS and len(np.unique(time.astype("datetime64[M]"))) == len(time)
    if monthly or (steps == usual).all():
        return ""
    whole = steps % usual == 0
    said: list[str] = []
    if lost := int((steps[whole] // usual - 1).sum()):
        after = str(np.datetime_as_string(time[int(np.argmax(steps > usual))], unit="s")).removesuffix("T00:00:00")
        said.append(f"{lost} steps have no row and are not filled, the first after {after}")
    if not whole.all():
        said.append(f"{int((~whole).sum())} steps are not a multiple of the usual one")
    return "; ".join(said)


def write_csv(dataset: xr.Dataset) -> bytes:
    """Write a filled dataset that was read by `read_csv`: the same cells, filled gaps, then V_std and V_flag of each V.

    Raises:
        StructureError: the dataset was not read from a CSV.
    """
    table = dataset.encoding.get(TABLE)
    if not isinstance(table, Table):
        raise StructureError("only what was read as CSV is written as CSV", expected="a NetCDF file or a Zarr store")
    header, rows = list(table.header), [list(row) for row in table.rows]
    for column, name in enumerate(table.variables):
        if not name or f"{name}_flag" not in dataset:
            continue
        flag, values = dataset[f"{name}_flag"].values, dataset[name].values
        for row in np.flatnonzero(flag == FILLED):
            rows[row][column] = _written(values[row], table.decimal)
    for column, name in enumerate(table.variables):
        for end in ("_std", "_flag"):
            if not name or f"{name}{end}" not in dataset:
                continue
            header.append(_companion(table.header[column], end))
            added = dataset[f"{name}{end}"].values
            for cells, value in zip(rows, added, strict=True):
                cells.append(_written(value, table.decimal) if end == "_std" else str(int(value)))
    lines = [*table.comments, *(table.separator.join(cells) for cells in (header, *rows))]
    return (table.mark + table.newline.join([*lines, ""])).encode()


def _decoded(content: bytes) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    if "\0" in text:
        raise UnreadableError("the content is not a CSV text")
    return text


def _separator(numbered: Sequence[tuple[int, str]]) -> str:
    """Return the separator by which all lines have the same number of cells, two or more."""
    for separator in SEPARATORS:
        counts = {len(_cells(line, separator)) for _, line in numbered}
        if len(counts) == 1 and counts != {1}:
            return separator
    number, likely = max((numbered[0][1].count(separator), separator) for separator in SEPARATORS)
    if not number:
        raise UnreadableError("the CSV has one column only", expected="time and at least one gauge")
    odd = next((n, len(_cells(line, likely))) for n, line in numbered if len(_cells(line, likely)) != number + 1)
    hint = "; with decimal commas, cells are separated by semicolons" if likely == "," else ""
    raise UnreadableError(
        f"line {odd[0]} has another number of cells than the header{hint}",
        got=f"{odd[1]} separated by {SEPARATORS[likely]}",
        expected=number + 1,
    )


def _cells(line: str, separator: str) -> list[str]:
    """Return the cells of a line as they are written, with their quotes."""
    if '"' not in line:
        return line.split(separator)
    cells, begin, quoted = [], 0, False
    for place, letter in enumerate(line):
        if letter == '"':
            quoted = not quoted
        elif letter == separator and not quoted:
            cells.append(line[begin:place])
            begin = place + 1
    return [*cells, line[begin:]]


def _plain(cell: str) -> str:
    """Return the text of a cell without spaces around it and quotes."""
    cell = cell.strip()
    return cell[1:-1].replace('""', '"').strip() if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


def _names(header: Sequence[str]) -> list[tuple[str, str]]:
    """Return name and units of each column.

    Raises:
        StructureError: a column has no name, or two have the same; names the column.
    """
    if len(header) > MAX_COLUMNS:
        raise StructureError("the CSV has too many columns", got=len(header), expected=f"{MAX_COLUMNS} at most")
    found: list[tuple[str, str]] = []
    for number, cell in enumerate(map(_plain, header), start=1):
        parts = UNITS.match(cell)
        name, units = (parts["name"], parts["units"].strip()) if parts and parts["name"] else (cell, "")
        name = re.sub(r"[/\x00-\x1f\x7f]+", "_", name).lstrip(".")
        if not name:
            raise StructureError(f"column {number} of the CSV has no name")
        if name in (other for other, _ in found):
            raise StructureError("two columns of the CSV have the same name", where=name)
        found.append((name, units))
    if any(name == "time" for name, _ in found[1:]):
        raise StructureError("must be the first column of the CSV", where="time")
    return found


def _decimal(rows: Sequence[tuple[int, Sequence[str]]], separator: str) -> str:
    """Return the decimal mark of the numbers.

    Raises:
        StructureError: commas and points are both decimal marks, or separate thousands; names the line.
    """
    if separator == ",":
        return "."
    mark, since = "", 0
    for number, cells in rows:
        for cell in map(_plain, cells[1:]):
            used = {letter for letter in ".," if letter in cell} if re.fullmatch(r"[-+0-9.,eE]+", cell) else set()
            if len(used) > 1 or (mark and used and used != {mark}):
                raise StructureError(
                    f"numbers have commas and points (lines {since or number} and {number})",
                    got=repr(cell),
                    expected="one decimal mark, and none between thousands",
                )
            if used:
                mark, since = used.pop(), since or number
    return mark or "."


def _numbers(cells: Sequence[tuple[int, str]], name: str, decimal: str) -> np.ndarray | None:
    """Return a column as float64, NaN where missing; None if it is a column of text.

    Raises:
        StructureError: some cells are numbers and others are not; names the line.
    """
    values, odd = np.full(len(cells), np.nan), None
    for row, (number, cell) in enumerate(cells):
        if cell.lower() in MISSING:
            continue
        plain = cell.replace(decimal, ".") if decimal != "." else cell
        if NUMBER.fullmatch(plain):
            values[row] = float(plain)
        elif odd is None:
            odd = (number, cell)
    if odd is not None and not np.isnan(values).all():
        raise StructureError(
            f"line {odd[0]} is not a number", where=name, got=repr(odd[1][:40]), expected="a number, or an empty cell"
        )
    return None if odd is not None else values


def _companion(header: str, end: str) -> str:
    """Return the header of V_std or V_flag: the units stay, but a flag has none."""
    plain = _plain(header)
    parts = UNITS.match(plain)
    name, units = (parts["name"], plain[len(parts["name"]) :]) if parts and parts["name"] else (plain, "")
    text = f"{name}{end}{units if end == '_std' else ''}"
    return f'"{text}"' if header.strip().startswith('"') else text


def _written(value: float, decimal: str) -> str:
    """Return the text of a filled value or of a standard deviation; nothing where there is none."""
    return "" if np.isnan(value) else f"{value:.{DIGITS}g}".replace(".", decimal)
