"""What an operator may set: environment variables HYDROFILL_*, read once, unknown ones refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "HYDROFILL_"
MIB = 2**20


class SettingsError(ValueError):
    """A setting that is unknown or has an impossible value; the message is one line."""


class Settings(BaseSettings):
    """Each field is the environment variable HYDROFILL_<NAME>."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    bundles: Path = Field(default=Path("bundles"), description="folder that holds one folder a bundle")
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65_535, description="port to listen on")
    max_body_bytes: int = Field(default=64 * MIB, ge=1, description="largest request body as sent")
    max_decoded_bytes: int = Field(default=512 * MIB, ge=1, description="largest request once decoded")
    provider: Literal["cpu", "cuda"] = Field(default="cpu", description="what runs the graphs")
    threads: int | None = Field(
        default=None, ge=1, description="threads of one graph run; by default one a usable core"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least level logged")
    log_format: Literal["text", "json"] = Field(default="text", description="form of a log line")

    def lines(self) -> str:
        """The settings as lines of an environment file; what is unset is left out."""
        set_here = self.model_dump(mode="json", exclude_none=True)
        return "\n".join(f"{PREFIX}{name.upper()}={value}" for name, value in set_here.items())

    @property
    def graph_threads(self) -> int:
        """Threads of one graph run: as set, or the cores that this process may use."""
        return self.threads or usable_cores()


def read_settings(**given: object) -> Settings:
    """The settings of the environment, `given` ones first; those given as None count as not given.

    Raises:
        SettingsError: an unknown HYDROFILL_ variable, or a value that its field refuses.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    try:
        return Settings.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = PREFIX + str(first["loc"][0]).upper()
        raise SettingsError(f"{name}: {first['msg']} (got {first['input']!r})") from error


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
