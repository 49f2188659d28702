"""Triton's HTTP API as far as a runner asks it: health, metadata, configuration, statistics.

Plain http.client on purpose: tritonclient.http would load gevent into the controller, and urllib would follow the
user's proxy settings. Source: KServe v2 predict protocol, and Triton's statistics extension.
"""

from __future__ import annotations

import http.client
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tuner.domain.deployment import TensorSpec
from tuner.domain.errors import TransientFailure

TIMEOUT_S = 5.0
PROBE_TIMEOUT_S = 1.0
MOST_ANSWER_BYTES = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonStatistics:
    """Sums over all requests since the server started, as of Triton's statistics extension.

    `batches` are pairs of a batch size and how many executions had it.
    """

    inference_count: int
    execution_count: int
    queue_s: float
    compute_s: float
    batches: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class TritonHttp:
    """One server's HTTP endpoint. `name` is what to call it in a Host header where `host` is a pinned address.

    `base` is the path its API is under, without a slash at the end. Redirects are no answers.
    """

    host: str
    port: int
    name: str = ""
    base: str = ""

    def server_id(self) -> str | None:
        """The `--id` the server was started with; None while nothing answers."""
        found = self._get("/v2", PROBE_TIMEOUT_S)
        return str(found["name"]) if isinstance(found, dict) and "name" in found else None

    def version(self) -> str:
        """Triton's version. Raises TransientFailure."""
        return str(self._must("/v2")["version"])

    def model_ready(self, model: str) -> bool:
        """Whether the model takes requests now."""
        return self._get(f"{_model(model)}/ready", PROBE_TIMEOUT_S) is not None

    def inputs(self, model: str) -> tuple[tuple[TensorSpec, ...], bool]:
        """The model's inputs without the batch dimension, and whether it has one. Raises TransientFailure."""
        batched = self._must(f"{_model(model)}/config")["max_batch_size"] > 0
        found = self._must(_model(model))["inputs"]
        specs = (
            TensorSpec(
                name=tensor["name"],
                datatype=tensor["datatype"],
                shape=tuple(int(size) for size in tensor["shape"][1 if batched else 0 :]),
            )
            for tensor in found
        )
        return tuple(specs), batched

    def statistics(self, model: str) -> TritonStatistics:
        """Raises TransientFailure, also where the answer is not that of the statistics extension."""
        found = self._must(f"{_model(model)}/stats")
        try:
            return parse_statistics(found)
        except (KeyError, TypeError, ValueError) as error:
            raise TransientFailure(f"the server at {self.host}:{self.port} tells no statistics: {error}") from error

    def text(self, path: str) -> str | None:
        """What is at a path, such as metrics; None for no answer or any status but 200."""
        body = self._fetch(path, PROBE_TIMEOUT_S)
        return None if body is None else body.decode(errors="replace")

    def _must(self, path: str) -> Any:
        found = self._get(path)
        if found is None:
            raise TransientFailure(f"the server at {self.host}:{self.port} does not answer {path}")
        return found

    def _get(self, path: str, timeout_s: float = TIMEOUT_S) -> Any:
        """The JSON answer, {} for an empty one; None for no answer or any status but 200."""
        body = self._fetch(path, timeout_s)
        try:
            return None if body is None else json.loads(body) if body else {}
        except ValueError:
            return None

    def _fetch(self, path: str, timeout_s: float) -> bytes | None:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)
        try:
            connection.request("GET", self.base + path, headers={"Host": self.name} if self.name else {})
            response = connection.getresponse()
            body = response.read(MOST_ANSWER_BYTES)
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return body if response.status == 200 else None


def parse_statistics(answer: Any) -> TritonStatistics:
    """From the answer of the statistics extension. Raises KeyError, TypeError, ValueError for anything else."""
    stats = answer["model_stats"]
    spent = [entry["inference_stats"] for entry in stats]
    compute = ("compute_input", "compute_infer", "compute_output")
    sizes: Counter[int] = Counter()
    for entry in stats:
        for batch in entry.get("batch_stats", ()):
            sizes[int(batch["batch_size"])] += int(batch["compute_infer"]["count"])
    return TritonStatistics(
        inference_count=sum(int(entry["inference_count"]) for entry in stats),
        execution_count=sum(int(entry["execution_count"]) for entry in stats),
        queue_s=sum(int(entry["queue"]["ns"]) for entry in spent) / 1e9,
        compute_s=sum(int(entry[part]["ns"]) for entry in spent for part in compute) / 1e9,
        batches=tuple(sorted(sizes.items())),
    )


def _model(name: str) -> str:
    return f"/v2/models/{quote(name, safe='')}"
