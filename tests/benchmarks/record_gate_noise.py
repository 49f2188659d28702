"""Records how much a real service scatters between fresh deployments: real Triton here, ABBA pairs of the same.

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

from runners.process_table import cpu_model
from tuner.assemble import open_bench
from tuner.domain.space import Configuration
from tuner.gate.pairs import Side
from tuner.gate_pairs import MeasuredSide, PairPlan, calibrated_rps, measured_pairs
from tuner.spec_file import load_spec

STUDY = Path(__file__).parents[2] / "examples" / "quickstart" / "study.yaml"
CONFIGURATION = {"cpu_cores": 0.3, "max_batch_size": 8, "instances": 1, "queue_delay_ms": 0, "intra_op_threads": 1}
TARGET_RPS = 90.0
WINDOW_S = 4.0
SATURATION_S = 3.0
LONGEST_S = 230.0


def record(count: int, file: Path) -> None:
    """So many pairs, two deployments each, or as many as fit into LONGEST_S; called again it goes on.

    The file is written anew after every pair.
    """
    end_s = time.monotonic() + LONGEST_S
    spec = load_spec(STUDY)
    spec = replace(
        spec,
        load=replace(spec.load, target_rps=TARGET_RPS),
        confirm=replace(spec.confirm, window_s=WINDOW_S),
    )
    configuration = Configuration.of(CONFIGURATION)
    before = json.loads(file.read_text()) if file.exists() else {"pairs": []}
    pairs: list[dict[str, object]] = before["pairs"]
    begun = before.get("begun", datetime.now(UTC).isoformat(timespec="seconds"))
    with open_bench(spec, lambda _event: None) as bench:
        names: tuple[Side, Side] = ("deployed", "candidate")
        sides = {
            name: MeasuredSide(name=name, spec=spec, configuration=configuration, replicas=1, bench=bench)
            for name in names
        }
        overload_rps = calibrated_rps(sides["deployed"], tell=print)
        plan = PairPlan(saturation_s=SATURATION_S, overload_rps=overload_rps, seed=20261122 + len(pairs))
        load_average = os.getloadavg()[0]
        for pair in measured_pairs(sides, plan, None, print):
            figures = {name: dict(getattr(pair, name).figures) for name in sides}
            pairs.append({"pair": len(pairs), "load_average_before": load_average, **figures})
            document = {
                "what": "fresh deployments of one real service, in ABBA pairs",
                "service": f"examples/quickstart/cls.onnx on Triton, {configuration}",
                "facts": dict(pair.deployed.facts),
                "load": f"{TARGET_RPS:g} rps for {WINDOW_S:g} s, {overload_rps:.0f} rps for {SATURATION_S:g} s",
                "machine": f"{os.cpu_count()} cores of {cpu_model()}, {platform.system()}, shared with other work",
                "begun": begun,
                "ended": datetime.now(UTC).isoformat(timespec="seconds"),
                "pairs": pairs,
            }
            file.write_text(json.dumps(document, indent=1) + "\n")
            print(pair.number, figures, load_average, flush=True)
            load_average = os.getloadavg()[0]
            if len(pairs) >= count or time.monotonic() > end_s:
                return


if __name__ == "__main__":
    record(int(sys.argv[1]), Path(sys.argv[2]))
