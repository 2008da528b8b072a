"""Security headers of every response: a browser must not run, frame, sniff or share its content."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders

# The policy of data; an HTML page sets its own.
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
# The page loads nothing from other hosts, runs no inline script and cannot be framed.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": DATA_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # for browsers that do not know frame-ancestors
}


def secure(headers: MutableHeaders) -> None:
    """Add each security header that the response does not set itself."""
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)
