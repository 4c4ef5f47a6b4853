"""Prometheus metrics of the server."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # omits a creation time for every metric
        self.registry = CollectorRegistry()
        registry = self.registry
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "twelvefold_requests",
            "Requests by endpoint and status; 499: the client left",
            ["endpoint", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "twelvefold_request_seconds", "From request to answer", ["endpoint"], buckets=SECONDS, registry=registry
        )
        self.stages = Histogram(
            "twelvefold_stage_seconds",
            "By stage: decode, queue, detect, answer",
            ["stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self.batches = Histogram(
            "twelvefold_batch_size", "Requests that the model answered together", buckets=SIZES, registry=registry
        )
        self.abandoned = Counter(
            "twelvefold_abandoned",
            "Requests dropped without an answer: the client left, or the time was over",
            registry=registry,
        )
        self.in_flight = Gauge("twelvefold_requests_in_flight", "Requests being read or answered", registry=registry)
        self.waiting = Gauge("twelvefold_queue", "Requests that wait for the model", registry=registry)
        self.images = Counter(
            "twelvefold_pictures", "Images of requests, new or kept in the cache", ["result"], registry=registry
        )
        self.cached_images = Gauge("twelvefold_kept_pictures", "Images in the cache", registry=registry)
        self.cached_bytes = Gauge("twelvefold_kept_bytes", "Bytes of the images in the cache", registry=registry)

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)
