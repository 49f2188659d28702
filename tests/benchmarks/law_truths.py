"""What is true of each law, from about 10^8 requests: its percentiles, and how much alike its late requests are.

`python -m tests.benchmarks.law_truths [NAME ...]` works them out anew and writes law_truths.json beside this file.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from tests.benchmarks.held_out_laws import HELD_OUT
from tests.benchmarks.queue_laws import SERVICES, WARM_UP, Draws, Service

FILE = Path(__file__).with_name("law_truths.json")
PERCENTS = (50.0, 90.0, 95.0, 99.0, 99.9)
WINDOWS = 4_000
AT_ONCE = 4_000_000
LEAST_WINDOW = 4_000
EFFECTIVE_PER_WINDOW = 400
PILOT = (40, 60_000)
GRID = np.linspace(0.8, 1.25, 1801)


@dataclass(frozen=True)
class Truth:
    """A percentile, and by how much correlation inflates the variance of the share of requests beyond it."""

    at: float
    design_effect: float


def warm_up_of(service: Service) -> int:
    return 0 if service.whole else WARM_UP


def truth_of(service: Service, percent: float = 99.0) -> Truth:
    return _known()[service.name][percent]


@cache
def _known() -> dict[str, dict[float, Truth]]:
    plain = json.loads(FILE.read_text())
    return {name: {float(p): Truth(**found) for p, found in of.items()} for name, of in plain.items()}


def work_out(service: Service) -> dict[float, Truth]:
    """From windows of EFFECTIVE_PER_WINDOW effective requests: their variance has a standard error of 2 %."""
    source, skip = np.random.default_rng(2024), warm_up_of(service)
    pilot = service.latencies(source, PILOT[0], PILOT[1] + skip)[:, skip:]
    guesses = np.quantile(pilot, [percent / 100.0 for percent in PERCENTS])
    shares = (pilot > guesses[3]).mean(axis=1)
    requests = max(LEAST_WINDOW, int(EFFECTIVE_PER_WINDOW * PILOT[1] * shares.var(ddof=1) / 0.0099))
    at_once = max(1, AT_ONCE // (requests + skip))
    counts: list[list[Draws]] = [[] for _ in PERCENTS]
    for _ in range(0, WINDOWS, at_once):
        ordered = np.sort(service.latencies(source, at_once, requests + skip)[:, skip:], axis=1)
        for found, guess in zip(counts, guesses, strict=True):
            found.append(np.stack([requests - np.searchsorted(row, guess * GRID, side="right") for row in ordered]))
    return {
        percent: _truth(np.concatenate(found) / requests, guess * GRID, 1.0 - percent / 100.0, requests)
        for percent, guess, found in zip(PERCENTS, guesses, counts, strict=True)
    }


def _truth(shares: Draws, at: Draws, share: float, requests: int) -> Truth:
    """The first threshold on the grid, interpolated, that no more than this share of requests exceeds."""
    means = shares.mean(axis=0)
    first = int(np.searchsorted(-means, -share))
    low, high = means[first - 1], means[first]
    exact = at[first - 1] + (at[first] - at[first - 1]) * (low - share) / (low - high)
    variance = float(shares[:, first].var(ddof=1))
    return Truth(float(exact), requests * variance / float(high * (1.0 - high)))


def main(names: list[str]) -> None:
    plain = json.loads(FILE.read_text()) if FILE.exists() else {}
    for service in (*SERVICES, *HELD_OUT):
        if not names or any(name in service.name for name in names):
            found = work_out(service)
            plain[service.name] = {str(percent): asdict(truth) for percent, truth in found.items()}
            print(
                service.name,
                " ".join(f"p{p:g} {t.at:.4g} x{t.design_effect:.3g}" for p, t in found.items()),
                flush=True,
            )
            FILE.write_text(json.dumps(plain, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
