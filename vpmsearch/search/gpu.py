"""The arithmetic of `vpmsearch.search.distances` in torch, for a GPU. Eq. 4 is that of `vpmsearch.equations`.

It also runs on the CPU; tests use that on machines without a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vpmsearch.eq4 import expansion_error, underflow_error
from vpmsearch.equations import listed_distance, visibility_weighted_distance
from vpmsearch.model.device import Device
from vpmsearch.search import distances
from vpmsearch.search.distances import NOTHING, Distances, Found, Scanned
from vpmsearch.search.products import scaled_weights, spans
from vpmsearch.types import Bool, Float32, Int64, RegionFeatures

TILE_ROWS = 1024
"""Gallery images that are widened to float32 at once for a single query on the CPU."""
FACTOR_ROUNDING = {"none": 0.0, "ieee": 0.0, "tf32": 2.0**-10, "bf16": 2.0**-7}
"""Relative rounding error of the factors of a float32 product, by torch's name for the precision of products."""

_Block = tuple[Tensor, Tensor, Tensor, Tensor]  # rows (m,), embeddings (m, p, d), weights and ‖b‖² (m, p)


class DeviceDistances(Distances):
    """Eq. 4 between queries and the images of a snapshot, on one device.

    Args:
        snapshot: the images. device: where distances are computed. keep: whether the embeddings stay on the device
            after the first scan, in their stored type; by default on a GPU that has the memory.
    """

    def __init__(self, snapshot: Scanned, device: torch.device, *, keep: bool | None = None) -> None:
        super().__init__(snapshot)
        self._device = device
        self._keep = keep
        self._kept: list[_Block] | None = None

    def _float32(self) -> AbstractContextManager[object]:
        """Compute in float32, even if the host program has switched torch to a smaller type (autocast)."""
        return torch.autocast(self._device.type, enabled=False)

    def nearest(self, query: RegionFeatures, rows: Int64, k: int, known: Found = NOTHING) -> Found:
        """As `Distances.nearest`."""
        with self._float32():
            return super().nearest(query, rows, k, known)

    def scan(self, queries: RegionFeatures, k: int, allowed: Bool | None = None) -> list[Found]:
        """As `Distances.scan`."""
        with self._float32():
            return super().scan(queries, k, allowed)

    def direct(self, query: RegionFeatures, rows: Int64) -> Float32:
        """Eq. 4 of one query against some rows: (len(rows),) float32."""
        values = (query.embeddings, query.visibility, self._snapshot.stored(rows), self.visibility[rows])
        computed = visibility_weighted_distance(*(torch.from_numpy(value).to(self._device) for value in values))
        return computed[0].cpu().numpy()

    def _nearest_listed(self, queries: RegionFeatures, rows: Int64, listed: Bool, k: int) -> list[Found]:
        """The k nearest to each query in its own list: rows (Q, c) where listed (Q, c). Ties go by image id."""
        count, found = rows.shape[1], list[Found]()
        if count > distances.BLOCK_ROWS:
            return [self.nearest(queries[i : i + 1], np.sort(rows[i][listed[i]]), k) for i in range(len(queries))]
        step = distances.BLOCK_ROWS // max(count, 1)
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            asked, some = queries[part], rows[part]
            shape = (*some.shape, queries.num_regions, queries.embedding_dim)  # (q · c, p, d) -> (q, c, p, d)
            stored = self._snapshot.stored(some.ravel()).reshape(shape)
            values = (asked.embeddings, asked.visibility, stored, self.visibility[some])
            computed = listed_distance(*(torch.from_numpy(value).to(self._device) for value in values)).cpu().numpy()
            found_here = np.where(listed[part], computed, np.float32(np.inf))
            for own, distance in zip(some, found_here, strict=True):
                best = np.lexsort((own, distance))[:k]
                best = best[np.isfinite(distance[best])]  # an image that shares no region is no result
                found.append((own[best], distance[best]))
        return found

    def _least_lower_bounds(self, queries: RegionFeatures, count: int, allowed: Bool | None) -> tuple[Int64, Float32]:
        """Rows (Q, count) of the images with the least lower bounds, and these bounds. Where ∞, there is no image."""
        q = torch.from_numpy(queries.embeddings).to(self._device).transpose(0, 1)  # (Q, p, d) -> (p, Q, d)
        weights = torch.from_numpy(scaled_weights(queries.visibility)).to(self._device)
        shown = spans(queries.visibility)
        best = torch.full((len(queries), count), torch.inf, dtype=torch.float32, device=self._device)
        best_rows = torch.zeros((len(queries), count), dtype=torch.int64, device=self._device)
        for rows, block, g_weights, g_norms in self._device_blocks(allowed, self._block_rows(len(queries))):
            lower = lower_bounds(q, weights, shown, block, g_weights, g_norms)
            if count < lower.shape[1]:
                lower, places = torch.topk(lower, count, dim=1, largest=False, sorted=False)
                block_rows = rows[places]
            else:
                block_rows = rows.expand(lower.shape)
            best, places = torch.topk(torch.cat([best, lower], 1), count, dim=1, largest=False)
            best_rows = torch.cat([best_rows, block_rows], 1).gather(1, places)
        return best_rows.cpu().numpy(), best.cpu().numpy()

    def _block_rows(self, queries: int) -> int:
        """Images whose distances are held at once: more for a single query, and more on a GPU to keep it busy."""
        return distances.BLOCK_ROWS * (32 if self._device.type == "cuda" else 8 if queries == 1 else 1)

    def _device_blocks(self, allowed: Bool | None, size: int) -> Iterator[_Block]:
        """The gallery in blocks on the device. Images that are not allowed are left out or have weights of 0."""
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
        return torch.from_numpy(rows).to(self._device), block, weights, self._norms_on_device(rows, block)

    def _norms_on_device(self, rows: Int64, block: Tensor) -> Tensor:
        """‖b‖² of some images (m, p, d): (m, p). All queries share it, so only the first computes it."""
        known = self._norms[rows]
        if np.isnan(known).any():
            known = squared_norms(block).cpu().numpy()
            self._norms[rows] = known
        return torch.from_numpy(known).to(self._device)

    def _room(self) -> bool:
        """Whether a GPU has the memory for all embeddings, and as much again as it needs to work."""
        if self._device.type != "cuda":
            return False
        info, stored = self._snapshot.model_info, self._snapshot.stored_model
        needed = len(self._snapshot) * info.p * info.embedding_dim * np.dtype(stored.embedding_dtype).itemsize
        return 2 * needed < torch.cuda.mem_get_info(self._device)[0]


