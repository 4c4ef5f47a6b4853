"""Prometheus metrics of the server."""

from __future__ import annotations

from functools import partial

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
        ProcessCollector(registry=self.registry)
        counter, gauge = partial(Counter, registry=self.registry), partial(Gauge, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        requests = "Requests by endpoint and status; 499: the client left"
        self.requests = counter("twelvefold_requests", requests, ["endpoint", "status"])
        self.seconds = histogram("twelvefold_request_seconds", "From request to answer", ["endpoint"], buckets=SECONDS)
        self.stages = histogram(
            "twelvefold_stage_seconds", "By stage: decode, queue, detect, answer", ["stage"], buckets=SECONDS
        )
        self.batches = histogram("twelvefold_batch_size", "Requests that the model answered together", buckets=SIZES)
        abandoned = "Requests dropped without an answer: the client left, or the time was over"
        self.abandoned = counter("twelvefold_abandoned", abandoned)
        self.in_flight = gauge("twelvefold_requests_in_flight", "Requests being read or answered")
        self.waiting = gauge("twelvefold_queue", "Requests that wait for the model")
        self.images = counter("twelvefold_pictures", "Images of requests, new or kept in the cache", ["result"])
        self.cached_images = gauge("twelvefold_kept_pictures", "Images in the cache")
        self.cached_bytes = gauge("twelvefold_kept_bytes", "Bytes of the images in the cache")

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)
