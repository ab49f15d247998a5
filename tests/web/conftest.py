"""A small index of drawn blocks behind the application, in this process or behind a real socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra [web] is not installed")

import torch
from fastapi.testclient import TestClient
from small_index import URL, make_service, png, serving
from tiny_weights import picture, write_weights

from vpmsearch.model.extraction import Extractor
from vpmsearch.model.weights import read_weights
from vpmsearch.web.access_log import AccessLog
from vpmsearch.web.app import create_app
from vpmsearch.web.service import SearchService
from vpmsearch.web.settings import ServeSettings


@pytest.fixture(scope="session")
def extractor(tmp_path_factory: pytest.TempPathFactory, tiny: str) -> Extractor:
    """Random weights on the CPU."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    return Extractor(read_weights(write_weights(path, backbone=tiny)), torch.device("cpu"))


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, extractor: Extractor) -> Iterator[SearchService]:
    """Over an index that is not changed."""
    made = make_service(tmp_path_factory.mktemp("web"), extractor)
    yield made
    made.store.close()


@pytest.fixture
def own_service(tmp_path: Path, extractor: Extractor) -> Iterator[SearchService]:
    """Over an index that the test may change."""
    made = make_service(tmp_path, extractor, 6)
    yield made
    made.store.close()


GetClient = Callable[..., TestClient]


@pytest.fixture
def client_of() -> Iterator[GetClient]:
    """A client of an application made for the test, that asks from the address `peer`; settings by name."""
    opened = []

    def make(
        service: SearchService, *, peer: str = "127.0.0.1", log: AccessLog | None = None, **settings: object
    ) -> TestClient:
        made = replace(ServeSettings(max_pixels=1_000_000, refresh_seconds=0.05), **settings)
        client = TestClient(create_app(service, made, log), base_url=URL, client=(peer, 50_000))
        client.__enter__()
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(service: SearchService, client_of: GetClient) -> TestClient:
    """A client without a token."""
    return client_of(service)


@pytest.fixture(scope="module")
def asking(service: SearchService) -> Iterator[GetClient]:
    """Clients for all tests of a module that only ask: to make an application takes longer than they do."""
    opened: dict[str, TestClient] = {}

    def shared(token: str = "") -> TestClient:
        if token not in opened:
            settings = ServeSettings(max_pixels=1_000_000, refresh_seconds=60, searches_a_minute=100_000, token=token)
            opened[token] = TestClient(create_app(service, settings), base_url=URL, client=("127.0.0.1", 50_000))
            opened[token].__enter__()
        return opened[token]

    yield shared
    for client in opened.values():
        client.__exit__(None, None, None)


@pytest.fixture
def photo() -> bytes:
    """The third picture of the gallery, as its file."""
    return png(picture(2))


@pytest.fixture
def served(service: SearchService) -> Iterator[str]:
    """The address of a real server in a thread."""
    with serving(service, ServeSettings(port=0, searches_a_minute=100_000)) as address:
        yield address
