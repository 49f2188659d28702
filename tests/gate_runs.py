"""Gates for tests: a small simulated study, tuned and locked, and results of every kind without one."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from tuner.domain.slo import Verdict
from tuner.gate.cost import CostSplit
from tuner.gate.fingerprint import Difference, Fingerprint
from tuner.gate.result import GateResult, MetricVerdict, Outcome, RunSummary, SloVerdict
from tuner.gate.sequential import Change

TODAY = date(2026, 11, 22)
STUDY = """\
apiVersion: servetune/v1
kind: Study
metadata:
  name: gated
model:
  name: virtual
runner:
  kind: simulated
  options:
    cpu_ms_per_item: 8.0
knobs:
  cpu_cores: [2]
  max_batch_size: [4, 8]
load:
  arrivals: poisson
  target_rps: 54
  warmup_s: 1
  window_s: 5
slos:
  - indicator: latency_p99_ms
    max: 100
prices:
  book: prices.csv
  term: on_demand
headroom: 0.1
replicas:
  max: 1
confirm:
  repeats: 3
  window_s: 30
budget:
  trials: 2
  wall_time_s: 3000
search:
  optimizer: grid
  seed: 5
"""
PRICES = """\
resource,sku,term,currency,price_per_hour,as_of,source
cpu_core,,on_demand,USD,0.03,2026-11-01,made up for this test
"""


def study_file(folder: Path, *changes: tuple[str, str], prices: str = PRICES) -> Path:
    """A study of two configurations, with texts replaced."""
    folder.mkdir(exist_ok=True)
    text = STUDY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "prices.csv").write_text(prices)
    (folder / "study.yaml").write_text(text)
    return folder / "study.yaml"


def a_fingerprint(**changes: str) -> Fingerprint:
    fields = dict.fromkeys(Fingerprint.__dataclass_fields__, "same") | changes
    return Fingerprint(**fields)


def a_metric(**changes: object) -> MetricVerdict:
    """A capacity that fell by 23 %, proven in five pairs."""
    fields: dict[str, object] = {
        "metric": "saturated_rps",
        "title": "capacity (requests/s finished at saturation)",
        "unit": "rps",
        "level": "error",
        "change": Change.REGRESSION,
        "deployed": 196.3,
        "candidate": 151.0,
        "relative": True,
        "shift": -0.231,
        "low": -0.252,
        "high": -0.209,
        "margin": 0.05,
        "pairs": 5,
        "cv": 0.012,
        "erratic": False,
    }
    return MetricVerdict(**(fields | changes))  # type: ignore[arg-type]


def an_slo(**changes: object) -> SloVerdict:
    fields: dict[str, object] = {
        "slo": "latency_p99_ms <= 100",
        "verdict": Verdict.PASS,
        "observed": 61.2,
        "upper_bound": 70.1,
        "limit": 100.0,
        "requests": 15_000,
        "bad": 3,
    }
    return SloVerdict(**(fields | changes))  # type: ignore[arg-type]


def a_result(**changes: object) -> GateResult:
    """A gate that failed in its capacity, after a change of the model."""
    candidate = a_fingerprint(model="cls sha256:bb")
    fields: dict[str, object] = {
        "mode": "verify",
        "study": "checkout-ranker",
        "outcome": Outcome.FAILED,
        "summary": "saturated_rps got worse by more than its margin",
        "metrics": (a_metric(), a_metric(metric="error_ratio", title="failed requests", unit="", relative=False,
                                         change=Change.SAME, deployed=0.0, candidate=0.0, shift=0.0, low=0.0, high=0.0,
                                         margin=0.001)),
        "slos": (an_slo(),),
        "cost": CostSplit(before=0.12, before_today=0.15, after=0.15, prices=0.03, capacity=0.0, rounding=0.0,
                          currency="USD", priced_on="2026-11-20"),
        "deployed": a_fingerprint(model="cls sha256:aa"),
        "candidate": candidate,
        "differences": (Difference(field="model", before="cls sha256:aa", after="cls sha256:bb"),),
        "spec_change": (),
        "runs": (RunSummary(pair=0, side="deployed", readings=(("saturated_rps", 196.3),)),),
        "notes": ("reused 1 of 5 pairs",),
        "reproduce": "servetune gate study.yaml --verify",
    }  # fmt: skip
    return GateResult(**(fields | changes))  # type: ignore[arg-type]
