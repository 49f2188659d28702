"""What must hold between the keys of a study file. Each check looks at the sections that are right by themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields

from tuner.domain.arrival_kinds import KINDS
from tuner.domain.cost import PriceBook, Resource, required_rps
from tuner.domain.slo import CONFIDENCE, GOODPUT, LATE_SHARE, Slo
from tuner.spec_model import StudyDraft
from tuner.spec_problems import Finding, Path, nearest

BUILT_RUNNERS = ("local", "simulated", "kubernetes")
MOST_CONFIGURATIONS = 1_000_000
MOST_REQUESTS = 20_000_000
MOST_PAYLOAD_BYTES = 2_000_000_000
_BYTES_PER_ELEMENT = 4

Check = Callable[[StudyDraft], Iterator[Finding]]


def check_together(draft: StudyDraft) -> tuple[Finding, ...]:
    """Everything that is wrong between sections (prices aside)."""
    return tuple(finding for check in _CHECKS for finding in check(draft))


def _runner_is_built(draft: StudyDraft) -> Iterator[Finding]:
    if draft.runner is not None and draft.runner.kind not in BUILT_RUNNERS:
        message = f"the runner '{draft.runner.kind}' is not built in this version"
        yield Finding(("runner", "kind"), message, f"one of {', '.join(BUILT_RUNNERS)}")


def _trials_may_run_at_once(draft: StudyDraft) -> Iterator[Finding]:
    runner = draft.runner
    if runner is None or runner.parallel_trials == 1 or runner.kind == "kubernetes":
        return
    place: Path = ("runner", "parallel_trials")
    if runner.kind != "simulated":
        message = "trials on one machine would disturb each other's measurements"
        yield Finding(place, message, "delete it: one after the other")
    elif runner.parallel_trials == "auto":
        yield Finding(place, "nothing limits how many virtual servers run at once", "write a number")


def _one_model(draft: StudyDraft) -> Iterator[Finding]:
    if draft.model is None or draft.runner is None:
        return
    given = [key for key in ("path", "repository", "image") if getattr(draft.model, key) is not None]
    if len(given) > 1:
        message = f"model has {' and '.join(given)}: exactly one is served"
        yield Finding(("model", given[1]), message, f"delete {' or '.join(given)}", at_key=True)
    elif not given and draft.runner.kind not in {"simulated", "replay", "kubernetes"}:
        yield Finding(("model",), "no model is named", "write path:, repository: or image: below model", at_key=True)
    elif given == ["image"] and draft.runner.kind in {"local", "simulated"}:
        message = f"the runner '{draft.runner.kind}' starts no container"
        yield Finding(("model", "image"), message, "write path: or repository:", at_key=True)
    elif given == ["image"] and draft.model.name is None:
        yield Finding(("model", "image"), "an image does not say which model it serves", "add name: below model")


def _values_once(draft: StudyDraft) -> Iterator[Finding]:
    for name, values in draft.knobs.values().items() if draft.knobs else ():
        for position, value in enumerate(values):
            if value in values[:position]:
                yield Finding(("knobs", name, position), f"{value} is listed twice", "delete one")
        kinds = {isinstance(value, str) for value in values}
        if len(kinds) > 1:
            odd = next(k for k, value in enumerate(values) if isinstance(value, str) != isinstance(values[0], str))
            yield Finding(("knobs", name, odd), "numbers and texts in one knob", "put the numbers in quotes as well")


def _space_size(draft: StudyDraft) -> Iterator[Finding]:
    if draft.knobs is None:
        return
    values = draft.knobs.values()
    if not values:
        yield Finding(("knobs",), "there is no knob to tune", "add one, such as cpu_cores: [1, 2]", at_key=True)
    size = math.prod(len(listed) for listed in values.values())
    if size > MOST_CONFIGURATIONS:
        message = f"{size:,} configurations, more than {MOST_CONFIGURATIONS:,}"
        yield Finding(("knobs",), message, "shorten the longest lists", at_key=True)


def _warm_start_makes_sense(draft: StudyDraft) -> Iterator[Finding]:
    if draft.search is None:
        return
    names, place = draft.search.warm_start, ("search", "warm_start")
    words = [name for name in names if name in ("auto", "none")]
    if words and len(names) > 1:
        yield Finding(place, f"'{words[0]}' stands alone", "delete it, or the names beside it")
    elif not words and draft.search.optimizer != "structured":
        message = f"the optimizer '{draft.search.optimizer}' does not learn from earlier studies"
        yield Finding(place, message, "use optimizer: structured, or delete warm_start")


def _preferred_batches_fit(draft: StudyDraft) -> Iterator[Finding]:
    if draft.knobs is None or draft.knobs.preferred_batch_size is None:
        return
    largest = max(draft.knobs.max_batch_size or (math.inf,))
    for position, size in enumerate(draft.knobs.preferred_batch_size):
        if size > largest:
            path: Path = ("knobs", "preferred_batch_size", position)
            yield Finding(path, f"{size} is more than every max_batch_size", f"at most {largest}")


def _footprint_is_not_tuned(draft: StudyDraft) -> Iterator[Finding]:
    if draft.footprint is None or draft.knobs is None:
        return
    tuned = draft.knobs.values()
    for name in draft.footprint.model_fields_set & tuned.keys():
        yield Finding(("footprint", name), f"{name} is a knob as well", "keep one of the two", at_key=True)


def _cores_are_known(draft: StudyDraft) -> Iterator[Finding]:
    if draft.footprint is None or draft.knobs is None:
        return
    if draft.knobs.cpu_cores is None and draft.footprint.cpu_cores is None:
        hint = "add cpu_cores to knobs, or to footprint if it is not tuned"
        yield Finding(("knobs",), "nothing says how many cores a replica has, so it has no cost", hint, at_key=True)


def _share_of_a_gpu(draft: StudyDraft) -> Iterator[Finding]:
    if draft.footprint is None or draft.knobs is None or draft.knobs.gpu_type or draft.footprint.gpu_type:
        return
    for section, share in (("knobs", draft.knobs.gpu_memory_share), ("footprint", draft.footprint.gpu_memory_share)):
        if share is not None:
            hint = "add gpu_type to knobs or footprint"
            yield Finding((section, "gpu_memory_share"), "a share of no GPU: there is no gpu_type", hint, at_key=True)


def _indicators_once(draft: StudyDraft) -> Iterator[Finding]:
    seen: set[str] = set()
    for position, slo in enumerate(draft.slos or ()):
        if slo.indicator in seen:
            path: Path = ("slos", position, "indicator")
            yield Finding(path, f"a second objective on {slo.indicator}", "keep the stricter one")
        seen.add(slo.indicator)
        if slo.indicator == "error_ratio" and slo.max is not None and slo.max >= 1:
            yield Finding(("slos", position, "max"), "an error ratio is less than 1", "0.001 is one in a thousand")


def _bounds_fit_indicators(draft: StudyDraft) -> Iterator[Finding]:
    for position, slo in enumerate(draft.slos or ()):
        bound, other = ("min", "max") if slo.indicator == GOODPUT else ("max", "min")
        if getattr(slo, other) is not None:
            message = f"{slo.indicator} has no '{other}'"
            yield Finding(("slos", position, other), message, f"write {bound}:", at_key=True)
        elif slo.slo() is None:
            hint = (
                "a share: 0.99 is 99 % of the requests" if bound == "min" else "in the indicator's unit: ms, or a share"
            )
            yield Finding(("slos", position, bound), f"missing key '{bound}'", hint)
    if any(slo.indicator == GOODPUT for slo in draft.slos or ()) and not _latency_limits_ms(draft):
        yield Finding(
            ("slos",), "goodput needs a latency limit to keep", "add one, such as latency_p99_ms", at_key=True
        )


def _latency_limits_ms(draft: StudyDraft) -> list[float]:
    return [slo.max for slo in draft.slos or () if slo.indicator in LATE_SHARE and slo.max is not None]


def _arrivals_have_their_settings(draft: StudyDraft) -> Iterator[Finding]:
    if draft.load is None:
        return
    section = draft.load.arrivals
    settings = [] if section.kind not in KINDS else [f for f in fields(KINDS[section.kind]) if f.name != "kind"]
    allowed = {"trace" if field.name == "starts_s" else field.name: field.default is MISSING for field in settings}
    given = section.model_fields_set - {"kind"}
    for key in sorted(given - allowed.keys()):
        hint = f"it has {', '.join(allowed)}" if allowed else "delete it"
        yield Finding(("load", "arrivals", key), f"{section.kind} arrivals have no '{key}'", hint, at_key=True)
    for key in sorted(key for key, needed in allowed.items() if needed and key not in given):
        yield Finding(("load", "arrivals"), f"{section.kind} arrivals need '{key}'", "add it", at_key=True)


def _window_holds_requests(draft: StudyDraft) -> Iterator[Finding]:
    """A latency percentile of a search trial needs at least one request beyond it, or there is nothing to see."""
    rate_rps = _required_rps(draft)
    if rate_rps is None or draft.load is None:
        return
    requests = rate_rps * draft.load.window_s
    if rate_rps * (draft.load.warmup_s + draft.load.window_s) > MOST_REQUESTS:
        yield Finding(
            ("load", "window_s"), f"about {requests:,.0f} requests in one trial", f"at most {MOST_REQUESTS:,}"
        )
    for slo in draft.slos or ():
        needed = round(1.0 / LATE_SHARE.get(slo.indicator, 1.0))
        if requests < needed:
            message = f"about {requests:,.0f} requests in the window; {slo.indicator} needs {needed:,}"
            yield Finding(("load", "window_s"), message, "raise window_s or target_rps")


def _proof_is_possible(draft: StudyDraft) -> Iterator[Finding]:
    """Even if no request of all confirmations were late, their number must allow a PASS at the stated confidence."""
    rate_rps = _required_rps(draft)
    if rate_rps is None or draft.confirm is None:
        return
    requests = rate_rps * draft.confirm.window_s * draft.confirm.repeats
    for position, section in enumerate(draft.slos or ()):
        slo = section.slo()
        needed = 0 if slo is None else _requests_to_pass(slo)
        if requests < needed:
            given = f"{draft.confirm.repeats} x {draft.confirm.window_s:g} s of confirmation"
            message = f"{given} give about {requests:,.0f} requests; a proof takes {needed:,} without a bad one"
            yield Finding(
                ("slos", position, "min" if section.max is None else "max"),
                message,
                "raise confirm.window_s, confirm.repeats or target_rps",
            )


def _requests_to_pass(slo: Slo) -> int:
    """The smallest n with (1 - allowed share) ** n <= 1 - confidence."""
    allowed = slo.allowed_share
    return math.ceil(math.log(1.0 - CONFIDENCE) / math.log1p(-allowed)) if allowed < 1 else 1


def _timeout_beyond_limits(draft: StudyDraft) -> Iterator[Finding]:
    if draft.load is None or draft.load.timeout_s is None:
        return
    widest_ms = max(_latency_limits_ms(draft), default=0.0)
    if draft.load.timeout_s * 1000.0 < widest_ms:
        message = f"answers are given up before the limit of {widest_ms:g} ms"
        yield Finding(("load", "timeout_s"), message, f"at least {widest_ms / 1000.0:g}")


def _payload_fits_memory(draft: StudyDraft) -> Iterator[Finding]:
    if draft.load is None or draft.load.payload.shape is None:
        return
    payload = draft.load.payload
    size = math.prod(draft.load.payload.shape) * payload.count * _BYTES_PER_ELEMENT
    if size > MOST_PAYLOAD_BYTES:
        message = f"{payload.count} bodies of this shape are about {size / 1e9:,.1f} GB"
        yield Finding(("load", "payload", "shape"), message, "lower shape or count")


def _required_rps(draft: StudyDraft) -> float | None:
    if draft.load is None or draft.headroom is None:
        return None
    return required_rps(draft.load.target_rps, draft.headroom)


_CHECKS: tuple[Check, ...] = (
    _runner_is_built,
    _trials_may_run_at_once,
    _one_model,
    _values_once,
    _space_size,
    _warm_start_makes_sense,
    _preferred_batches_fit,
    _footprint_is_not_tuned,
    _cores_are_known,
    _share_of_a_gpu,
    _indicators_once,
    _bounds_fit_indicators,
    _arrivals_have_their_settings,
    _window_holds_requests,
    _proof_is_possible,
    _timeout_beyond_limits,
    _payload_fits_memory,
)


def check_prices(draft: StudyDraft, book: PriceBook) -> Iterator[Finding]:
    """Every resource that the study pays for must have a price under its term."""
    if draft.knobs is None or draft.footprint is None:
        return
    tuned = draft.knobs.values()
    yield from _unpriced(book, "cpu_core", "", ("knobs", "cpu_cores") if "cpu_cores" in tuned else ("prices", "book"))
    for section, amount in (("knobs", draft.knobs.memory_gib), ("footprint", draft.footprint.memory_gib)):
        if amount is not None:
            yield from _unpriced(book, "memory_gib", "", (section, "memory_gib"))
    for position, sku in enumerate(draft.knobs.gpu_type or ()):
        yield from _unpriced(book, "gpu", sku, ("knobs", "gpu_type", position))
    if draft.footprint.gpu_type is not None:
        yield from _unpriced(book, "gpu", draft.footprint.gpu_type, ("footprint", "gpu_type"))


def _unpriced(book: PriceBook, resource: Resource, sku: str, path: Path) -> Iterator[Finding]:
    under_term = [price for price in book.prices if price.resource == resource and price.term == book.term]
    if any(price.sku == sku for price in under_term):
        return
    name = f"{resource} {sku}".strip()
    if resource == "gpu" and under_term:
        hint = nearest(sku, (price.sku for price in under_term))
    else:
        terms = sorted({price.term for price in book.prices if (price.resource, price.sku) == (resource, sku)})
        hint = f"it has one for {', '.join(terms)}" if terms else "add a row to the book: nothing is free"
    at_key = path[0] == "knobs" and len(path) == 2  # every value of the knob, not one of them
    yield Finding(path, f"the price book has no {book.term} price for {name}", hint, at_key=at_key)
