"""The options of `servetune load` checked and made values; what is wrong is said before anything is sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tuner.assemble import AwaitedWorkers, watch_endpoint
from tuner.domain.arrival_kinds import Arrivals, Replay
from tuner.domain.arrivals import mean_share
from tuner.domain.deployment import Protocol
from tuner.domain.errors import InfrastructureError, InvalidMeasurement, TransientFailure, UsageError
from tuner.domain.load import LoadProfile, Payload
from tuner.domain.slo import PERCENT, Slo
from tuner.load_command import LoadResult, deployment_at, find_capacity, load_document, load_text, run_load
from tuner.load_options import LONGEST_S, arrivals_of, duration_s, slo_of
from tuner.load_target import find_target
from tuner.traces import read_trace

MOST_REQUESTS = 20_000_000
MOST_RPS = 1_000_000
MOST_WEIGHT = 1_000_000
GENERATED = ("random", "image")
MASTER_ADDRESS = "127.0.0.1:5557"
_WEIGHTED = re.compile(r"(.+?)(?:\*(\d+(?:\.\d+)?))?")
_TEXT = re.compile(r"text(?::(\d{1,5})-(\d{1,5}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """What was written on the command line."""

    target: str
    model: str
    rate_rps: float | None
    duration: str
    warmup: str
    timeout: str | None
    arrivals: str
    trace: Path | None
    slos: tuple[str, ...]
    payloads: tuple[str, ...]
    shape: str
    protocol: str
    allowed: tuple[str, ...]
    capacity: bool
    seed: int
    workers: int = 1
    expect_workers: int | None = None
    bind: str | None = None
    max_wait: str = "60s"
    metrics_url: str = ""


def answer(request: LoadRequest, *, json: bool) -> tuple[str, int]:
    """What to print, for programs or for people, and the exit code. Raises as `carry_out`."""
    result = carry_out(request)
    return load_document(result) if json else load_text(result), result.exit_code


def carry_out(request: LoadRequest) -> LoadResult:
    """Check everything, then put load on the target.

    Raises UsageError, TargetRefused, InfrastructureError.
    """
    _refuse_two_kinds_of_workers(request)
    target = find_target(request.target, request.allowed)
    metrics = find_target(request.metrics_url, request.allowed) if request.metrics_url else None
    if metrics is not None and metrics.scheme != "http":
        raise UsageError(f"metrics are not read from {request.metrics_url}", hint="write http://HOST:PORT/metrics")
    if request.trace is not None and request.arrivals != "poisson":
        raise UsageError("a recording says itself when requests come", hint="drop --arrivals or --trace")
    arrivals = arrivals_of(request.arrivals) if request.trace is None else read_trace(request.trace)
    rate_rps = _rate_rps(request, arrivals)
    slos = _slos(request, arrivals, rate_rps)
    if request.capacity and not slos:
        raise UsageError("a capacity is the load at which objectives hold, and there is none", hint="add --slo")
    if request.protocol != "http" and not request.model:
        raise UsageError("which model is meant is not said", hint="add --model NAME")
    if (target.scheme == "grpc") != (request.protocol == "kserve_grpc"):
        right = "grpc://HOST:PORT" if request.protocol == "kserve_grpc" else "--protocol kserve_grpc"
        raise UsageError(f"{request.protocol} is not spoken at {request.target}", hint=f"write {right}")
    profile = _profile(request, arrivals, rate_rps, slos)
    deployment = deployment_at(target, model=request.model, protocol=cast(Protocol, request.protocol))
    carried_out = find_capacity if request.capacity else run_load
    with watch_endpoint(deployment, target, metrics) as told:
        if metrics is not None and not told.metrics_answer:
            raise UsageError(
                f"{request.metrics_url} answers no metrics", hint="Triton's are at http://HOST:8002/metrics"
            )
        try:
            return carried_out(deployment, profile, slos, workers=_workers(request), telemetry=told.read)
        except TransientFailure as failure:  # nobody here tries again: for this command the machine failed
            raise InfrastructureError(failure.message, failure.hint) from failure
        except InvalidMeasurement as failure:
            raise UsageError(failure.message, hint="a longer --duration or a higher --rate") from failure


def _workers(request: LoadRequest) -> int | AwaitedWorkers:
    if request.expect_workers is None:
        return request.workers
    return AwaitedWorkers(
        number=request.expect_workers, bind=request.bind or MASTER_ADDRESS, max_wait_s=duration_s(request.max_wait)
    )


def _refuse_two_kinds_of_workers(request: LoadRequest) -> None:
    if request.expect_workers is not None and request.workers > 1:
        raise UsageError("load workers are either started here or come by themselves", hint="drop --workers")
    if request.expect_workers is None and request.bind is not None:
        raise UsageError("nobody is awaited at the address", hint="add --expect-workers N")


def _slos(request: LoadRequest, arrivals: Arrivals, rate_rps: float) -> tuple[Slo, ...]:
    """A goodput per second is a share of what really comes: of the full rate, a shape offers only a part."""
    if request.capacity and any(text.strip().startswith("goodput_rps") for text in request.slos):
        hint = "write goodput_ratio>=0.95: a share of whatever is offered"
        raise UsageError("goodput_rps means a share of one rate, and the search for a capacity tries many", hint=hint)
    window_s = duration_s(request.duration) or 1.0  # a window of nothing is refused later, with all durations
    offered_rps = rate_rps * mean_share(arrivals, window_s)
    return tuple(slo_of(text, offered_rps) for text in request.slos)


def _rate_rps(request: LoadRequest, arrivals: Arrivals) -> float:
    if request.rate_rps is not None:
        rate_rps = request.rate_rps
    elif isinstance(arrivals, Replay):
        rate_rps = arrivals.mean_rps
    else:
        raise UsageError("how many requests per second is not said", hint="add --rate")
    if not 0.0 < rate_rps <= MOST_RPS:
        where = "is no rate" if request.rate_rps is not None else f"requests per second are in {request.trace}"
        raise UsageError(f"{rate_rps:g} {where}", hint="--rate: above 0, at most 1,000,000 requests per second")
    return rate_rps


def _profile(request: LoadRequest, arrivals: Arrivals, rate_rps: float, slos: tuple[Slo, ...]) -> LoadProfile:
    window_s, warmup_s = _time_s("--duration", request.duration), _time_s("--warmup", request.warmup, may_be_0=True)
    widest_s = max((slo.max / 1000.0 for slo in slos if slo.indicator in PERCENT), default=0.0)
    timeout_s = _time_s("--timeout", request.timeout) if request.timeout else max(1.0, 5.0 * widest_s)
    if timeout_s < widest_s:
        message = f"answers are given up after {timeout_s:g} s, before the limit of {widest_s:g} s"
        raise UsageError(message, hint=f"--timeout {widest_s:g}s or more")
    if rate_rps * max(1.0, mean_share(arrivals, window_s)) * (window_s + warmup_s) > MOST_REQUESTS:
        raise UsageError("too many requests for one run", hint=f"at most {MOST_REQUESTS:,}")
    return LoadProfile(
        arrivals=arrivals,
        offered_rps=rate_rps,
        warmup_s=warmup_s,
        window_s=window_s,
        timeout_s=timeout_s,
        payload=_payload(request),
        seed=request.seed,
        slos=slos,
    )


def _time_s(option: str, text: str, *, may_be_0: bool = False) -> float:
    seconds = duration_s(text)
    if seconds > LONGEST_S or (seconds == 0.0 and not may_be_0):
        raise UsageError(f"{option} {text} is out of range", hint="more than nothing, at most 24h")
    return seconds


def _payload(request: LoadRequest) -> Payload:
    try:
        shape = tuple(int(size) for size in request.shape.split(",")) if request.shape else None
    except ValueError as error:
        raise UsageError(f"{request.shape!r} is no shape", hint="write 3,224,224") from error
    match request.payloads:
        case ():
            if not request.protocol.startswith("kserve_"):
                raise UsageError(f"{request.protocol} needs bodies to send", hint="add --payload FILE")
            return Payload(shape=shape)
        case (text,) if not request.protocol.startswith("kserve_") and (text in GENERATED or _TEXT.fullmatch(text)):
            raise UsageError(f"{request.protocol} tells no inputs to make bodies for", hint="add --payload FILE")
        case ("random" | "image" as kind,):
            return Payload(kind=kind, shape=shape)
        case (text,) if found := _TEXT.fullmatch(text):
            fewest, most = (int(found[1]), int(found[2])) if found[1] else (24, 256)
            if not 0 < fewest <= most:
                raise UsageError(f"{text!r} is no range of lengths", hint="write text:24-256")
            return Payload(kind="text", shape=shape, tokens=(fewest, most), count=64)
        case files:
            return Payload(kind="files", shape=shape, files=tuple(_weighted(text) for text in files))


def _weighted(text: str) -> tuple[str, float]:
    if Path(text).is_file():
        return str(Path(text).resolve()), 1.0
    found = _WEIGHTED.fullmatch(text)
    if text in GENERATED or _TEXT.fullmatch(text):
        raise UsageError(f"{text} is not mixed with other payloads", hint="mix files: FILE*WEIGHT")
    if found is None or not Path(found[1]).is_file():
        raise UsageError(f"the payload {text!r} is no file", hint="or random, image, text:24-256")
    weight = float(found[2] or 1.0)
    if not 0.0 < weight <= MOST_WEIGHT:
        raise UsageError(f"{text!r} is weighed out of range", hint="above 0, at most 1,000,000")
    return str(Path(found[1]).resolve()), weight
