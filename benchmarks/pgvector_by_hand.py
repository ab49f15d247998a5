"""Our default search of a server's index beside what a competent user would write with pgvector, at equal recall.

    python benchmarks/pgvector_by_hand.py --server postgresql+psycopg://me@/gallery --images 20000 --gallery reid_like

The database holds an index of the gallery of reid_like.py in float16, as `benchmarks/server_store.py` builds it, with
HNSW. By hand: one statement for each region that the query shows asks its graph for k' neighbours, with ef_search k'
or 2k'. Then Eq. 4 of their union is computed in NumPy. The embeddings of the union come from the server (`fetched`),
or the client holds the whole gallery in memory as float32 (`in memory`). Both search the same table and graphs, on one
connection each, with plans that the server keeps; a user's own table would have the same columns.

All ways answer each query in turn. Taken is CPU time, the client's and that of the server's process behind the
connection, which must run on this machine: medians in milliseconds. Recall@10 is of the distances of an exact search.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from machine import report
from reid_like import GALLERIES
from server_beside import server_ms

from vpmsearch.search.open import searcher
from vpmsearch.store.open import open_index
from vpmsearch.types import RegionFeatures, SearchResult

K = 10
BYTES = np.dtype(">f2")


class Half(bytes):
    """One vector in the binary form of pgvector's halfvec."""

    @classmethod
    def of(cls, numbers: np.ndarray) -> Half:
        """One of (d,) numbers."""
        return cls(len(numbers).to_bytes(2) + bytes(2) + numbers.astype(BYTES).tobytes())


class HalfDumper(psycopg.adapt.Dumper):
    """Sends a `Half` as it is, as the Python package pgvector does."""

    format = psycopg.pq.Format.BINARY

    def dump(self, obj: bytes) -> bytes:
        """Nothing is left to do."""
        return obj


@dataclass
class Way:
    """One way to search. answer: a query's distances, nearest first. pid: of its server process."""

    name: str
    answer: Callable[[RegionFeatures], list[float]]
    pid: Callable[[], int]
    client: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)
    recalls: list[float] = field(default_factory=list)

    def ask(self, query: RegionFeatures, right: list[float]) -> None:
        """Answer one query. right: the distances of an exact search."""
        pid = self.pid()
        server, client = server_ms(pid), time.process_time()
        found = self.answer(query)
        self.client.append(1e3 * (time.process_time() - client))
        self.server.append(server_ms(pid) - server)
        self.recalls.append(float(np.mean(np.array(found)[: len(right)] <= right[-1] * (1 + 1e-5))))

    def row(self, warm: int) -> dict[str, Any]:
        """What the table says of it."""
        both = np.add(self.client, self.server)[warm:]
        return {
            "way": self.name,
            "recall@10": float(np.mean(self.recalls[warm:])),
            "client ms": float(np.median(self.client[warm:])),
            "server ms": float(np.median(self.server[warm:])),
            "both ms": float(np.median(both)),
            "both p95": float(np.percentile(both, 95)),
        }


