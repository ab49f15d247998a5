"""Who may ask the server, how much and how often."""

from __future__ import annotations

import ipaddress
import re
import secrets
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from vpmsearch.errors import DataError

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

MIN_TOKEN = 16
"""Characters of a token that somebody chose; those made here have 43."""
MAX_PIXELS = 12 * 2**20
"""Pixels of an uploaded photograph: 12 "mega" of 2^20, so that a phone's 4032 × 3024 passes."""
_ROOT = re.compile(r"(/[A-Za-z0-9._~-]+)+")


@dataclass(frozen=True)
class ServeSettings:
    """How the server protects itself.

    host: address to bind. port: 0 takes a free one. token: what a request must bring; "" asks for none, which only a
        loopback address may. max_upload_bytes: of a request in all. max_pixels: of a photograph. searches_a_minute: by
        one client, and ten times as many pictures. max_waiting: requests at once; more are told to come back.
        header_seconds: for the head of a request to arrive. body_seconds: for its body. refresh_seconds: between two
        looks for new commits.
    root_path: the path under which a reverse proxy shows the server, "/people"; "" for the root. trusted_proxies:
        addresses and networks whose X-Forwarded-For and X-Forwarded-Proto are believed. host_names: further names by
        which the server may be addressed where no token protects it. secure_cookie: the browser sends the session only
        over TLS, whatever the server itself sees. detector: what finds the people in an uploaded scene, see
        `vpmsearch.model.detectors.open_detector`; "" is the one in the package.

    Raises:
        DataError: an address beyond loopback without a token, a token that is too short, a limit below 1, or a
            root_path or proxy that is none.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    max_upload_bytes: int = 32 * 2**20
    max_pixels: int = MAX_PIXELS
    searches_a_minute: int = 600
    max_waiting: int = 256
    header_seconds: float = 10.0
    body_seconds: float = 60.0
    refresh_seconds: float = 2.0
    root_path: str = ""
    trusted_proxies: tuple[str, ...] = ()
    host_names: tuple[str, ...] = ()
    secure_cookie: bool = False
    detector: str = ""

    def __post_init__(self) -> None:
        if not self.token and not is_loopback(self.host):
            raise DataError(f"{self.host} can be reached from other machines: it needs a token")
        if self.token and (len(self.token) < MIN_TOKEN or not self.token.isascii() or not self.token.isprintable()):
            raise DataError(f"a token needs {MIN_TOKEN} ASCII characters or more, none of them a control character")
        if min(self.max_upload_bytes, self.max_pixels, self.searches_a_minute, self.max_waiting) < 1:
            raise DataError("limits must be at least 1")
        object.__setattr__(self, "root_path", _root_path(self.root_path))
        _ = self._proxies  # complains of what is none

    @property
    def allowed_hosts(self) -> frozenset[str] | None:
        """Names a request may address the server by; None for any, where a token protects it.

        A page elsewhere may point its own name at 127.0.0.1 (DNS rebinding); its requests carry that name.
        """
        own = {"localhost", "127.0.0.1", "[::1]", self.host, f"[{self.host}]", *map(str.lower, self.host_names)}
        return None if self.token else frozenset(own)

    @cached_property
    def _proxies(self) -> tuple[Network, ...]:
        return tuple(map(_network, self.trusted_proxies))

    def is_proxy(self, address: str) -> bool:
        """Whether an address is a trusted proxy, whose X-Forwarded headers are believed."""
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._proxies if network.version == found.version)


def _root_path(text: str) -> str:
    """One form of "people", "/people" and "/people/"; "" and "/" are the root."""
    path = "/" + text.strip("/") if text.strip("/") else ""
    if path and (not _ROOT.fullmatch(path) or {".", ".."} & set(path.split("/"))):
        raise DataError(f"{text!r} is no path for --root-path; give one such as /people")
    return path


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise DataError(f"{text!r} is no address of a proxy; give one such as 127.0.0.1 or 10.0.0.0/8") from error


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may lead anywhere
        return False


def new_token() -> str:
    """256 random bits, safe in an address."""
    return secrets.token_urlsafe(32)
