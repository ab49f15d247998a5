"""A small index of drawn blocks, and a server over one."""

from __future__ import annotations

import io
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn
from PIL import Image
from tiny_weights import write_pictures

from vpmsearch.data.datasets import LabelledImage
from vpmsearch.indexing.indexer import index_gallery
from vpmsearch.model.extraction import Extractor
from vpmsearch.store import GalleryStore
from vpmsearch.web.access_log import AccessLog
from vpmsearch.web.app import create_app
from vpmsearch.web.running import config_of
from vpmsearch.web.service import SearchService
from vpmsearch.web.settings import ServeSettings

START = datetime(2024, 5, 1, tzinfo=UTC)
IMAGES = 30
URL = "http://127.0.0.1"


def labelled(paths: list[Path]) -> list[LabelledImage]:
    """pids 1 to 10, cameras 1 to 3, an hour between two."""
    return [
        LabelledImage(
            path,
            pid=1 + i % 10,
            camid=1 + i % 3,
            captured_at=START + timedelta(hours=i),
            attributes=(("site", "north" if i % 2 else "south"),),
        )
        for i, path in enumerate(paths)
    ]


def jpeg(image: Image.Image) -> bytes:
    """Its bytes as a file."""
    target = io.BytesIO()
    image.save(target, "JPEG", quality=95)
    return target.getvalue()


def png(image: Image.Image) -> bytes:
    """Its bytes as a file, without loss."""
    target = io.BytesIO()
    image.save(target, "PNG")
    return target.getvalue()


def make_service(folder: Path, extractor: Extractor, count: int = IMAGES) -> SearchService:
    """An index of `count` pictures and the service over it."""
    paths = write_pictures(folder / "gallery", count)
    store = GalleryStore.create(folder / "index", extractor.weights.info)
    index_gallery(store, extractor, labelled(paths))
    return SearchService(store, extractor, max_pixels=1_000_000)


class serving:  # noqa: N801 (used like a function)
    """Serve in a thread for as long as the block runs; gives the address. The thread has ended when the block has."""

    SECONDS = 30.0

    def __init__(self, service: SearchService, settings: ServeSettings, log: AccessLog | None = None) -> None:
        self.app = create_app(service, settings, log)
        self.server = uvicorn.Server(config_of(self.app, settings))
        self.thread = threading.Thread(target=self.server.run)

    def __enter__(self) -> str:
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)
        return f"{URL}:{self.server.servers[0].sockets[0].getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(self.SECONDS)
        assert not self.thread.is_alive(), "the server does not stop"
