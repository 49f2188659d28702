"""`servetune baseline`: the only writer of lock files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import cast, get_args

from tuner import __version__
from tuner.answer import EXIT_CODES
from tuner.clock import wall_clock_text
from tuner.commands import conclusion_now, find_study
from tuner.domain.errors import LockUnusable, UsageError
from tuner.domain.recommendation import Proven
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Trial
from tuner.fingerprint import prices_used
from tuner.gate.fingerprint import refuse_unknown_place
from tuner.gate.lock import Lock, Waiver, lock_of
from tuner.gate.metrics import Level, Rule, metric_named
from tuner.lock_file import lock_from, read_lock, write_lock

LEVELS: tuple[str, ...] = get_args(Level)
MOST_WAIVED = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LockOrder:
    """What `baseline update` was told beside the study. `rules` and `waivers` are as typed."""

    path: Path
    reason: str
    rules: tuple[str, ...] = ()
    waivers: tuple[str, ...] = ()
    owner: str = ""
    expires: date | None = None
    max_hourly_cost: float | None = None


def update_baseline(study: str, storage_url: str, order: LockOrder) -> tuple[str, int]:
    """Write the lock file of a proven study: what was said, and the exit code of `tune` where it is not proven.

    Rules, waivers that have not expired and the cost limit of the old lock file stay, unless told otherwise.
    Raises UsageError, SpecError.
    """
    if not order.reason.strip():
        raise UsageError("a lock file is not written without a reason", hint="--reason 'why it changes'")
    spec, history = find_study(study, storage_url)
    refuse_unknown_place(spec)
    proposed = locked_answer(spec, history, order.reason.strip())
    if isinstance(proposed, tuple):
        return proposed
    old, remark = _old_lock(order.path)
    lock = with_settings(proposed, order, old)
    write_lock(order.path, lock)
    return "\n".join([*remark, f"wrote {order.path}", *lock_lines(lock)]), 0


def locked_answer(spec: StudySpec, history: Sequence[Trial], reason: str) -> Lock | tuple[str, int]:
    """The lock of a study's answer; where it is not proven, why not, with the exit code."""
    conclusion = conclusion_now(spec, history)
    if not isinstance(conclusion, Proven):
        return f"{spec.name} has no proven answer to lock: {conclusion.reason}", EXIT_CODES[type(conclusion)]
    return lock_of(
        spec,
        history,
        conclusion,
        prices_used(spec.pricing, spec.space),
        reason=reason,
        updated_at=wall_clock_text(),
        tool=__version__,
    )


def _old_lock(path: Path) -> tuple[Lock | None, list[str]]:
    """What is there now, and what has to be said of it."""
    if not path.exists():
        return None, []
    try:
        return lock_from(path.read_bytes(), str(path)), []
    except LockUnusable as error:
        return None, [f"the old lock file is not usable, so its rules and waivers are not kept: {error.message}"]


def with_settings(lock: Lock, order: LockOrder, old: Lock | None) -> Lock:
    """The lock with the rules, waivers and cost limit that it is to have. Raises UsageError."""
    today = datetime.now(UTC).date()
    kept = lock if old is None else keeping_settings(lock, old)
    rules = {rule.metric: rule for rule in kept.policy} | {rule.metric: rule for rule in map(_rule, order.rules)}
    waivers: Mapping[str, Waiver] = {waiver.metric: waiver for waiver in kept.waivers} | {
        waiver.metric: waiver for waiver in _waivers(order, today)
    }
    limit = kept.max_hourly_cost if order.max_hourly_cost is None else order.max_hourly_cost
    if limit is not None and not (math.isfinite(limit) and limit >= lock.hourly_cost):
        raise UsageError(
            f"the spec costs {lock.hourly_cost:.4f} per hour, more than the limit of {limit:g}",
            hint="--max-hourly-cost: at least what it costs",
        )
    return replace(lock, policy=tuple(rules.values()), waivers=tuple(waivers.values()), max_hourly_cost=limit)


def keeping_settings(lock: Lock, old: Lock) -> Lock:
    """The lock with the rules, waivers and cost limit of another; not with waivers that have expired."""
    today = datetime.now(UTC).date()
    waivers = tuple(waiver for waiver in old.waivers if not waiver.expired(today))
    return replace(lock, policy=old.policy, waivers=waivers, max_hourly_cost=old.max_hourly_cost)


def _rule(text: str) -> Rule:
    """`METRIC=LEVEL` or `METRIC=LEVEL:MARGIN`. Raises UsageError."""
    name, _, setting = text.partition("=")
    level, colon, margin = setting.partition(":")
    metric = metric_named(name.strip())
    if level not in LEVELS:
        raise UsageError(f"{text!r} is no rule", hint="METRIC=error:0.05, METRIC=warn or METRIC=off")
    return Rule(
        metric=metric.name,
        level=cast(Level, level),
        margin=_share(margin, text, below_1=metric.better == "higher") if colon else metric.margin,
    )


def _share(text: str, whole: str, *, below_1: bool) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0.0 <= share <= MOST_WAIVED or (below_1 and share >= 1.0):
        raise UsageError(f"{whole!r}: {text!r} is no share", hint="0.05 stands for 5 %")
    return share


def _waivers(order: LockOrder, today: date) -> list[Waiver]:
    if not order.waivers:
        return []
    if not order.owner.strip() or order.expires is None:
        raise UsageError("a waiver needs an owner and a day on which it ends", hint="--owner NAME --expires 2026-12-31")
    if order.expires < today:
        raise UsageError(f"the waiver would have expired on {order.expires} already", hint="--expires: a day to come")
    waivers = []
    for text in order.waivers:
        name, _, limit = text.partition("=")
        metric = metric_named(name.strip())
        waivers.append(
            Waiver(
                metric=metric.name,
                limit=_share(limit, text, below_1=metric.better == "higher"),
                owner=order.owner.strip(),
                expires=order.expires.isoformat(),
                reason=order.reason.strip(),
            )
        )
    return waivers


def lock_lines(lock: Lock) -> list[str]:
    """A lock file for people."""
    unit = f"{lock.prices.currency} per hour"
    return [
        f"  study      {lock.study}: {lock.reason} ({lock.updated_at})",
        f"  spec       {lock.configuration}, {lock.spec.replicas} replicas, {lock.hourly_cost:.4f} {unit}",
        f"  proven at  {lock.capacity.passed_rps:.4g} rps on one replica, "
        f"{sum(repeat.requests for repeat in lock.repeats)} requests on {len(lock.repeats)} fresh deployments",
        f"  rules      {', '.join(f'{rule.metric} {rule.level} {rule.margin:g}' for rule in lock.policy)}",
        *(
            f"  waiver     {waiver.metric} may get worse by {waiver.limit:g} until {waiver.expires} ({waiver.owner}: "
            f"{waiver.reason})"
            for waiver in lock.waivers
        ),
        *([f"  limit      {lock.max_hourly_cost:.4f} {unit}"] if lock.max_hourly_cost is not None else []),
    ]


def show_baseline(path: Path) -> str:
    """The lock file in a few lines. Raises LockUnusable."""
    return "\n".join([f"{path}: valid", *lock_lines(read_lock(path, today=datetime.now(UTC).date()))])
