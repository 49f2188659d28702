"""What `servetune diff` prints: old -> new (change), as text or JSON."""

from __future__ import annotations

from tuner.answer import Document
from tuner.domain.capacity import Capacity
from tuner.domain.deployable import HOURS_PER_MONTH, Deployable
from tuner.domain.difference import Change, MoneyPerHour, SpecDifference, spec_difference
from tuner.domain.slo import CONFIDENCE
from tuner.domain.space import KnobValue, shown
from tuner.export_command import source_of


class SideDocument(Document):
    """One of the two. Capacities are mean rates of one replica (null: no such load was tried)."""

    study: str
    status: str
    replicas: int
    capacity_holds_rps: float
    capacity_breaks_rps: float | None
    hourly_cost: float
    monthly_cost: float
    currency: str
    term: str


class ChangeDocument(Document):
    """`change` is the share that is added: 0.5 for half as much again; null where that is no number."""

    name: str
    before: KnobValue | None
    after: KnobValue | None
    change: float | None


class MoneyDocument(Document):
    """Money per hour; the three parts add up to the change."""

    change: float
    from_prices: float
    from_size: float
    from_replicas: float
    change_per_month: float


class DiffDocument(Document):
    """What `diff --json` prints."""

    schema_version: int = 1
    before: SideDocument
    after: SideDocument
    knobs: list[ChangeDocument]
    asked: list[ChangeDocument]
    money: MoneyDocument | None
    no_money_because: str
    notes: list[str]


def diff_text(before: str, after: str, storage: str, *, json: bool) -> str:
    """Both answers side by side. Raises NothingToExport where one has none, UsageError, SpecError."""
    found = spec_difference(source_of(before, storage).of, source_of(after, storage).of)
    return diff_document(found).model_dump_json(indent=2) if json else difference_text(found)


def diff_document(found: SpecDifference) -> DiffDocument:
    """The difference in machine-readable form."""
    money = found.money
    return DiffDocument(
        before=_side(found.before),
        after=_side(found.after),
        knobs=[_change(change) for change in found.knobs],
        asked=[_change(change) for change in found.load],
        money=None
        if money is None
        else MoneyDocument(
            change=money.after - money.before,
            from_prices=money.prices,
            from_size=money.size,
            from_replicas=money.replicas,
            change_per_month=money.per_month,
        ),
        no_money_because=found.why_no_money,
        notes=list(found.doubts),
    )


def _side(of: Deployable) -> SideDocument:
    return SideDocument(
        study=of.study,
        status="unproven" if of.unproven else "proven",
        replicas=of.replicas,
        capacity_holds_rps=of.capacity.low_rps,
        capacity_breaks_rps=of.capacity.high_rps,
        hourly_cost=of.cost_per_hour,
        monthly_cost=of.cost_per_month,
        currency=of.pricing.book.currency,
        term=of.pricing.book.term,
    )


def _change(change: Change) -> ChangeDocument:
    ratio = change.ratio
    return ChangeDocument(
        name=change.name, before=change.before, after=change.after, change=None if ratio is None else ratio - 1.0
    )


def difference_text(found: SpecDifference) -> str:
    """The difference for people: old -> new (change)."""
    before, after = found.before, found.after
    rows = [_row(change) for change in (*found.knobs, *found.load)]
    rows += [
        ("one replica", _capacity(before.capacity, 1), _capacity(after.capacity, 1), ""),
        ("all replicas", _capacity(before.capacity, before.replicas), _capacity(after.capacity, after.replicas), ""),
        _money_row("cost per hour", before, after, hours=1, digits=4),
        _money_row("cost per month", before, after, hours=HOURS_PER_MONTH, digits=2),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    table = [
        f"  {name:{widths[0]}}  {old:{widths[1]}}  {'=' if old == new else '->'}"
        + ("" if old == new else f"  {new:{widths[2]}}  {note}")
        for name, old, new, note in rows
    ]
    lines = [
        f"{before.study} -> {after.study}",
        *(line.rstrip() for line in table),
        *_money_lines(found),
        *(f"  note: {doubt}" for doubt in found.doubts),
        f"  (a replica holds the first rate at {CONFIDENCE:.0%} confidence, and does not hold the second)",
    ]
    return "\n".join(lines)


def _row(change: Change) -> tuple[str, str, str, str]:
    ratio = change.ratio
    note = "" if ratio is None or change.same else f"({_percent(ratio)})"
    return change.name, _setting(change.before), _setting(change.after), note


def _setting(value: KnobValue | None) -> str:
    return "not set" if value is None else shown(value)


def _percent(ratio: float) -> str:
    return f"{ratio - 1.0:+.1%}".replace(".0%", "%")


def _capacity(capacity: Capacity, replicas: int) -> str:
    if not capacity.low_rps:
        return "no rate proven"
    held = f"{capacity.low_rps * replicas:.1f}"
    return f"{held} rps or more" if capacity.high_rps is None else f"{held} to {capacity.high_rps * replicas:.1f} rps"


def _money_row(
    name: str, before: Deployable, after: Deployable, *, hours: int, digits: int
) -> tuple[str, str, str, str]:
    old, new = before.cost_per_hour * hours, after.cost_per_hour * hours
    texts = [f"{cost:.{digits}f} {of.pricing.book.currency}" for cost, of in ((old, before), (new, after))]
    comparable = before.pricing.book.currency == after.pricing.book.currency and old
    return name, texts[0], texts[1], f"({_percent(new / old)})" if comparable else ""


def _money_lines(found: SpecDifference) -> list[str]:
    if found.money is None:
        return [f"  cost is not compared: {found.why_no_money}"]
    currency = found.after.pricing.book.currency
    return [f"  per month {_parts(found.money, currency)}"]


def _parts(money: MoneyPerHour, currency: str) -> str:
    parts = (("prices", money.prices), ("size of a replica", money.size), ("number of replicas", money.replicas))
    told = ", ".join(f"{part * HOURS_PER_MONTH:+.2f} by {name}" for name, part in parts)
    return f"{money.per_month:+.2f} {currency}: {told}"
