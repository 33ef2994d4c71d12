"""Who may do what, in front of all routes.

* The page is served on loopback, where reading is open. A page of another site cannot read it, as no answer allows
  that (no CORS); nor by a name of its own that it lets point to loopback (DNS rebinding), as the Host header must name
  an address or this host.
* Every action needs the token, in a header that no other site can make a browser send unasked.
* On any other address everything needs the token, in that header; for reading the cookie does, too, that signing in
  with the token sets. Browsers send a cookie to every port of its host, and so to other people's servers there: it is
  made from the token, which cannot be made from it, and has the port in its name, so that two dashboards keep theirs.

The token has 192 random bits; it is compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import socket
from http.cookies import CookieError, SimpleCookie
from typing import Optional

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_HEADER = "X-MR-Token"
#: of a request; no route reads more than a token
MAX_BODY_BYTES = 4096
READING = ("GET", "HEAD")
#: what a browser may load before it has signed in: the form, and nothing of any job
PUBLIC = ("/login", "/static/")
#: what is asked for by our own page, or by a program; a link may lead to the others
DATA = ("/api/", "/metrics")

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # not "no-referrer": then browsers do not say from where a form is sent, either
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(24)


def same(given: str, token: str) -> bool:
    """Whether they are equal, in a time that does not tell where they differ."""
    return secrets.compare_digest(given.encode("utf-8", "replace"), token.encode())


def cookie(scope: Scope, token: str) -> tuple[str, str]:
    """Name and value of the cookie that lets read what is served on the port of this request."""
    port = (scope.get("server") or ("", 0))[1]
    return f"mr_session_{port}", hmac.new(token.encode(), b"read", hashlib.sha256).hexdigest()


def is_loopback(host: str) -> bool:
    """Whether nothing but this machine reaches the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(header: str) -> str:
    """The name in a Host header, without port and brackets, in lower case."""
    header = header.strip().lower()
    if header.startswith("["):
        return header[1:].partition("]")[0]
    name, _, port = header.rpartition(":")
    return name if name and port.isdecimal() else header


class Guard:
    """Middleware: lets through what is allowed, and puts `HEADERS` on every answer."""

    def __init__(self, app: ASGIApp, token: str, host: str) -> None:
        self._app = app
        self._token = token
        self._open = is_loopback(host)
        self._names = {"localhost", host.lower()}
        if not self._open:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Optional[ASGIApp]:
        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        if not self._names_us(headers.get("host", "")):
            return PlainTextResponse("this address is not served here\n", 421)
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            return PlainTextResponse("too large\n", 413)
        acts = method not in READING
        if (acts or path.startswith(DATA)) and not self._from_here(headers):
            return PlainTextResponse("requests of other sites are not served\n", 403)
        if path == "/login" or (method in READING and path.startswith(PUBLIC)):
            return None
        given = headers.get(TOKEN_HEADER)
        if given is not None and same(given, self._token):
            return None
        if acts:
            return PlainTextResponse("this needs the token that `mr dashboard` has printed\n", 401)
        if self._open or self._has_signed_in(scope, headers):
            return None
        if path == "/":
            return RedirectResponse("/login", 303)
        return PlainTextResponse("sign in first, or send the token as X-MR-Token\n", 401)

    def _names_us(self, header: str) -> bool:
        name = host_of(header)
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback if self._open else True

    @staticmethod
    def _from_here(headers: Headers) -> bool:
        """Browsers say where a request comes from; what says nothing is no browser."""
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return False
        origin = headers.get("origin")
        return origin is None or origin.partition("://")[2].lower() == headers.get("host", "").lower()

    def _has_signed_in(self, scope: Scope, headers: Headers) -> bool:
        name, value = cookie(scope, self._token)
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(name)
        except CookieError:
            return False
        return found is not None and same(found.value, value)
