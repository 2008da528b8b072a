"""Which hosts the server answers for, and which pages may send it data (against DNS rebinding and forged requests)."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import HostError, OriginError
from app.http.problems import problem_of
from app.settings import Settings, is_loopback

AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::(\d{0,5}))?")
ABSOLUTE = re.compile(r"https?://(?P<authority>[^/?#]*)(?P<path>/.*)?", re.IGNORECASE | re.DOTALL)
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
OWN_PAGES = ("same-origin", "none")  # none: typed in by the user


@dataclass(frozen=True)
class HostRules:
    """Which requests are for this server.

    names: the hosts that are served, besides loopback ones; None for any. own_pages: whether requests that change or
    compute something may come from pages of this server only.
    """

    names: frozenset[str] | None
    own_pages: bool


def rules_of(settings: Settings) -> HostRules:
    """Return the rules: without a setting, a server without keys on a loopback address is for loopback names only."""
    keyless = settings.keys_file is None
    if settings.allowed_hosts == "*":
        return HostRules(None, keyless)
    if settings.allowed_hosts is not None:
        return HostRules(frozenset(map(_host, settings.allowed_hosts.split(","))), keyless)
    return HostRules(frozenset() if keyless and is_loopback(settings.host) else None, keyless)


class HostMiddleware:
    """Refuses requests that the rules exclude; other requests get the origin form of their target (RFC 9112, 3.2)."""

    def __init__(self, app: ASGIApp, rules: HostRules) -> None:
        self.app, self.rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        app = self.app
        if scope["type"] == "http":
            authority = _take_origin_form(scope)
            try:
                _check_host(self.rules, authority)
                if self.rules.own_pages and scope["method"] not in SAFE_METHODS:
                    _check_origin(Headers(scope=scope), authority)
            except (HostError, OriginError) as error:
                app = problem_of(error)
        await app(scope, receive, send)


def _take_origin_form(scope: Scope) -> str | None:
    """Make a path the request's target; return the host and port that the request is for (None: HTTP/1.0)."""
    found = ABSOLUTE.fullmatch(scope["raw_path"].decode("latin-1"))
    if found is None:
        return Headers(scope=scope).get("host")
    path = found["path"] or "/"
    scope.update(path=unquote(path), raw_path=path.encode("latin-1"))
    return str(found["authority"])


def _check_host(rules: HostRules, authority: str | None) -> None:
    if rules.names is None or authority is None:
        return
    host = _host(authority)
    if not host or (host not in rules.names and not is_loopback(host)):
        raise HostError("the server does not answer for this host", where="header/Host", got=authority)


def _check_origin(headers: Headers, authority: str | None) -> None:
    """Raise an error if a browser sends the request for a page of another site.

    Source: `net/http.CrossOriginProtection` of Go 1.25.

    Raises:
        OriginError: Sec-Fetch-Site or, from older browsers, Origin names another site.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site in OWN_PAGES or (site is None and origin is None):
        return
    own = _normal(authority or "")
    if site is None and origin is not None and own[0] and _normal(origin.partition("://")[2]) == own:
        return
    raise OriginError("pages of other sites may not send requests", where="header/Origin", got=origin or site)


def _host(authority: str) -> str:
    """Return the host in its usual spelling; "" if it is not valid."""
    return _normal(authority)[0]


def _normal(authority: str) -> tuple[str, str]:
    """Return host and port, with the host in its usual spelling."""
    found = AUTHORITY.fullmatch(authority.strip().lower())
    if found is None:
        return "", ""
    host, port = found[1].removesuffix("."), found[2] or ""
    with suppress(ValueError):  # a name
        host = str(ipaddress.ip_address(host.strip("[]")))
    return host, port
