"""What every reply tells a browser: nothing of it is run, framed, guessed or passed on."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders

# Of a reply that is data; a page that is looked at brings a policy of its own.
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
# Nothing from elsewhere, nothing inline, no framing: what the page shows cannot be made to act for others.
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
    """Adds each header that the reply does not bring itself."""
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)
