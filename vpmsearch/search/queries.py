"""Makes queries of only some regions of an image, or of several photographs of one person. Pure functions.

They change a query's visibility and choose its embeddings. Eq. 4 then weighs the regions as for any query.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vpmsearch.errors import FeatureError
from vpmsearch.types import RegionFeatures

HEAD, TORSO, LEGS = "head", "torso", "legs"


def region_names(grid: tuple[int, int]) -> tuple[str, ...]:
    """The part of a standing body that each region covers: "head", "torso" or "legs", p of them.

    The regions lie on the holistic person, so a region's row decides. The head is the upper sixth of a person's box,
    and the legs are its lower half. A row belongs to the part in which its middle lies. A grid of one row has no
    parts: "body".

    Args:
        grid: (m, n) rows and columns of regions.
    """
    rows, columns = grid
    if rows == 1:
        return ("body",) * columns
    # The middle of row i is at (2i + 1) / 2m of the height.
    names = [HEAD if 3 * (2 * i + 1) <= rows else TORSO if 2 * i + 1 <= rows else LEGS for i in range(rows)]
    return tuple(name for name in names for _ in range(columns))


def parse_regions(text: str, grid: tuple[int, int]) -> tuple[int, ...] | None:
    """Read regions as people write them: "0,1", "torso", "head, 3".

    Args:
        text: numbers from 0 to p − 1 and names, with commas between them. grid: (m, n) rows and columns of regions.

    Returns:
        The regions, ascending, each once; None, for all regions, if the text is empty.

    Raises:
        FeatureError: there is no such region; the message lists the regions.
    """
    if not text.strip():
        return None
    names = region_names(grid)
    chosen: set[int] = set()
    for part in (word.strip().lower() for word in text.split(",")):
        if part in names:
            chosen.update(region for region, name in enumerate(names) if name == part)
        elif part.isascii() and part.isdigit() and len(part) < 6 and int(part) < len(names):
            chosen.add(int(part))
        else:
            known = ", ".join(dict.fromkeys(names))
            raise FeatureError(f"there is no region {part[:40]!r}; the index has 0 to {len(names) - 1}, and {known}")
    return tuple(sorted(chosen))


def only_regions(features: RegionFeatures, regions: Sequence[int] | None) -> RegionFeatures:
    """The same queries as if they showed nothing but these regions: all others get visibility 0.

    Args:
        features: n queries, (n, p) and (n, p, d). regions: 0 to p − 1, at least one; None leaves the queries alone.

    Raises:
        FeatureError: there is no such region, or none is named.
    """
    if regions is None:
        return features
    p = features.num_regions
    if not len(regions) or min(regions) < 0 or max(regions) >= p:
        raise FeatureError(f"regions must be some of 0 to {p - 1}, got {list(regions)}")
    kept = np.zeros(p, np.bool_)
    kept[list(regions)] = True
    return RegionFeatures(np.where(kept, features.visibility, np.float32(0)), features.embeddings)


def together(features: RegionFeatures) -> tuple[RegionFeatures, tuple[int, ...]]:
    """Several photographs of one person as one query. Each region is taken from the photograph that shows most of it.

    So an upper and a lower half make a whole person. A visibility is a share of its own photograph, also for a half
    that fills its frame, so the sum over the regions may be more than 1.

    Args:
        features: n ≥ 1 photographs, (n, p) and (n, p, d).

    Returns:
        One query, (1, p) and (1, p, d), and for each region the photograph it was taken from, 0 to n − 1; the first
        of several that show equally much.

    Raises:
        FeatureError: no photograph.
    """
    if not len(features):
        raise FeatureError("a query needs at least one photograph")
    best = features.visibility.argmax(axis=0)  # (n, p) -> (p,)
    regions = np.arange(features.num_regions)
    query = RegionFeatures(features.visibility[best, regions][None], features.embeddings[best, regions][None])
    return query, tuple(best.tolist())


def summed(parts: Sequence[RegionFeatures], threshold: float) -> RegionFeatures:
    """Joins images of the same people to one image of each, as if the pixels of all were those of one photograph.

        f_i = Σ C_i f_i / Σ C_i        C_i = Σ C_i

    The visibility is not divided by the number of parts. Eq. 4 does not depend on the scale of a query's visibility,
    and divided, what a whole image shows of a region would fall below the default `min_visibility`.

    Args:
        parts: at least one, each of n images, (n, p) and (n, p, d). threshold: `min_visibility`; a region below it
            counts as not shown.

    Returns:
        (n, p) and (n, p, d); the sum of visibilities is in [0, number of parts]. A region that no part shows has
        visibility 0.
    """
    total = np.zeros(parts[0].visibility.shape)
    weighted = np.zeros(parts[0].embeddings.shape)
    for part in parts:
        shown = np.where(part.visibility >= threshold, part.visibility, 0).astype(np.float64)
        total += shown
        # An embedding counts as 0 where its region does not count; it may hold anything there.
        weighted += np.where(shown[:, :, None] > 0, part.embeddings, 0) * shown[:, :, None]
    mean = np.divide(weighted, total[:, :, None], out=np.zeros_like(weighted), where=total[:, :, None] > 0)
    return RegionFeatures(total.astype(np.float32), mean.astype(np.float32))
