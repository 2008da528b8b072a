"""Layouts for tests."""

from __future__ import annotations

from hydrofill.layout import Layout, Patch, Place, VariableSpec, WindowSize


def plain_layout(rows: int, columns: int, steps: int) -> Layout:
    """Return a layout of rain and flow with these patches, and windows larger than any cube of a test."""
    return Layout(
        variables=(
            VariableSpec(name="rain", kind="grid", units="mm day-1"),
            VariableSpec(name="flow", kind="series", units="m3 s-1"),
        ),
        patch=Patch(rows=rows, columns=columns, steps=steps),
        window=WindowSize(steps=99, rows=99, columns=99),
        place=Place(rows=3, columns=3, step_s=86_400),
    )