def torch_device(device: Device) -> torch.device:
    """The same device, by number. Plain "cuda" means the current GPU of a thread, and searches use several threads."""
    return torch.device(device.type, device.index or 0)


def _tensor(array: NDArray[np.floating[Any]]) -> Tensor:
    """A tensor over the memory of an array. That may be a read-only map: torch has none, but nothing here writes."""
    if array.flags.writeable or array.size == 0:
        return torch.from_numpy(np.array(array) if array.size == 0 else array)

    class _Memory:
        __array_interface__ = array.__array_interface__ | {"data": (array.ctypes.data, False)}
        keep = array

    return torch.from_numpy(np.asarray(_Memory()))


def squared_norms(block: Tensor) -> Tensor:
    """(m, p, d), of any dtype -> (m, p), float32."""
    norms = [torch.linalg.vector_norm(region.float(), dim=1).square_() for region in block.unbind(1)]
    return torch.stack(norms, dim=1)


def factor_rounding(device: torch.device) -> float:
    """Relative rounding error of the factors of float32 products on a device, see `FACTOR_ROUNDING`.

    It depends on how the host program has set torch. torch has two settings for it. Once the newer one
    (`torch.backends.….fp32_precision`) was used, `torch.get_float32_matmul_precision` raises an error. The newer one
    also knows what the older one has set, so it is read.
    """
    backend = torch.backends.cuda if device.type == "cuda" else torch.backends.mkldnn
    return FACTOR_ROUNDING.get(backend.matmul.fp32_precision, FACTOR_ROUNDING["bf16"])


def _expanded(q: Tensor, block: Tensor, g_norms: Tensor, shown: Mapping[int, slice]) -> Iterator[Tensor]:
    """‖b‖² − 2ab of each region for the queries in its span, (span, m).

    Args:
        q: (p, Q, d). block: (m, p, d). g_norms: (m, p). shown: by region, its span of queries.
    """
    if q.shape[1] > 1 or q.device.type != "cpu":
        for region, span in shown.items():
            g = block[:, region].float()  # (m, d), strided: the product needs no copy
            yield torch.addmm(g_norms[None, :, region], q[region, span], g.T, alpha=-2)
        return
    # One query reads each number once, so memory limits its speed. Parts that fit the cache are widened and multiplied.
    m, d, regions = len(block), q.shape[2], list(shown)
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


def lower_bounds(
    q: Tensor, q_weights: Tensor, shown: Mapping[int, slice], block: Tensor, g_weights: Tensor, g_norms: Tensor
) -> Tensor:
    """Lower bounds of Eq. 4, up to `SLACK`; ∞ where no region is shared.

    Args:
        q: (p, Q, d). q_weights: (Q, p). shown: by region, the span of queries that show it. block: (m, p, d).
        g_weights, g_norms (‖b‖²): (m, p).

    Returns:
        (Q, m).
    """
    queries, d = q.shape[1:]
    lower, total = q_weights.new_zeros(queries, len(block)), q_weights @ g_weights.T
    rounding = factor_rounding(q.device)
    gamma = expansion_error(d) + rounding
    for (region, span), squares in zip(shown.items(), _expanded(q, block, g_norms, shown), strict=True):
        norms = q[region, span].square().sum(dim=1)  # (Q,), of those in the span
        error = gamma * (norms.sqrt() + g_norms[:, region].max().sqrt()).square() + underflow_error(d)
        squares += (norms - error)[:, None]  # (Q, m)
        distance = squares.clamp_(min=0).sqrt_()
        if not error.isfinite().all():  # nothing is known beyond float32's range; 0 is always a lower bound
            distance.nan_to_num_(nan=0.0, posinf=0.0)
        lower[span].addcmul_(distance.mul_(g_weights[:, region]), q_weights[span, region, None])
    shared = (q_weights > 0).float() @ (g_weights > 0).float().T > 0
    # Weights too small for float32 tell nothing either. The sum of the others is a product too and has its rounding.
    lower = torch.where(total > 1e-30, lower / total * (1 - 2 * rounding), 0.0)
    return torch.where(shared, lower, torch.inf)
