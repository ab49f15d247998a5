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
"""The fewest characters of a token that a user chose. Tokens of `new_token` have 43."""
MAX_PIXELS = 12 * 2**20
"""Pixels of the largest uploaded photograph, 12 · 2^20: a phone's photographs have 4032 × 3024, which is less."""
_ROOT = re.compile(r"(/[A-Za-z0-9._~-]+)+")


@dataclass(frozen=True)
class ServeSettings:
    """The server's address, and the limits and secrets that protect it.

    host: the address to bind. port: the port to bind; 0 takes a free one.
    token: a request must send it. "" means that no token is asked for; only a loopback address may have that.
    max_upload_bytes: the largest request, all its parts together. max_pixels: the largest photograph.
    searches_a_minute: how many searches one client may make; it may ask for ten times as many pictures.
    max_waiting: how many requests may be open at once; further ones are told to come back later.
    header_seconds, body_seconds: how long the head and the body of a request may take to arrive.
    refresh_seconds: how often the server looks for new commits.
    root_path: the path at which a reverse proxy shows the server, such as "/people"; "" is the root.
    trusted_proxies: addresses and networks. X-Forwarded-For and X-Forwarded-Proto are believed if they come from these.
    host_names: further names in the Host header that are accepted if there is no token.
    secure_cookie: browsers send the session over TLS only, even if the proxy speaks plain HTTP to the server.
    detector: finds the people in an uploaded scene, see `vpmsearch.model.detectors.open_detector`; "" is the one in the
        package.

    Raises:
        DataError: the address is not a loopback address and there is no token; the token is too short; a limit is below
            1; root_path is not a path; or a trusted proxy is not an address.
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
        object.__setattr__(self, "root_path", root_path_of(self.root_path))
        _ = self._proxies  # raises if one is not an address

    @property
    def allowed_hosts(self) -> frozenset[str] | None:
        """The names that a request's Host header may have. None: any name, because a token protects the server.

        A page on the internet can point its own name at 127.0.0.1 (DNS rebinding). Its requests have that name.
        """
        own = {"localhost", "127.0.0.1", "[::1]", self.host, f"[{self.host}]", *map(str.lower, self.host_names)}
        return None if self.token else frozenset(own)

    @cached_property
    def _proxies(self) -> tuple[Network, ...]:
        return tuple(map(network_of, self.trusted_proxies))

    def is_proxy(self, address: str) -> bool:
        """Whether an address is a trusted proxy, whose X-Forwarded headers are believed."""
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._proxies if network.version == found.version)


def root_path_of(text: str) -> str:
    """Bring "people", "/people" and "/people/" into the form "/people"; "" and "/" become "".

    Raises:
        DataError: it is no path.
    """
    path = "/" + text.strip("/") if text.strip("/") else ""
    if path and (not _ROOT.fullmatch(path) or {".", ".."} & set(path.split("/"))):
        raise DataError(f"{text!r} is no path for --root-path; give one such as /people")
    return path


def network_of(text: str) -> Network:
    """The address or network of a proxy.

    Raises:
        DataError: it is neither.
    """
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise DataError(f"{text!r} is no address of a proxy; give one such as 127.0.0.1 or 10.0.0.0/8") from error


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which DNS may resolve to any address
        return False


def new_token() -> str:
    """A new token: 256 random bits as 43 characters that need no escape in a URL."""
    return secrets.token_urlsafe(32)
