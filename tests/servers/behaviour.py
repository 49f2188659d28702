"""How a test server behaves, and starting one that does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tuner.domain.deployment import Deployment, KserveProtocol, TensorSpec
from tuner.domain.space import Configuration

HTTP_SERVER = Path(__file__).with_name("kserve_server.py")
GRPC_SERVER = Path(__file__).with_name("kserve_grpc_server.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """A KServe v2 server that answers `delay_s` after a request is complete. 0 in `..._every` and `..._after`: never.

    Stalls: from `stall_every_s` - `stall_s` to `stall_every_s` after the first request, and again every
    `stall_every_s`, nothing leaves the server; what would have left waits for the end of the stall. `one_at_a_time` is
    a queue in front of one worker that needs `delay_s` for each request.
    """

    delay_s: float = 0.005
    stall_every_s: float = 0.0
    stall_s: float = 0.0
    error_every: int = 0
    reset_every: int = 0
    hang_after: int = 0
    die_after: int = 0
    one_at_a_time: bool = False
    answer: str = "binary"  # over gRPC see the server; over HTTP binary | json | nested_json | chunked | pieces |
    #                         close | early_hints | redirect | error_body | short | wrong_size | wrong_shape |
    #                         wrong_json_shape | odd_size | odd_outputs | garbage | two


@contextmanager
def serving(behaviour: Behaviour, script: Path = HTTP_SERVER) -> Iterator[int]:
    """The port of such a server on 127.0.0.1; gone afterwards."""
    argv = [sys.executable, str(script), json.dumps(asdict(behaviour))]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


def deployment_at(port: int, *, shape: tuple[int, ...] = (16,), protocol: KserveProtocol = "kserve_http") -> Deployment:
    """A batched model with one float input."""
    return Deployment(
        deployment_id="test",
        endpoint=f"{'grpc' if protocol == 'kserve_grpc' else 'http'}://127.0.0.1:{port}",
        protocol=protocol,
        model_name="identity",
        inputs=(TensorSpec(name="x", datatype="FP32", shape=shape),),
        batched=True,
        configuration=Configuration.of({}),
        generator_cpus=(),
        ready_after_s=0.0,
    )
