"""What a server that somebody else runs tells of itself: Triton's statistics, and metrics where there is a URL."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from runners.metrics_watch import MetricsWatch
from runners.triton_http import TritonHttp
from runners.triton_metrics import TritonMetrics
from tuner.domain.deployment import Telemetry
from tuner.domain.errors import TransientFailure


class EndpointTelemetry:
    """Readings of one model there; a server that does not answer such questions is no error."""

    def __init__(self, *, model: str, statistics: TritonHttp | None, metrics: tuple[TritonHttp, str] | None) -> None:
        """`metrics` is where, and the path. None: not asked."""
        self._model, self._statistics = model, statistics
        self._watch = None
        if metrics is not None:
            where, path = metrics
            self._watch = MetricsWatch(lambda: where.text(path), model)
        self._running = ExitStack()

    def __enter__(self) -> Self:
        if self._watch is not None:
            self._running.enter_context(self._watch.sampler)
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._running.close()

    @property
    def metrics_answer(self) -> bool:
        """Whether metrics are asked for, and come."""
        if self._watch is None:
            return False
        self._watch.sampler.now()
        return self._watch.last is not None

    def read(self) -> Telemetry:
        """The counters now, statistics before metrics; None where neither tells."""
        told = self._from_statistics()
        pending_peak = self._watch.take_pending_peak() if self._watch is not None else None
        if told is None:
            told = _from_metrics((self._watch and self._watch.last) or TritonMetrics())
        gpu = self._watch.gpu() if self._watch is not None else None
        return Telemetry(
            inference_count=told.inference_count,
            execution_count=told.execution_count,
            queue_s=told.queue_s,
            compute_s=told.compute_s,
            batches=told.batches,
            pending_peak=pending_peak,
            gpu=gpu,
            at_s=time.monotonic(),
        )

    def _from_statistics(self) -> Telemetry | None:
        if self._statistics is None:
            return None
        try:
            seen = self._statistics.statistics(self._model)
        except TransientFailure:
            return None
        return Telemetry(
            inference_count=seen.inference_count,
            execution_count=seen.execution_count,
            queue_s=seen.queue_s,
            compute_s=seen.compute_s,
            batches=seen.batches,
        )


def _from_metrics(seen: TritonMetrics) -> Telemetry:
    return Telemetry(
        inference_count=seen.inference_count,
        execution_count=seen.execution_count,
        queue_s=seen.queue_s,
        compute_s=seen.compute_s,
    )
