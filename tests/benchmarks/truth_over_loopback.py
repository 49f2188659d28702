"""The load engine over loopback against servers whose latencies can be computed: a queue, and stalls.

`python -m tests.benchmarks.truth_over_loopback` prints the table; runs with doubts are discarded and counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from load_profiles.locust_generator import LocustLoadGenerator
from tests.servers.behaviour import Behaviour, deployment_at, serving
from tuner.domain.arrivals import intended_starts_s
from tuner.domain.deployment import Telemetry
from tuner.domain.histogram import nearest_rank
from tuner.domain.load import LoadProfile, Payload
from tuner.domain.measurement import Measurement, measure

SERVICE_S = 0.010
PERCENTS = (50.0, 90.0, 99.0)
MOST_RUNS = 4


def profile(rate_rps: float, window_s: float, seed: int) -> LoadProfile:
    return LoadProfile(
        arrivals="poisson",
        offered_rps=rate_rps,
        warmup_s=1.0,
        window_s=window_s,
        timeout_s=5.0,
        payload=Payload(count=1),
        seed=seed,
    )


def lindley_s(load: LoadProfile) -> list[float]:
    """Latencies of the window's requests in a queue before one worker, on the very same arrivals."""
    free_s, latencies_s = 0.0, []
    for start_s in intended_starts_s(load):
        free_s = max(free_s, start_s) + SERVICE_S
        if start_s >= load.warmup_s:
            latencies_s.append(free_s - start_s)
    return latencies_s


def drive(behaviour: Behaviour, load: LoadProfile) -> Measurement:
    with serving(behaviour) as port, LocustLoadGenerator() as generator:
        return measure(generator.drive(deployment_at(port), load), (), Telemetry())


def compared(name: str, seen: Measurement, truth_s: Sequence[float]) -> None:
    ascending = sorted(truth_s)
    for percent in PERCENTS:
        seen_ms, truth_ms = seen.counts.percentile_ms(percent), nearest_rank(ascending, percent) * 1000.0
        off_ms = seen_ms - truth_ms
        print(
            f"{name:28s} p{percent:<4g}{seen_ms:10.2f}{truth_ms:10.2f}{off_ms:9.2f}{off_ms / truth_ms:9.1%}", flush=True
        )


def stalled_s(load: LoadProfile, behaviour: Behaviour) -> list[float]:
    """Latencies if stalls begin to count with the first request, as they do in that server."""
    starts_s = intended_starts_s(load)
    latencies_s = []
    for start_s in starts_s:
        due_s = start_s - starts_s[0] + behaviour.delay_s
        into_s = due_s % behaviour.stall_every_s
        stalled = into_s >= behaviour.stall_every_s - behaviour.stall_s
        wait_s = behaviour.stall_every_s - into_s if stalled else 0.0
        if start_s >= load.warmup_s:
            latencies_s.append(behaviour.delay_s + wait_s)
    return latencies_s


def main() -> None:
    print(f"{'server':28s} {'':5s}{'seen ms':>10s}{'truth ms':>10s}{'off ms':>9s}{'off':>9s}")
    discarded = 0
    for share in (0.3, 0.6, 0.85):
        for seed in range(MOST_RUNS):
            load = profile(share / SERVICE_S, 20.0, seed)
            seen = drive(Behaviour(delay_s=SERVICE_S, one_at_a_time=True), load)
            if not seen.spoiled:
                compared(f"M/D/1 at {share:.0%}, seed {seed}", seen, lindley_s(load))
                if share == 0.3:
                    wait_ms = share * SERVICE_S / (2.0 * (1.0 - share)) * 1000.0
                    truth_ms = SERVICE_S * 1000.0 + wait_ms
                    own_ms = math.fsum(lindley_s(load)) / len(lindley_s(load)) * 1000.0
                    mean_ms = seen.latency_ms.mean
                    print(f"  mean {mean_ms:.2f} ms; these arrivals {own_ms:.2f}, theory {truth_ms:.2f}")
                break
            discarded += 1
    for seed in range(MOST_RUNS):
        behaviour = Behaviour(delay_s=0.005, stall_every_s=2.0, stall_s=0.4)
        load = profile(100.0, 20.0, seed)
        seen = drive(behaviour, load)
        if not seen.spoiled:
            compared("400 ms stall every 2 s", seen, stalled_s(load, behaviour))
            break
        discarded += 1
    print(f"{discarded} runs had doubts and were discarded")


if __name__ == "__main__":
    main()
