"""Eq. 4 against every image: a matrix product selects, then the selected are computed directly.

‖a − b‖² = ‖a‖² + ‖b‖² − 2ab makes a scan one matrix product a region, limited by memory for one query and by the
processor for many, but loses digits where embeddings are alike: by at most what `expansion_error` says. So the product
gives a lower bound of every distance; the k + m images of the least lower bounds are computed by `equations`, and where
the k-th of those is not below the last lower bound, m was too small and is quadrupled.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vpmsearch.equations import expansion_error, listed_distance, underflow_error, visibility_weighted_distance
from vpmsearch.store.values import StoredModel
from vpmsearch.types import Bool, Float32, Int64, ModelInfo, RegionFeatures

BLOCK_ROWS = 4096
"""Gallery images whose distances are held at once."""
TILE_ROWS = 1024
"""Gallery images that are widened to float32 at once for a single query: what fits a core's cache is read once."""
QUERY_ROWS = 512
"""Queries that share one pass over the gallery."""
EXTRA = 32
"""m: images computed directly beyond k, at first."""
SLACK = 2e-5
"""Rounding of what follows the squares, relative: sqrt, a sum over regions, a quotient, all in float32."""
FACTOR_ROUNDING = {"none": 0.0, "ieee": 0.0, "tf32": 2.0**-10, "bf16": 2.0**-7}
"""What the factors of a float32 product lose before it, relative, by torch's name for the precision of products."""

_Block = tuple[Tensor, Tensor, Tensor, Tensor]  # rows (m,), embeddings (m, p, d), weights and ‖b‖² (m, p)
Found = tuple[Int64, Float32]  # rows and distances of one query, nearest first
NOTHING: Found = (np.zeros(0, np.int64), np.zeros(0, np.float32))


class Scanned(Protocol):
    """Images that can be scanned, by rows that ascend with the image id: a `Snapshot`, or what comes from a server."""

    @property
    def model_info(self) -> ModelInfo:
        """The model whose embeddings they are."""

    @property
    def stored_model(self) -> StoredModel:
        """And how they are stored."""

    @property
    def visibility(self) -> Float32:
        """(N, p), as stored."""

    @property
    def visible(self) -> Bool:
        """(N, p), which of them count."""

    def __len__(self) -> int: ...

    def stored(self, rows: Int64) -> NDArray[np.floating[Any]]:
        """Embeddings (m, p, d) of some rows, in the order asked."""

    def blocks(self, size: int) -> Iterator[tuple[Int64, NDArray[np.floating[Any]]]]:
        """All of them: rows (m,) and embeddings (m, p, d), m up to `size`."""


