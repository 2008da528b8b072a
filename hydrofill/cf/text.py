"""Read the bytes of text in files: UTF-8, or else Latin-1, which old files use."""

from __future__ import annotations

from hydrofill.errors import StructureError


def read_text(content: bytes) -> str:
    """Return bytes as text: UTF-8, or else Latin-1."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def mended(text: str, where: str) -> str:
    """Return text whose bytes a library could not read as text that can be written.

    h5netcdf hands bytes that are not declared as UTF-8 on as lone surrogates (PEP 383).

    Raises:
        StructureError: the text contains a zero byte; names `where`.
    """
    if "\0" in text:
        raise StructureError("the text contains a zero byte", where=where)
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return read_text(text.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError:  # surrogates that stand for no byte
            return text.encode("utf-8", "replace").decode()
    return text
