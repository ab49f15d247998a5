"""Who asks: the address behind a trusted proxy, and whether the token or a session of it came along."""

from __future__ import annotations

import hmac
import ipaddress
import re
from dataclasses import dataclass

from starlette.requests import Request

from vpmsearch.web.sessions import Sessions
from vpmsearch.web.settings import ServeSettings

COOKIE = "vpmsearch_session"
"""The port follows: a browser keeps one set of cookies for all ports of a host name."""
_WITH_PORT = re.compile(r"\[([^]]*)\](?::\d+)?|([^:]*):\d+")


@dataclass(frozen=True)
class Asker:
    """address: the client's, "" where it has none. secure: it speaks TLS, to us or to a trusted proxy.

    known: it brought the token or a session, or none is needed. has_bearer: it brought the token itself. key: what its
    requests are counted by; for unknown clients their network.
    """

    address: str
    secure: bool
    known: bool
    has_bearer: bool
    key: str


def asker_of(request: Request, settings: ServeSettings, sessions: Sessions) -> Asker:
    """Who sent a request.

    A session has an allowance of its own, so that people behind one proxy do not share one. Whoever brings the token
    itself is counted by his address.
    """
    peer = request.client.host if request.client else ""
    trusted = settings.is_proxy(peer)
    address = forwarded_for(request, settings, peer) if trusted else peer
    secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto", "").lower() if trusted else "")
    has_bearer = bool(settings.token) and hmac.compare_digest(_bearer(request).encode(), settings.token.encode())
    session = request.cookies.get(cookie_name(request), "")
    in_session = bool(settings.token and session) and sessions.is_known(session)
    known = not settings.token or has_bearer or in_session
    key = f"session {session}" if in_session and not has_bearer else network_of(address)
    return Asker(address, secure, known, has_bearer, key)


def forwarded_for(request: Request, settings: ServeSettings, peer: str) -> str:
    """The client's address by X-Forwarded-For: the last one that is not a trusted proxy's. Only these are believed.

    An entry that is not an address ends the search. Then the proxy after it counts as the client.
    """
    address = peer
    chain = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    for entry in reversed([each.strip() for each in chain if each.strip()]):
        with_port = _WITH_PORT.fullmatch(entry)
        bare = (with_port[1] or with_port[2]) if with_port else entry
        try:
            address = str(ipaddress.ip_address(bare))
        except ValueError:
            break
        if not settings.is_proxy(address):
            break
    return address


def network_of(address: str) -> str:
    """What an address is counted by. For IPv6 it is the /64, since a client usually has all 2^64 addresses of it."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))
    return str(found)


def cookie_name(request: Request) -> str:
    """The name of this server's cookie."""
    server = request.scope.get("server")
    return f"{COOKIE}_{server[1]}" if server and server[1] else COOKIE


def _bearer(request: Request) -> str:
    kind, _, brought = request.headers.get("authorization", "").partition(" ")
    given = brought.strip() if kind.lower() == "bearer" else ""
    return given if given.isascii() else ""
