"""Galleries whose neighbourhoods look like re-ID, of any size, from a seed.

Per region an embedding is a point of a 48-dimensional latent space (its spectrum falls as 1/√j, as people differ in few
ways that matter) put into 256 dimensions by a random basis, plus a little noise in all of them:

    own part of the identity + a part shared with about eight other identities (clothes) + camera + image

There are 20 images an identity and 8 cameras. Visibility: shares of a whole body (as a model gives them for
Market-1501) with some noise; `partial` of the images are cut from above or below to 50-100 % of the height: what is cut
off has a share of about 0.01, and regions that are cut through are noisier. Queries are new images of the gallery's
identities; every second one is cut to half of the height.

`Mixture` is a harder gallery. Each region has 400 parts in all 256 dimensions, and an identity is a choice of one part
for each region with a small change. So the images of many identities lie around each part, equally far from each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vpmsearch.types import RegionFeatures

REGIONS, DIM, LATENT = 6, 256, 48
PER_IDENTITY, CAMERAS, SHARING = 20, 8, 8
BODY = np.array([0.174, 0.138, 0.189, 0.187, 0.140, 0.172], np.float32)
OWN, SHARED, CAMERA, IMAGE, ISOTROPIC = 0.6, 0.7, 0.25, 0.45, 0.05
PARTS, CHANGE = 400, 0.2
BLOCK = 16_384
QUERY_BLOCK = 64


@dataclass(frozen=True)
class Latent:
    """What images are drawn from.

    centres: (identities, p, l). cameras: (8, p, l). spectrum: (l,), the scale of the noise. bases: (p, l, 256), or None
    where the latent space is that of the embeddings.
    """

    centres: np.ndarray
    cameras: np.ndarray
    spectrum: np.ndarray
    bases: np.ndarray | None


@dataclass(frozen=True)
class People:
    """The identities of a gallery of `images` images, of which a share `partial` shows a part of the body only."""

    images: int
    partial: float = 0.25
    seed: int = 0

    @property
    def identities(self) -> int:
        """How many there are."""
        return max(1, self.images // PER_IDENTITY)

    def pids(self) -> np.ndarray:
        """(images,)."""
        return np.random.default_rng([self.seed, 1]).integers(self.identities, size=self.images)

    def _latent(self) -> Latent:
        rng = np.random.default_rng([self.seed, 2])
        spectrum = (1 + np.arange(LATENT, dtype=np.float32)) ** -0.5
        spectrum /= np.linalg.norm(spectrum)

        def draw(count: int) -> np.ndarray:
            return spectrum * rng.standard_normal((count, REGIONS, LATENT), dtype=np.float32)

        pool = draw(max(1, self.identities // SHARING))
        chosen = rng.integers(len(pool), size=(self.identities, REGIONS))
        centres = OWN * draw(self.identities) + SHARED * pool[chosen, np.arange(REGIONS)]
        bases = rng.standard_normal((REGIONS, LATENT, DIM), dtype=np.float32) / np.sqrt(np.float32(DIM))
        return Latent(centres, CAMERA * draw(CAMERAS), spectrum, bases)

    def blocks(self) -> Iterator[tuple[np.ndarray, RegionFeatures]]:
        """The gallery, `BLOCK` images at a time."""
        latent, pids = self._latent(), self.pids()
        for start in range(0, self.images, BLOCK):
            rng = np.random.default_rng([self.seed, 3, start])
            part = pids[start : start + BLOCK]
            kept = np.where(rng.random(len(part)) < self.partial, rng.uniform(0.5, 1, len(part)), 1)
            yield part, _images(rng, latent, part, kept.astype(np.float32))

    def queries(self, count: int) -> RegionFeatures:
        """Every second one half a body; the first ones are the same however many are asked for."""
        latent, parts = self._latent(), []
        kept = np.where(np.arange(QUERY_BLOCK) % 2 == 0, 1, 0.5).astype(np.float32)
        for start in range(0, max(count, 1), QUERY_BLOCK):
            rng = np.random.default_rng([self.seed, 4, start])
            parts.append(_images(rng, latent, rng.integers(self.identities, size=QUERY_BLOCK), kept))
        return RegionFeatures.concatenate(parts)[:count]


@dataclass(frozen=True)
class Mixture(People):
    """A gallery whose identities are choices among 400 parts a region."""

    def _latent(self) -> Latent:
        rng = np.random.default_rng([self.seed, 5])
        spectrum = np.full(DIM, DIM**-0.5, np.float32)

        def draw(count: int) -> np.ndarray:
            return spectrum * rng.standard_normal((count, REGIONS, DIM), dtype=np.float32)

        chosen = rng.integers(PARTS, size=(self.identities, REGIONS))
        centres = CHANGE * draw(self.identities) + SHARED * draw(PARTS)[chosen, np.arange(REGIONS)]
        return Latent(centres, CAMERA * draw(CAMERAS), spectrum, None)


GALLERIES: dict[str, type[People]] = {"reid_like": People, "mixture": Mixture}
"""The generators by name."""


def _images(rng: np.random.Generator, latent: Latent, pids: np.ndarray, kept: np.ndarray) -> RegionFeatures:
    """Images of identities (n,), cut to shares of the height (n,), from above or below."""
    n = len(pids)
    whole = np.clip(kept[:, None] * REGIONS - np.arange(REGIONS, dtype=np.float32), 0, 1)  # (n, p): from above
    whole = np.where(rng.random(n)[:, None] < 0.5, whole, whole[:, ::-1])
    noise = IMAGE * rng.lognormal(0, 0.25, (n, 1, 1)).astype(np.float32) * (1.5 - 0.5 * whole[:, :, None])
    points = latent.centres[pids] + latent.cameras[rng.integers(CAMERAS, size=n)]
    points += noise * latent.spectrum * rng.standard_normal((n, *latent.centres.shape[1:]), dtype=np.float32)
    embeddings = points if latent.bases is None else np.empty((n, REGIONS, DIM), np.float32)
    if latent.bases is not None:
        for region in range(REGIONS):
            embeddings[:, region] = points[:, region] @ latent.bases[region]
        embeddings += ISOTROPIC / np.sqrt(np.float32(DIM)) * rng.standard_normal(embeddings.shape, dtype=np.float32)
    visibility = (whole * BODY + 0.01) * rng.lognormal(0, 0.12, (n, REGIONS)).astype(np.float32)
    return RegionFeatures(visibility / visibility.sum(axis=1, keepdims=True), embeddings)
