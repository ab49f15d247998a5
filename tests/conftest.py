"""What all tests share: one thread a process, no deadlines, and a handful of images drawn with numpy.

xdist's own process loads this file before it starts its workers, so nothing heavy is imported here but for them.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from vpmsearch.data.datasets import LabelledImage

os.environ["VPMSEARCH_EXPORT"] = "never"  # no test leaves a process behind that exports its weights
# One thread for the workers of xdist and all programs that tests start: they run beside each other, and threads that
# wait for each other spin.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
DATA_FILES = Path(__file__).parent / "data_files"

if "PYTEST_XDIST_WORKER" in os.environ or "auto" not in sys.argv:  # with `-n auto` the process itself runs no test
    import torch  # before faiss, which then shares its OpenMP and so its one thread

    torch.set_num_threads(1)  # tests are many and small, and run beside each other

# Without a deadline: a busy machine is slow, not wrong. A test without `max_examples` of its own takes its profile's.
settings.register_profile("fast", deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("fast"), max_examples=100)


def pytest_configure(config: pytest.Config) -> None:
    """Load the profile of examples before the tests are: "thorough" where slow tests are run as well."""
    if not config.getoption("--hypothesis-profile"):
        settings.load_profile("fast" if "not slow" in config.getoption("markexpr") else "thorough")
    gc.disable()  # what is imported and collected stays; looking through it again and again is a sixth of that time


def pytest_collection_finish() -> None:
    """Keep what was collected out of later garbage collections."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Let go of it again, or libraries complain of leaks when the process ends."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def data_files() -> Path:
    """The folder of files that tests read and never write."""
    return DATA_FILES


@pytest.fixture(scope="session")
def tiny() -> Iterator[str]:
    """The name of a backbone that costs nothing, known to the package while the test runs."""
    from tiny_trunk import tiny_backbone

    from vpmsearch.model.trunks import BACKBONES

    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(BACKBONES, "tiny", tiny_backbone)
        yield "tiny"


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    """What was written is read from the system's cache, so nothing waits for the disk but processes of their own.

    That files are synced at all, and before they are named, is shown by tests that put a call of theirs here.
    """
    with pytest.MonkeyPatch.context() as patched:
        for name in ("fsync", "fdatasync"):
            patched.setattr(os, name, lambda handle: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def lightly_compressed() -> Iterator[None]:
    """PNG files are compressed little. To compress them as usual is a third of the time of drawing a picture."""
    from PIL import PngImagePlugin

    usual = Image.SAVE[PngImagePlugin.PngImageFile.format]

    def quickly(image: Image.Image, *given: object, **more: object) -> None:
        image.encoderinfo.setdefault("compress_level", 1)
        usual(image, *given, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(Image.SAVE, PngImagePlugin.PngImageFile.format, quickly)
        yield


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """SQL statements are compiled once a process. SQLAlchemy compiles them once an engine, and tests open many."""
    from vpmsearch.store.folder import tables

    usual = tables.create_engine
    first = usual("sqlite://")
    with first.connect():  # which makes the dialect ready
        pass

    def sharing(*given: object, **options: object) -> object:
        engine = usual(*given, **options)
        engine.dialect, engine._compiled_cache = first.dialect, first._compiled_cache
        return engine

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tables, "create_engine", sharing)
        yield
    first.dispose()


@pytest.fixture(scope="session", autouse=True)
def impatient() -> Iterator[None]:
    """A compaction waits five seconds for readers unless told otherwise; here nobody lets go meanwhile."""
    from vpmsearch.store import GalleryStore
    from vpmsearch.store.folder import compaction

    with pytest.MonkeyPatch.context() as patched:
        for function in (compaction.compact, GalleryStore.compact):
            patched.setitem(function.__kwdefaults__, "wait_seconds", 0.2)
        yield


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for $XDG_CACHE_HOME where it may hold models already: an export takes seconds.

    All workers of xdist share it. What is exported anew if it is not there, or damaged, is for other tests.
    """
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "exported"


@pytest.fixture(scope="session")
def drawn_images(tmp_path_factory: pytest.TempPathFactory) -> list[LabelledImage]:
    """Six identities × four images of 64 × 32 pixels: three bands of the identity's colours, and noise."""
    folder = tmp_path_factory.mktemp("drawn")
    rng = np.random.default_rng(0)
    images = []
    for pid in range(6):
        bands = rng.integers(0, 256, (3, 1, 1, 3))
        for number in range(4):
            clean = np.broadcast_to(bands, (3, 22, 32, 3)).reshape(66, 32, 3)[:64]  # (bands, h, w, 3) -> (3·h, w, 3)
            noisy = np.clip(clean + rng.normal(0, 20, clean.shape), 0, 255).astype(np.uint8)
            path = folder / f"{pid:04}_c{number % 2 + 1}_{number}.png"
            Image.fromarray(noisy).save(path)
            images.append(LabelledImage(path, pid=pid + 10, camid=number % 2 + 1))
    return images
