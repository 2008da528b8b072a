"""The server's settings: environment variables HYDROFILL_*, read once; unknown names are refused."""

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
    """A setting is unknown or has an impossible value; the message is one line."""


class Settings(BaseSettings):
    """Each field is the environment variable HYDROFILL_<NAME>."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    bundles: Path = Field(default=Path("bundles"), description="Folder that holds one folder per bundle.")
    reload_s: float = Field(
        default=10.0, ge=0, description="Seconds between checks for new bundles in the folder. 0: only on SIGHUP."
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65_535, description="Port to listen on.")
    max_body_bytes: int = Field(default=64 * MIB, ge=1, description="Largest request body as sent, in bytes.")
    max_decoded_bytes: int = Field(default=512 * MIB, ge=1, description="Largest request body once decoded, in bytes.")
    max_requests: int = Field(
        default=32, ge=1, description="Largest number of requests with a body at a time; others get 503."
    )
    max_connections: int = Field(
        default=1000,
        ge=1,
        description="Largest number of connections. The one that has waited longest for a request gives way to a new "
        "one; if all have requests, the new one gets 503.",
    )
    max_connections_per_address: int = Field(
        default=500,
        ge=1,
        description="Largest number of connections from one address, which give way in the same way; then 429.",
    )
    max_uploads_per_address: int = Field(
        default=16,
        ge=1,
        description="Largest number of bodies from one address that are not yet whole. Slow ones give way; then 503.",
    )
    max_cost_s: float = Field(
        default=240.0, gt=0, description="Longest predicted engine time of one request, in seconds; then 413."
    )
    max_queue_s: float = Field(
        default=300.0,
        gt=0,
        description="Longest predicted time from queueing a request to its end, in seconds; then 503.",
    )
    deadline_s: float = Field(
        default=600.0, gt=0, description="Seconds from the last byte of a body to the reply; then 504."
    )
    body_timeout_s: float = Field(default=60.0, gt=0, description="Seconds to receive a whole body; then 408.")
    head_timeout_s: float = Field(default=10.0, gt=0, description="Seconds to receive a request's header.")
    reply_timeout_s: float = Field(default=300.0, gt=0, description="Seconds for a client to read its response.")
    interactive_s: float = Field(
        default=1.0, ge=0, description="Requests predicted to take at most this many seconds go before longer ones."
    )
    ageing_s: float = Field(
        default=20.0, ge=0, description="A request that has waited this many seconds goes first, whatever its size."
    )
    memory_bytes: int | None = Field(
        default=None,
        ge=64 * MIB,
        description="Memory that the server may use, in bytes: then 503, or 413 for one request that takes too much "
        "alone. Default: four fifths of what the machine or the control group has.",
    )
    stuck_s: float = Field(
        default=120.0,
        gt=0,
        description="Seconds without progress, beyond the predicted time of a request, after which the engine counts "
        "as stuck and the server ends.",
    )
    drain_s: float = Field(default=30.0, ge=0, description="Seconds to finish accepted requests after SIGTERM.")
    max_dimensions: int = Field(default=1_000, ge=1, description="Largest number of dimensions of one body.")
    max_variables: int = Field(
        default=1_000, ge=1, description="Largest number of variables of one body, coordinates of a file included."
    )
    max_sites: int = Field(default=100_000, ge=1, description="Largest number of sites of one body.")
    max_attributes: int = Field(
        default=10_000, ge=1, description="Largest number of attributes of one body, of all variables together."
    )
    parsers: int = Field(
        default=2, ge=1, description="Number of bodies decoded at a time, each in a process that decodes no other."
    )
    parser_memory_bytes: int = Field(
        default=1024 * MIB, ge=64 * MIB, description="Memory for decoding one body, in bytes."
    )
    parser_cpu_s: int = Field(default=30, ge=1, description="Processor time for decoding one body, in seconds.")
    parser_wall_s: float = Field(default=60.0, gt=0, description="Elapsed time for decoding one body, in seconds.")
    keys_file: Path | None = Field(
        default=None, description="File of hashed API keys. Without this file, no key is needed."
    )
    open_to_network: bool = Field(
        default=False, description="Whether a server without keys may listen on addresses that other machines reach."
    )
    allowed_hosts: str | None = Field(
        default=None,
        description="Names of this server, separated by commas, for which it answers besides loopback names; * for "
        "any. Default: loopback names only, if it needs no keys and listens on a loopback address; else any.",
    )
    provider: Literal["cpu", "cuda"] = Field(default="cpu", description="Execution provider of the graphs.")
    threads: int | None = Field(
        default=None, ge=1, description="Threads of one graph run. Default: one per usable core."
    )
    otel_endpoint: str | None = Field(
        default=None, description="Address for OpenTelemetry traces (OTLP over HTTP). Needs the extra otel."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is logged."
    )
    log_format: Literal["text", "json"] = Field(default="text", description="Format of a log line.")

    def lines(self) -> str:
        """Return the settings as lines of an environment file, each below its description; unset ones are comments."""
        lines = []
        for name, value in self.model_dump(mode="json").items():
            line = f"{PREFIX}{name.upper()}={'' if value is None else value}"
            lines += [f"# {type(self).model_fields[name].description}", f"# {line}" if value is None else line]
        return "\n".join(lines)

    @property
    def graph_threads(self) -> int:
        """Threads of one graph run: as set, or as many as the cores that this process may use."""
        return self.threads or usable_cores()


def read_settings(**given: object) -> Settings:
    """Read the settings from the environment; values in `given` that are not None take precedence.

    Raises:
        SettingsError: the environment has an unknown HYDROFILL_ variable, or a value is impossible.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(unknown)}; known settings are {', '.join(sorted(known))}")
    try:
        return Settings.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = PREFIX + str(first["loc"][0]).upper()
        raise SettingsError(f"{name}: {first['msg']} (got {first['input']!r})") from error


def check_address(settings: Settings) -> None:
    """Raise an error if other machines could reach a server without keys that is not explicitly open to the network.

    Raises:
        SettingsError: the address is not a loopback address, and neither `keys_file` nor `open_to_network` is set.
    """
    if settings.keys_file is not None or settings.open_to_network or is_loopback(settings.host):
        return
    raise SettingsError(
        f"HYDROFILL_HOST={settings.host} is open to other machines: set HYDROFILL_KEYS_FILE,"
        " or HYDROFILL_OPEN_TO_NETWORK=true if something else protects the server"
    )


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach the address `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
