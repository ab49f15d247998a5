"""`vpmsearch serve`: a page and a REST interface over one index."""

from __future__ import annotations

import os
import sys
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vpmsearch.commands import checks, options
from vpmsearch.commands.model import extractor_for
from vpmsearch.commands.terminal import answer, command, say
from vpmsearch.errors import DataError
from vpmsearch.system.extras import needed_for
from vpmsearch.words import number_of

if TYPE_CHECKING:
    from vpmsearch.store.place import Place
    from vpmsearch.web.settings import ServeSettings

TOKEN_VARIABLE = "VPMSEARCH_TOKEN"
LARGEST_TOKEN_FILE = 10_000
"""Bytes. A larger file is not a token file."""
_PROXY = "Behind a proxy"


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, example="vpmsearch serve --index indexes/mine")(serve)


def serve(
    index: options.Index = options.DEFAULT_INDEX,
    host: Annotated[
        str, typer.Option(help="Address to listen at. Beyond this machine a token is needed; one is made if not given.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(help=f"File that holds the token. Else ${TOKEN_VARIABLE}.", show_default=False)
    ] = None,
    require_token: Annotated[
        bool, typer.Option("--require-token", help="Ask for a token on this machine too; one is made if not given.")
    ] = False,
    weights: options.Weights = None,
    device: options.Device = "auto",
    max_upload: Annotated[int, typer.Option(min=1, help="MiB that an upload may have.")] = 32,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Pixels that a photograph may have; the default takes 4032 × 3024.")
    ] = 12 * 2**20,
    rate: Annotated[
        int, typer.Option(min=1, help="Searches a minute by one client; ten times as many pictures.")
    ] = 600,
    log: Annotated[
        str | None, typer.Option(help="File for a line of JSON a request; - is stderr.", show_default=False)
    ] = None,
    detector: Annotated[
        str,
        typer.Option(
            help="What finds the people in a scene: an .onnx file, or a detector of torchvision by its name.",
            show_default="$VPMSEARCH_DETECTOR, else NanoDet-g, which is in the package",
        ),
    ] = "",
    root_path: Annotated[
        str, typer.Option(help="Path under which a proxy shows the server, such as /people.", rich_help_panel=_PROXY)
    ] = "",
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            help="Address or network of a proxy whose X-Forwarded-For and -Proto are believed; may be repeated.",
            show_default=False,
            rich_help_panel=_PROXY,
        ),
    ] = None,
    host_name: Annotated[
        list[str] | None,
        typer.Option(
            help="Name by which a server without a token may be addressed as well; may be repeated.",
            show_default=False,
            rich_help_panel=_PROXY,
        ),
    ] = None,
    secure_cookie: Annotated[
        bool, typer.Option("--secure-cookie", help="Sessions over TLS only, whatever is seen.", rich_help_panel=_PROXY)
    ] = False,
) -> None:
    """Serve a page and a REST interface over an index. New commits are picked up; Ctrl-C stops.

    The page is at the address printed on stdout, the interface under /api (what it takes and gives: /api/docs).
    """
    from vpmsearch.model.detectors import check_detector
    from vpmsearch.web.settings import ServeSettings, is_loopback, network_of, new_token, root_path_of

    with checks.usage("--root-path"):
        root_path_of(root_path)
    with checks.usage("--trusted-proxy"):
        for proxy in trusted_proxy or ():
            network_of(proxy)
    with checks.usage("--detector"):
        check_detector(detector)
    token = given_token(token_file) or (new_token() if require_token or not is_loopback(host) else "")
    settings = ServeSettings(
        host=host,
        port=port,
        token=token,
        max_upload_bytes=max_upload * 2**20,
        max_pixels=max_pixels,
        searches_a_minute=rate,
        root_path=root_path,
        trusted_proxies=tuple(trusted_proxy or ()),
        host_names=tuple(host_name or ()),
        secure_cookie=secure_cookie,
        detector=detector,
    )
    _serve(index, settings, weights, device, log)


def _serve(index: Place, settings: ServeSettings, weights: Path | None, device: str, log: str | None) -> None:
    with needed_for("serve"):
        from vpmsearch.web.app import create_app
    from vpmsearch.model.detectors import VARIABLE
    from vpmsearch.model.device import choose_device
    from vpmsearch.model.weights import find_by_fingerprint
    from vpmsearch.store.open import open_index
    from vpmsearch.web.access_log import AccessLog
    from vpmsearch.web.running import run
    from vpmsearch.web.service import SearchService

    def tell(address: str) -> None:
        answer(address)
        sys.stdout.flush()

    chosen = choose_device(device)
    with (
        closing(AccessLog(log)) if log else nullcontext() as access_log,
        open_index(index, device=str(chosen)) as store,
    ):
        loaded = find_by_fingerprint(store.model_info.fingerprint, store.model_info.weights, weights)
        service = SearchService(store, extractor_for(loaded, chosen), max_pixels=settings.max_pixels)
        app = create_app(service, settings, access_log)
        if settings.detector or os.environ.get(VARIABLE):
            say(f"detector: {app.state.finder.open().name}")  # a wrong one is told now, and not to who first needs it
        say(f"{index}: {number_of(len(store.snapshot), 'image')}")
        run(app, settings, tell)
    say("stopped")


def given_token(file: Path | None) -> str:
    """The token from a file, else from the environment; "" if neither is given.

    Raises:
        DataError: the token given is empty, so the server would run without one, or the file is not a token file.
    """
    if file is None:
        text = os.environ.get(TOKEN_VARIABLE)
        if text is not None and not text.strip():
            raise DataError(f"${TOKEN_VARIABLE} is set and empty; unset it, or put a token there")
        return (text or "").strip()
    try:
        with file.open("rb") as opened:
            data = opened.read(LARGEST_TOKEN_FILE + 1)
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror or error}); name a file that holds a token") from error
    try:
        token = data.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise DataError(f"{file} holds no token but other data") from error
    if len(data) > LARGEST_TOKEN_FILE:
        raise DataError(f"{file} holds no token: it has more than {LARGEST_TOKEN_FILE} bytes")
    if not token:
        raise DataError(f"{file} is empty; put a token there, or leave --token-file out")
    return token
