"""Who may ask the server, how much and how often."""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass

from vpmsearch.data.images import MAX_PIXELS
from vpmsearch.errors import DataError

MIN_TOKEN = 16
"""Characters of a token that somebody chose; those made here have 43."""


@dataclass(frozen=True)
class ServeSettings:
    """How the server protects itself.

    host: address to bind. port: 0 takes a free one. token: what a request must bring; "" asks for none, which only a
        loopback address may. max_upload_bytes: of a request in all. max_pixels: of a photograph. searches_a_minute: by
        one client, and ten times as many pictures. max_waiting: requests at once; more are told to come back.
        body_seconds: for a body to arrive. refresh_seconds: between two looks for new commits.

    Raises:
        DataError: an address beyond loopback without a token, a token that is too short, or a limit below 1.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    max_upload_bytes: int = 32 * 2**20
    max_pixels: int = MAX_PIXELS
    searches_a_minute: int = 600
    max_waiting: int = 256
    body_seconds: float = 60.0
    refresh_seconds: float = 2.0

    def __post_init__(self) -> None:
        if not self.token and not is_loopback(self.host):
            raise DataError(f"{self.host} can be reached from other machines: it needs a token")
        if self.token and (len(self.token) < MIN_TOKEN or not self.token.isascii() or not self.token.isprintable()):
            raise DataError(f"a token needs {MIN_TOKEN} ASCII characters or more, none of them a control character")
        if min(self.max_upload_bytes, self.max_pixels, self.searches_a_minute, self.max_waiting) < 1:
            raise DataError("limits must be at least 1")

    @property
    def allowed_hosts(self) -> frozenset[str] | None:
        """Names a request may address the server by; None for any, where a token protects it.

        A page elsewhere may point its own name at 127.0.0.1 (DNS rebinding); its requests carry that name.
        """
        return None if self.token else frozenset({"localhost", "127.0.0.1", "[::1]", self.host, f"[{self.host}]"})


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: who knows where it leads
        return False


def new_token() -> str:
    """256 random bits, safe in an address."""
    return secrets.token_urlsafe(32)