class ByHand:
    """pgvector, asked by a user's own statements.

    Args:
        gallery: visibility (n, p), 0 where it does not count, and embeddings, held in memory; or None. An image's id
            is its row and one more.
    """

    def __init__(self, uri: str, least: float, gallery: RegionFeatures | None) -> None:
        self.connection = psycopg.connect(uri.replace("+psycopg", ""), autocommit=True)
        self.connection.prepare_threshold = 0
        self.connection.execute("SET jit = off")
        self.connection.adapters.register_dumper(Half, HalfDumper)
        self.pid = self.connection.info.backend_pid
        self.least, self.gallery = least, gallery

    def way(self, depth: int, breadth: int) -> Way:
        """A search for `depth` neighbours in each region."""

        def answer(query: RegionFeatures) -> list[float]:
            weights = np.where(query.visibility[0] >= self.least, query.visibility[0], 0)
            named: set[int] = set()
            with self.connection.cursor(binary=True) as cursor:
                cursor.execute(f"SET hnsw.ef_search = {breadth}")
                for region in np.flatnonzero(weights).tolist():
                    cursor.execute(
                        f"SELECT image_id FROM image_feature ORDER BY embedding_{region} <-> %s::halfvec LIMIT {depth}",
                        [Half.of(query.embeddings[0, region])],
                    )
                    named.update(row[0] for row in cursor.fetchall())
                visibility, embeddings = self._features(cursor, sorted(named), weights.size)
            both = visibility * weights
            distances = np.linalg.norm(embeddings - query.embeddings[0], axis=2)
            distances = (both * distances).sum(axis=1) / both.sum(axis=1)
            return np.sort(distances)[:K].tolist()

        held = "fetched" if self.gallery is None else "in memory"
        return Way(f"by hand, {held}, k' {depth}, ef_search {breadth}", answer, lambda: self.pid)

    def _features(self, cursor: psycopg.Cursor[Any], ids: list[int], p: int) -> tuple[np.ndarray, np.ndarray]:
        """Visibility (m, p) and embeddings (m, p, d) of images."""
        if self.gallery is not None:
            rows = np.array(ids) - 1
            return self.gallery.visibility[rows], self.gallery.embeddings[rows]
        columns = ", ".join(f"visibility_{r}, embedding_{r}" for r in range(p))
        cursor.execute(f"SELECT {columns} FROM image_feature WHERE image_id = ANY(%s)", [ids])
        found = cursor.fetchall()
        visibility = np.array([row[::2] for row in found], np.float32)
        shown = ~np.isnan(visibility)
        raw = np.frombuffer(b"".join(value for row in found for value in row[1::2] if value is not None), np.uint8)
        vectors = np.ascontiguousarray(raw.reshape(shown.sum(), -1)[:, 4:]).view(BYTES).astype(np.float32)
        embeddings = np.zeros((*shown.shape, vectors.shape[1]), np.float32)
        embeddings[shown] = vectors
        return np.where(shown, visibility, 0), embeddings


def list_of(results: list[SearchResult]) -> list[float]:
    """The distances of one answer."""
    return [match.distance for match in results[0].matches]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, help="postgresql+psycopg://… of the index")
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--gallery", default="reid_like", choices=list(GALLERIES))
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--warm", type=int, default=5, help="queries before those that count")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    people = GALLERIES[args.gallery](args.images, seed=args.seed)
    made = people.queries(args.queries)
    queries = RegionFeatures(made.visibility, made.embeddings.astype(np.float16).astype(np.float32))
    with open_index(args.server) as store:
        engine, least = searcher(store), store.model_info.threshold
        features = RegionFeatures.concatenate([block for _, block in people.blocks()])
        counted = np.where(features.visibility >= least, features.visibility, np.float32(0))
        gallery = RegionFeatures(counted, features.embeddings.astype(np.float16).astype(np.float32))
        assert store.snapshot.image_ids.tolist() == list(range(1, args.images + 1))

        def ours(query: RegionFeatures) -> list[float]:
            return list_of(engine.search(query, K))

        def pid() -> int:
            found: int = store.server.read(lambda cursor: cursor.execute("SELECT pg_backend_pid()").fetchone()[0])
            return found

        ways = [Way("ours", ours, pid)]
        for held in (None, gallery):
            hand = ByHand(args.server, least, held)
            ways += [hand.way(depth, breadth) for depth in (50, 200, 400) for breadth in (depth, 2 * depth)]
        exact = [list_of(engine.search(queries[row : row + 1], K, True)) for row in range(args.queries)]
        for turn in [*range(args.warm), *range(args.queries)]:
            for way in ways:
                way.ask(queries[turn : turn + 1], exact[turn])
    rows = [{"gallery": args.gallery, "images": args.images} | way.row(args.warm) for way in ways]
    report(rows, args.output, args.seed)


if __name__ == "__main__":
    main()
