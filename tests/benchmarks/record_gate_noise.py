"""Records how much a real service scatters from one repeat to the next: real Triton here, ABBA pairs of the same.

`python -m tests.benchmarks.record_gate_noise PAIRS FILE`; tests/data/gate_noise.json is its last output. How busy the
machine was is in the file: the load average before each pair, and the cores that neither server nor generator used.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runners.process_table import cpu_model
from tuner.assemble import open_bench
from tuner.domain.deployment import Deployment
from tuner.domain.errors import InvalidMeasurement
from tuner.domain.slo import Slo
from tuner.domain.space import Configuration
from tuner.gate.pairs import order_of
from tuner.gate_pairs import MeasuredSide, PairPlan, reading_on
from tuner.spec_file import load_spec

STUDY = Path(__file__).parents[2] / "examples" / "quickstart" / "study.yaml"
CONFIGURATION = {"cpu_cores": 0.3, "max_batch_size": 8, "instances": 1, "queue_delay_ms": 0, "intra_op_threads": 1}
TARGET_RPS = 90.0
WINDOW_S = 3.0
SATURATION_S = 3.0
LONGEST_S = 200.0
LIMIT_MS = 3000.0
OVERLOAD_RPS = 320.0


def record(count: int, file: Path) -> None:
    """So many pairs of repeats, or as many as fit into LONGEST_S, on one deployment; called again it goes on."""
    end_s = time.monotonic() + LONGEST_S
    spec = load_spec(STUDY)
    spec = replace(
        spec,
        load=replace(spec.load, target_rps=TARGET_RPS),
        confirm=replace(spec.confirm, window_s=WINDOW_S),
        # Wide, because what may leave late is a tenth of it: on a machine this busy, sends are late by 100 ms and more.
        slos=(Slo(indicator="latency_p99_ms", max=LIMIT_MS),),
    )
    configuration = Configuration.of(CONFIGURATION)
    document = json.loads(file.read_text()) if file.exists() else described(str(configuration))
    pairs = document["pairs"]
    with open_bench(spec, lambda _event: None) as bench:
        side = MeasuredSide(name="deployed", spec=spec, configuration=configuration, replicas=1, bench=bench)
        plan = PairPlan(saturation_s=SATURATION_S, overload_rps=OVERLOAD_RPS, seed=20261122)
        with bench.runner.deploy(configuration, deployment_id=f"noise-{len(pairs)}") as deployment:
            document["facts"] = dict(deployment.facts)
            document["first_pairs_of_deployments"].append(len(pairs))
            while len(pairs) < count and time.monotonic() < end_s:
                load_average = os.getloadavg()[0]
                pair: dict[str, object] = {"pair": len(pairs), "load_average_before": load_average}
                for name in order_of(len(pairs)):
                    pair[name] = figures_on(side, deployment, plan, len(pairs))
                pairs.append(pair)
                document["ended"] = datetime.now(UTC).isoformat(timespec="seconds")
                file.write_text(json.dumps(document, indent=1) + "\n")
                print(pair, flush=True)


def figures_on(side: MeasuredSide, deployment: Deployment, plan: PairPlan, number: int) -> dict[str, float]:
    """However long it takes: what spoils itself is measured again, and never recorded."""
    while True:
        try:
            found = dict(reading_on(side, deployment, plan, number).figures)
        except InvalidMeasurement as error:
            print(error, flush=True)
        else:
            del found["cold_start_s"]
            return found


def described(configuration: str) -> dict[str, Any]:
    """What is recorded, and where."""
    return {
        "what": "repeats of one real service, in ABBA pairs of the same; a pair shares its arrivals",
        "service": f"examples/quickstart/cls.onnx on Triton, {configuration}",
        "load": f"{TARGET_RPS:g} rps for {WINDOW_S:g} s, {OVERLOAD_RPS:g} rps for {SATURATION_S:g} s",
        "accepted": f"send lag p99 up to {LIMIT_MS / 10.0:g} ms: percentiles show what a busy machine adds",
        "machine": f"{os.cpu_count()} cores of {cpu_model()}, {platform.system()}, shared with other work",
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        "first_pairs_of_deployments": [],
        "pairs": [],
    }


if __name__ == "__main__":
    record(int(sys.argv[1]), Path(sys.argv[2]))
