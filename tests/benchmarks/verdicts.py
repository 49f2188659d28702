"""How often a verdict is wrong, on queues whose true percentiles are known. Virtual time only.

`python -m tests.benchmarks.verdicts [--jobs N] [--seed S] [--reps R]`; results/verdicts.txt is its last output (16 cores,
`--reps 110 --seed 1`, a seed that was used once). The constants of the verdicts were chosen on the first eleven laws. The
others are held out less strictly than the word says: two terms of the design effect were added after looking at them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pool

from scipy.stats import binomtest

from tests.benchmarks.growing_queues import growth_table
from tests.benchmarks.held_out_laws import HELD_OUT
from tests.benchmarks.judged_windows import Cell, JudgedWindow, judged
from tests.benchmarks.law_truths import truth_of
from tests.benchmarks.other_slos import other_slo_table
from tests.benchmarks.queue_laws import SERVICES, Service
from tuner.domain.slo import Verdict

WINDOW_S = 60.0
FIXED = tuple(int(rate_rps * WINDOW_S) for rate_rps in (50.0, 400.0))
RATIOS = (0.7, 0.8, 0.9, 0.98, 1.02, 1.1, 1.3)
NEAR = (0.8, 0.98, 1.02)
EFFECTIVE = {False: 2_500, True: 10_000}
PIECES = 8
LAWS = {"tuned on": SERVICES, "held out": HELD_OUT}

Results = dict[float, list[JudgedWindow]]


@dataclass(frozen=True)
class Campaign:
    """One kind of window, for every law: how many requests, against which limits."""

    title: str
    requests: Callable[[Service], int]
    ratios: tuple[float, ...]
    number: int
    pooled: int = 1


def fixed(requests: int, _service: Service) -> int:
    return requests


def effective(parts: int, service: Service) -> int:
    """As many requests as are worth so many independent ones, by the true design effect of the law."""
    return int(EFFECTIVE[service.heavy] * max(1.0, truth_of(service).design_effect)) // parts


CAMPAIGNS = (
    Campaign(f"{FIXED[0]:,} requests: 60 s at 50/s", partial(fixed, FIXED[0]), RATIOS, 0),
    Campaign(f"{FIXED[1]:,} requests: 60 s at 400/s", partial(fixed, FIXED[1]), RATIOS, 1),
    Campaign(f"{EFFECTIVE[False]:,} (heavy tail: {EFFECTIVE[True]:,}) effective", partial(effective, 1), NEAR, 2),
    Campaign("the same in three deployments, pooled", partial(effective, 3), NEAR, 3, pooled=3),
)


@dataclass(frozen=True)
class Piece:
    """Some windows of one law: by name and number, so that it travels between processes."""

    group: str
    law: int
    campaign: int
    runs: int
    seed: int
    piece: int

    @property
    def service(self) -> Service:
        return LAWS[self.group][self.law]


def pieces(groups: Sequence[str], campaign: int, reps: int, seed: int) -> list[Piece]:
    """The largest windows first, so that several processes end together."""
    parts = min(PIECES, reps)
    found = [
        Piece(group, law, campaign, reps * (part + 1) // parts - reps * part // parts, seed, part)
        for group in groups
        for law in range(len(LAWS[group]))
        for part in range(parts)
    ]
    return sorted(found, key=lambda piece: -CAMPAIGNS[campaign].requests(piece.service))


def run_piece(piece: Piece) -> tuple[str, Results]:
    campaign, service = CAMPAIGNS[piece.campaign], piece.service
    seed = (piece.seed, piece.campaign, piece.law, piece.piece, *piece.group.encode())
    cell = Cell(service, campaign.requests(service), campaign.ratios, piece.runs, seed, pooled=campaign.pooled)
    return service.name, judged(cell)


def share(tests: Sequence[JudgedWindow], verdict: Verdict) -> str:
    return f"{sum(test.verdict is verdict for test in tests) / max(1, len(tests)):.1%}"


def at_most(wrong: int, tests: int) -> str:
    """A share, and what it is at most with 95 % confidence (Clopper and Pearson, Biometrika 26, 1934)."""
    bound = binomtest(wrong, tests, alternative="less").proportion_ci(0.95).high if tests else 1.0
    return f"{wrong / max(1, tests):.2%} (<= {bound:.2%})"


def wrong_verdicts(results: Results) -> tuple[int, int, int, int]:
    """PASS beyond 1.02 and their number, FAIL below 0.98 and theirs."""
    over = [test for ratio, tests in results.items() if ratio >= 1.02 for test in tests]
    under = [test for ratio, tests in results.items() if ratio <= 0.98 for test in tests]
    passed = sum(test.verdict is Verdict.PASS for test in over)
    return passed, len(over), sum(test.verdict is Verdict.FAIL for test in under), len(under)


def pool_results(found: Sequence[Results]) -> Results:
    pooled: Results = defaultdict(list)
    for results in found:
        for ratio, tests in results.items():
            pooled[ratio] += tests
    return pooled


def row(name: str, requests: str, ratios: Sequence[float], results: Results) -> str:
    known = sum(test.known for test in results[0.8]) / len(results[0.8])
    columns = [share(results[ratio], Verdict.PASS if ratio < 1.0 else Verdict.FAIL) for ratio in ratios]
    columns += [f"{known:.1%}", share(results[0.98], Verdict.FAIL), share(results[1.02], Verdict.PASS)]
    seconds = "".join(f"{statistics.median(t.part for t in results[r]) * WINDOW_S:8.0f}" for r in ratios if r > 1.0)
    return f"{name:38s}{requests:>10s}" + "".join(f"{column:>9s}" for column in columns) + seconds


def print_campaign(campaign: Campaign, found: Mapping[str, Results]) -> None:
    ratios = [ratio for ratio in campaign.ratios if ratio not in (0.98, 1.02)]
    heads = [f"{'PASS' if ratio < 1 else 'FAIL'} {ratio:g}" for ratio in ratios]
    heads += ["known 0.8", "FAIL .98", "PASS 1.02"] + [f"s {ratio:g}" for ratio in ratios if ratio > 1.0]
    print(f"\n{campaign.title}\n{'law':38s}{'requests':>10s}" + "".join(f"{head:>9s}" for head in heads))
    for group, laws in LAWS.items():
        for service in laws:
            requests = f"{campaign.requests(service) * campaign.pooled:,d}"
            print(row(service.name, requests, ratios, found[service.name]))
        print(row(f"all {group}", "", ratios, pool_results([found[service.name] for service in laws])))


def print_errors(found: Sequence[Mapping[str, Results]]) -> None:
    """Over all kinds of windows: the four of them are independent, the ratios of one window are not."""
    print("\nWrong verdicts over all windows above, and at most so many with 95 % confidence")
    print(f"{'law':38s}{'PASS at 1.02':>22s}{'PASS beyond 1.02':>22s}{'FAIL at 0.98':>22s}{'FAIL below 0.98':>22s}")
    for group, laws in LAWS.items():
        for name, members in [*((service.name, [service]) for service in laws), (f"all {group}", list(laws))]:
            results = pool_results([one[service.name] for one in found for service in members])
            near = wrong_verdicts({ratio: results[ratio] for ratio in (0.98, 1.02)})
            far = wrong_verdicts({ratio: tests for ratio, tests in results.items() if ratio not in (0.98, 1.02)})
            columns = [at_most(*near[:2]), at_most(*far[:2]), at_most(*near[2:]), at_most(*far[2:])]
            print(f"{name:38s}" + "".join(f"{column:>22s}" for column in columns))


def main(jobs: int, seed: int, reps: int) -> None:
    print(
        f"{reps} windows of each kind and law, seed {seed}. PASS 0.8: share of windows that pass where the true p99 is"
    )
    print("0.8 of the limit; known: had the true design effect been known; s: median seconds until the test ended.")
    everything = []
    with Pool(jobs) as workers:
        for number, campaign in enumerate(CAMPAIGNS):
            parts: dict[str, list[Results]] = defaultdict(list)
            for name, results in workers.imap(run_piece, pieces(list(LAWS), number, reps, seed)):
                parts[name].append(results)
            found = {name: pool_results(these) for name, these in parts.items()}
            everything.append(found)
            print_campaign(campaign, found)
            sys.stdout.flush()
        print_errors(everything)
        print(other_slo_table(workers.map, reps, seed))
        print(growth_table(workers.map, reps, seed))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reps", type=int, default=40)
    options = parser.parse_args()
    main(options.jobs, options.seed, options.reps)
