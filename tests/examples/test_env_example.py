"""The settings in .env.example are exactly those of the server."""

from __future__ import annotations

import re
from pathlib import Path

from app.settings import PREFIX, Settings

LINES = (Path(__file__).parents[2] / ".env.example").read_text().splitlines()
OF_THE_CONTAINER = {"bundles", "host", "drain_s", "open_to_network"}  # the image sets these
UNSET = {"threads", "memory_bytes", "keys_file", "allowed_hosts", "otel_endpoint"}  # these have no default to show
GIVEN = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", "\n".join(LINES), re.MULTILINE))


def test_every_setting_is_in_the_example_and_no_other() -> None:
    assert {name for name in GIVEN if name.startswith(PREFIX)} == {PREFIX + n.upper() for n in Settings.model_fields}


def test_the_values_shown_are_the_defaults() -> None:
    for name in Settings.model_fields.keys() - OF_THE_CONTAINER - UNSET:
        assert GIVEN[PREFIX + name.upper()] == str(Settings.model_fields[name].default)


def test_every_line_of_the_example_is_commented_out() -> None:
    assert [line for line in LINES if line and not line.startswith("#")] == []
