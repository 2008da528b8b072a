"""What an operator may set: environment variables HYDROFILL_*, read once, unknown ones refused."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from hydrofill.cores import usable_cores

PREFIX = "HYDROFILL_"
MIB = 2**20


class SettingsError(ValueError):
    """A setting that is unknown or has an impossible value; the message is one line."""


class Settings(BaseSettings):
    """Each field is the environment variable HYDROFILL_<NAME>."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    bundles: Path = Field(default=Path("bundles"), description="folder that holds one folder a bundle")
    reload_s: float = Field(
        default=10.0, ge=0, description="time between looks for new bundles in the folder; 0 looks at SIGHUP only"
    )
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65_535, description="port to listen on")
    max_body_bytes: int = Field(default=64 * MIB, ge=1, description="largest request body as sent")
    max_decoded_bytes: int = Field(default=512 * MIB, ge=1, description="largest request once decoded")
    max_requests: int = Field(default=32, ge=1, description="requests with a body that are inside at a time")
    max_cost_s: float = Field(default=240.0, gt=0, description="longest predicted engine time of one request")
    max_queue_s: float = Field(
        default=300.0, gt=0, description="longest predicted time from being queued to being done; then 503"
    )
    deadline_s: float = Field(default=600.0, gt=0, description="time from a body's last byte to the reply; then 504")
    body_timeout_s: float = Field(default=60.0, gt=0, description="time for a body to come whole; then 408")
    head_timeout_s: float = Field(default=10.0, gt=0, description="time for a request's head to come whole")
    reply_timeout_s: float = Field(default=300.0, gt=0, description="time for a client to take its reply")
    interactive_s: float = Field(default=1.0, ge=0, description="predicted engine time up to which requests go first")
    ageing_s: float = Field(default=20.0, ge=0, description="wait after which a request goes first whatever its size")
    drain_s: float = Field(default=30.0, ge=0, description="time to finish accepted requests after SIGTERM")
    parsers: int = Field(default=2, ge=1, description="NetCDF bodies read at a time, each in a process of its own")
    parser_memory_bytes: int = Field(default=2048 * MIB, ge=64 * MIB, description="memory of reading one NetCDF body")
    parser_cpu_s: int = Field(default=30, ge=1, description="processor time of reading one NetCDF body")
    parser_wall_s: float = Field(default=60.0, gt=0, description="time on the clock of reading one NetCDF body")
    keys_file: Path | None = Field(
        default=None, description="file of API keys, hashed; without one no key is asked for"
    )
    open_to_network: bool = Field(
        default=False, description="whether a server without keys may listen on other than loopback addresses"
    )
    provider: Literal["cpu", "cuda"] = Field(default="cpu", description="what runs the graphs")
    threads: int | None = Field(
        default=None, ge=1, description="threads of one graph run; by default one a usable core"
    )
    otel_endpoint: str | None = Field(
        default=None, description="address that OpenTelemetry traces are sent to (OTLP over HTTP); needs the extra otel"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least level logged")
    log_format: Literal["text", "json"] = Field(default="text", description="form of a log line")

    def lines(self) -> str:
        """The settings as lines of an environment file, each with what it means; what is unset is commented out."""
        lines = []
        for name, value in self.model_dump(mode="json").items():
            line = f"{PREFIX}{name.upper()}={'' if value is None else value}"
            lines += [f"# {type(self).model_fields[name].description}", f"# {line}" if value is None else line]
        return "\n".join(lines)

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


def check_address(settings: Settings) -> None:
    """Returns if the server may listen where it is told to.

    Raises:
        SettingsError: it would take requests without keys from other machines, and was not told that this is wanted.
    """
    if settings.keys_file is not None or settings.open_to_network or is_loopback(settings.host):
        return
    raise SettingsError(
        f"HYDROFILL_HOST={settings.host} is open to other machines: set HYDROFILL_KEYS_FILE,"
        " or HYDROFILL_OPEN_TO_NETWORK=true where something else guards the server"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
