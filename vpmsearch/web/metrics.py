"""The server's metrics, which Prometheus reads at /api/metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from vpmsearch.types import SearchResult

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The metrics of one server.

    They have a registry of their own: several servers may run in one process, and a registry takes each name once.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ["method", "route", "status"]
        self.requests = Counter("vpmsearch_requests", "Requests answered.", labels, registry=self.registry)
        self.seconds = Histogram(
            "vpmsearch_request_seconds", "Time to answer.", ["route"], buckets=_SECONDS, registry=self.registry
        )
        self.refused = Counter("vpmsearch_refused", "Requests refused unread.", ["reason"], registry=self.registry)
        self.stages = Histogram(
            "vpmsearch_search_seconds", "Time of a search.", ["stage"], buckets=_SECONDS, registry=self.registry
        )
        self.failed = Counter(
            "vpmsearch_failed", "Searches and looks at images that failed.", ["route", "status"], registry=self.registry
        )  # A failure after the first line of an answer in lines: `requests` has counted that answer as 200.
        self.candidates = Counter("vpmsearch_candidates", "Images compared by Eq. 4.", registry=self.registry)
        self.active = Gauge("vpmsearch_active_requests", "Requests being answered.", registry=self.registry)
        self.images = Gauge("vpmsearch_images", "Images in the index.", registry=self.registry)
        self.refreshes = Counter("vpmsearch_refreshes", "New commits picked up.", registry=self.registry)
        self.stale = Gauge("vpmsearch_stale", "1 while the newest commit cannot be read.", registry=self.registry)

    def searched(self, result: SearchResult) -> None:
        """Count one search: its stages' times in seconds, and how many images it compared."""
        for stage, milliseconds in result.timings_ms.items():
            self.stages.labels(stage).observe(milliseconds / 1e3)
        self.candidates.inc(result.candidates)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