class Distances:
    """Eq. 4 between queries and the images of a snapshot, on one device.

    Args:
        snapshot: what is searched. device: where distances are computed. keep: whether the embeddings stay there after
            the first scan, as stored; by default on a GPU that has the memory.
    """

    def __init__(self, snapshot: Scanned, device: torch.device, *, keep: bool | None = None) -> None:
        self._snapshot = snapshot
        self._device = device
        self._keep = keep
        self._kept: list[_Block] | None = None
        # What is below `min_visibility` counts as 0 wherever images are compared.
        self.visibility: Float32 = np.where(snapshot.visible, snapshot.visibility, np.float32(0))

    def nearest(self, query: RegionFeatures, rows: Int64, k: int, known: Found = NOTHING) -> Found:
        """The k nearest of `rows` (ascending) and of what is `known` to one query, ties by image id."""
        with self._float32():
            return self._nearest(query, rows, k, known)

    def _float32(self) -> AbstractContextManager[object]:
        """Computes in float32 even where the host program has told torch to use a smaller type for what it does."""
        return torch.autocast(self._device.type, enabled=False)

    def _nearest(self, query: RegionFeatures, rows: Int64, k: int, known: Found) -> Found:
        kept_rows, kept = known
        for start in range(0, len(rows), BLOCK_ROWS):
            block = rows[start : start + BLOCK_ROWS]
            kept_rows = np.concatenate([kept_rows, block])
            kept = np.concatenate([kept, self._direct(query, block)])
            shared = np.isfinite(kept)  # an image that shares no region is no result
            kept_rows, kept = kept_rows[shared], kept[shared]
            best = np.lexsort((kept_rows, kept))[:k]  # rows ascend with the image id
            kept_rows, kept = kept_rows[best], kept[best]
        return kept_rows, kept

    def _direct(self, query: RegionFeatures, rows: Int64) -> Float32:
        """Eq. 4 of one query against some rows: (len(rows),) float32."""
        values = (query.embeddings, query.visibility, self._snapshot.stored(rows), self.visibility[rows])
        distances = visibility_weighted_distance(*(torch.from_numpy(value).to(self._device) for value in values))
        return distances[0].cpu().numpy()

    def scan(self, queries: RegionFeatures, k: int, allowed: Bool | None = None) -> list[Found]:
        """The k nearest of all images, or of those allowed (N,), to each query, ties by image id."""
        # Those that show the same regions beside each other: a product then leaves out who does not show its region.
        order = np.argsort(_middle(queries.visibility), kind="stable")
        found: list[Found] = [NOTHING] * len(queries)
        for start in range(0, len(queries), QUERY_ROWS):
            some = order[start : start + QUERY_ROWS]
            with self._float32():
                answers = self._scan_some(queries[some], k, allowed)
            for query, answer in zip(some.tolist(), answers, strict=True):
                found[query] = answer
        return found

    def _scan_some(self, queries: RegionFeatures, k: int, allowed: Bool | None) -> list[Found]:
        found: list[Found] = [NOTHING] * len(queries)
        waiting, count = np.arange(len(queries)), k + EXTRA
        everything = len(self._snapshot) if allowed is None else int(allowed.sum())
        while len(waiting):
            part = queries[waiting]
            rows, lower = self._least_lower_bounds(part, min(count, everything), allowed)
            unsure = []
            nearest = self._nearest_listed(part, rows, np.isfinite(lower), k)
            for place, query in enumerate(waiting.tolist()):
                found[query] = nearest[place]
                # An image that is not listed is at least this far.
                horizon = lower[place, -1] * (1 - SLACK) if count < everything else np.inf
                last = found[query][1][-1] if len(found[query][1]) == k else np.float32(np.inf)
                if np.isfinite(horizon) and not last < horizon:
                    unsure.append(query)
            waiting, count = np.array(unsure, np.int64), 4 * count
        return found

    def _nearest_listed(self, queries: RegionFeatures, rows: Int64, listed: Bool, k: int) -> list[Found]:
        """The k nearest to each query of its own list, rows (Q, c) where listed (Q, c), ties by image id."""
        count, found = rows.shape[1], list[Found]()
        if count > BLOCK_ROWS:
            return [self.nearest(queries[i : i + 1], np.sort(rows[i][listed[i]]), k) for i in range(len(queries))]
        step = BLOCK_ROWS // max(count, 1)
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            asked, some = queries[part], rows[part]
            shape = (*some.shape, queries.num_regions, queries.embedding_dim)  # (q · c, p, d) -> (q, c, p, d)
            stored = self._snapshot.stored(some.ravel()).reshape(shape)
            values = (asked.embeddings, asked.visibility, stored, self.visibility[some])
            computed = listed_distance(*(torch.from_numpy(value).to(self._device) for value in values)).cpu().numpy()
            distances = np.where(listed[part], computed, np.float32(np.inf))
            for own, distance in zip(some, distances, strict=True):
                best = np.lexsort((own, distance))[:k]
                best = best[np.isfinite(distance[best])]  # an image that shares no region is no result
                found.append((own[best], distance[best]))
        return found

    def _least_lower_bounds(self, queries: RegionFeatures, count: int, allowed: Bool | None) -> tuple[Int64, Float32]:
        """Rows (Q, count) of the images with the least lower bounds of the distance, and those; ∞ is none."""
        q = torch.from_numpy(queries.embeddings).to(self._device).transpose(0, 1)  # (Q, p, d) -> (p, Q, d)
        weights = torch.from_numpy(_scaled(queries.visibility)).to(self._device)
        spans = _spans(queries.visibility)
        best = torch.full((len(queries), count), torch.inf, dtype=torch.float32, device=self._device)
        best_rows = torch.zeros((len(queries), count), dtype=torch.int64, device=self._device)
        for rows, block, g_weights, g_norms in self._blocks(allowed, self._block_rows(len(queries))):
            lower = _lower_bounds(q, weights, spans, block, g_weights, g_norms)
            if count < lower.shape[1]:
                lower, places = torch.topk(lower, count, dim=1, largest=False, sorted=False)
                block_rows = rows[places]
            else:
                block_rows = rows.expand(lower.shape)
            best, places = torch.topk(torch.cat([best, lower], 1), count, dim=1, largest=False)
            best_rows = torch.cat([best_rows, block_rows], 1).gather(1, places)
        return best_rows.cpu().numpy(), best.cpu().numpy()

    def _block_rows(self, queries: int) -> int:
        """Images whose distances are held at once: more where there is one query, or a GPU to keep busy."""
        return BLOCK_ROWS * (32 if self._device.type == "cuda" else 8 if queries == 1 else 1)

    def _blocks(self, allowed: Bool | None, size: int) -> Iterator[_Block]:
        """The gallery on the device; of images that are not allowed, either nothing or weights of 0."""
        if allowed is None:
            yield from self._kept if self._kept is not None else self._read(size)
        elif self._kept is not None:
            passed = torch.from_numpy(allowed).to(self._device)
            for rows, block, weights, norms in self._kept:
                yield rows, block, weights * passed[rows, None], norms
        else:
            chosen = np.flatnonzero(allowed)
            for start in range(0, len(chosen), size):
                some = chosen[start : start + size]
                yield self._on_device(some, self._snapshot.stored(some))

    def _read(self, size: int) -> Iterator[_Block]:
        keep, kept = self._room() if self._keep is None else self._keep, list[_Block]()
        for rows, embeddings in self._snapshot.blocks(size):
            block = self._on_device(rows, embeddings)
            if keep:
                kept.append(block)
            yield block
        if keep:
            self._kept = kept

    def _on_device(self, rows: Int64, embeddings: NDArray[np.floating[Any]]) -> _Block:
        block, weights = _tensor(embeddings).to(self._device), torch.from_numpy(self._weights[rows]).to(self._device)
        return torch.from_numpy(rows).to(self._device), block, weights, self._norms_of(rows, block)

    @functools.cached_property
    def _weights(self) -> Float32:
        return _scaled(self.visibility)

    @functools.cached_property
    def _norms(self) -> Float32:
        """‖b‖² (N, p) as far as it was computed, NaN elsewhere."""
        return np.full(self.visibility.shape, np.nan, np.float32)

    def _norms_of(self, rows: Int64, block: Tensor) -> Tensor:
        """‖b‖² of some images (m, p, d): (m, p). The same for every query, so computed by the first that comes."""
        known = self._norms[rows]
        if np.isnan(known).any():
            known = _squared_norms(block).cpu().numpy()
            self._norms[rows] = known
        return torch.from_numpy(known).to(self._device)

    def _room(self) -> bool:
        """Whether a GPU has the memory for all embeddings, and as much again as it needs to work."""
        if self._device.type != "cuda":
            return False
        info, stored = self._snapshot.model_info, self._snapshot.stored_model
        needed = len(self._snapshot) * info.p * info.embedding_dim * np.dtype(stored.embedding_dtype).itemsize
        return 2 * needed < torch.cuda.mem_get_info(self._device)[0]


