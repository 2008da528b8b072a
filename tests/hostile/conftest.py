"""Fixtures: those of the server's tests."""

from __future__ import annotations

from tests.app.conftest import _no_settings_from_outside, anyio_backend, bundles, client

__all__ = ["_no_settings_from_outside", "anyio_backend", "bundles", "client"]