def _scaled(visibility: Float32) -> Float32:
    """Visibility over its largest value per image, so that products do not vanish; the factor cancels in Eq. 4."""
    largest = visibility.max(axis=1, keepdims=True, initial=0)
    largest[largest == 0] = 1
    scaled: Float32 = visibility / largest
    return scaled


def _middle(visibility: Float32) -> NDArray[np.float64]:
    """The mean number of the regions that images (n, p) show: (n,), 0 where there is none."""
    shown = visibility > 0
    middle: NDArray[np.float64] = shown @ np.arange(shown.shape[1], dtype=np.float64) / np.maximum(shown.sum(axis=1), 1)
    return middle


def _spans(visibility: Float32) -> dict[int, slice]:
    """For each region that any of the queries (Q, p) shows, those from the first to the last that does."""
    shown = [np.flatnonzero(region) for region in (visibility > 0).T]
    return {region: slice(int(rows[0]), int(rows[-1]) + 1) for region, rows in enumerate(shown) if len(rows)}


def _tensor(array: NDArray[np.floating[Any]]) -> Tensor:
    """A tensor over the memory of an array, which may be a read-only map: torch knows none, and nothing here writes."""
    if array.flags.writeable or array.size == 0:
        return torch.from_numpy(np.array(array) if array.size == 0 else array)

    class _Memory:
        __array_interface__ = array.__array_interface__ | {"data": (array.ctypes.data, False)}
        keep = array

    return torch.from_numpy(np.asarray(_Memory()))


def _squared_norms(block: Tensor) -> Tensor:
    """(m, p, d), of any dtype -> (m, p), float32."""
    norms = [torch.linalg.vector_norm(region.float(), dim=1).square_() for region in block.unbind(1)]
    return torch.stack(norms, dim=1)


def factor_rounding(device: torch.device) -> float:
    """What products of float32 lose in their factors on a device, as the host program has set torch: see
    `FACTOR_ROUNDING`.

    torch has two ways to set it, and `torch.get_float32_matmul_precision` refuses to answer once the newer one
    (`torch.backends.….fp32_precision`) was used; that newer one knows what either has set.
    """
    backend = torch.backends.cuda if device.type == "cuda" else torch.backends.mkldnn
    return FACTOR_ROUNDING.get(backend.matmul.fp32_precision, FACTOR_ROUNDING["bf16"])


def _expanded(q: Tensor, block: Tensor, g_norms: Tensor, spans: Mapping[int, slice]) -> Iterator[Tensor]:
    """‖b‖² − 2ab of each region for the queries in its span: (p, Q, d), (m, p, d) and (m, p) -> (span, m)."""
    if q.shape[1] > 1 or q.device.type != "cpu":
        for region, span in spans.items():
            g = block[:, region].float()  # (m, d), strided: the product reads it where it is
            yield torch.addmm(g_norms[None, :, region], q[region, span], g.T, alpha=-2)
        return
    # One query reads each number once, so memory is what limits it: widen what fits the cache, multiply, go on.
    m, d, regions = len(block), q.shape[2], list(spans)
    first, last = min(regions, default=0), max(regions, default=-1) + 1
    wide = None if block.dtype == torch.float32 else q.new_empty(min(m, TILE_ROWS), last - first, d)
    products = q.new_empty(len(regions), 1, m)
    for start in range(0, m, TILE_ROWS):
        rows = slice(start, min(start + TILE_ROWS, m))
        tile = block[rows, first:last] if wide is None else wide[: rows.stop - start].copy_(block[rows, first:last])
        for place, region in enumerate(regions):
            out = products[place, 0, rows]
            torch.addmv(g_norms[rows, region], tile[:, region - first], q[region, 0], alpha=-2, out=out)
    yield from products


def _lower_bounds(
    q: Tensor, q_weights: Tensor, spans: Mapping[int, slice], block: Tensor, g_weights: Tensor, g_norms: Tensor
) -> Tensor:
    """At most Eq. 4, up to `SLACK`; ∞ where no region is shared.

    Args:
        q: (p, Q, d). q_weights: (Q, p). spans: by region, the queries that matter to it. block: (m, p, d). g_weights,
            g_norms (‖b‖²): (m, p).

    Returns:
        (Q, m).
    """
    queries, d = q.shape[1:]
    lower, total = q_weights.new_zeros(queries, len(block)), q_weights @ g_weights.T
    rounding = factor_rounding(q.device)
    gamma = expansion_error(d) + rounding
    for (region, span), squares in zip(spans.items(), _expanded(q, block, g_norms, spans), strict=True):
        norms = q[region, span].square().sum(dim=1)  # (Q,), of those in the span
        error = gamma * (norms.sqrt() + g_norms[:, region].max().sqrt()).square() + underflow_error(d)
        squares += (norms - error)[:, None]  # (Q, m)
        distance = squares.clamp_(min=0).sqrt_()
        if not error.isfinite().all():  # beyond float32's range nothing is known: 0 is always a lower bound
            distance.nan_to_num_(nan=0.0, posinf=0.0)
        lower[span].addcmul_(distance.mul_(g_weights[:, region]), q_weights[span, region, None])
    shared = (q_weights > 0).float() @ (g_weights > 0).float().T > 0
    # Weights too small for float32 tell nothing either; the sum of the others is a product too, and rounds as one.
    lower = torch.where(total > 1e-30, lower / total * (1 - 2 * rounding), 0.0)
    return torch.where(shared, lower, torch.inf)
