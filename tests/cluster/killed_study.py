"""A small study on the test cluster as a user tunes it: `servetune tune`, a process that can be killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.addresses import loopback_address
from tests.cluster.kserve_pod import MODEL
from tests.cluster.runners import PORT, own_node, template
from tuner.domain.trial import Trial
from tuner.history import read_study
from tuner.yaml_text import to_yaml

DIGEST = f"localhost/servetune@sha256:{'5e' * 32}"
PRICES = """\
resource,sku,term,currency,price_per_hour,as_of,source
cpu_core,,on_demand,USD,0.05,2026-11-01,made up for this test
memory_gib,,on_demand,USD,0.01,2026-11-01,made up for this test
"""
STUDY = "killed"
END_S = 240.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KilledStudy:
    """One study file, its storage and cluster; trial 0 searches the only configuration, trial 1 proves it."""

    folder: Path
    kubeconfig: Path
    namespace: str
    storage: str
    lease: str = "4s"

    @property
    def argv(self) -> list[str]:
        where = ["--storage", self.storage, "--kubeconfig", str(self.kubeconfig)]
        return [
            sys.executable,
            "-m",
            "tuner",
            "tune",
            str(self.folder / "study.yaml"),
            *where,
            "--lease",
            self.lease,
            "-v",
        ]

    @contextmanager
    def begun(self) -> Iterator[subprocess.Popen[bytes]]:
        """The process; killed at the end of the block if it still runs."""
        with (self.folder / "first.log").open("wb") as log:
            process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def said(self) -> str:
        return (self.folder / "first.log").read_text()

    def resumed(self) -> str:
        """What the same command says, to its end; it must find its answer."""
        done = subprocess.run(self.argv, capture_output=True, text=True, timeout=END_S, check=False)
        assert done.returncode == 0, f"{self.said()}\n--- then\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def trials(self) -> tuple[Trial, ...]:
        return read_study(self.storage, STUDY)[1]


def written(folder: Path, kubeconfig: Path, namespace: str, storage: str, *, proof_s: float = 1.0) -> KilledStudy:
    """A second of load at an objective that only a hang misses: the point is what is killed, not what is measured."""
    address = loopback_address(namespace)
    pod = template(address, PORT)
    (folder / "pod.yaml").write_text(to_yaml({"apiVersion": "v1", **pod}))
    (folder / "prices.csv").write_text(PRICES)
    section: dict[str, Any] = {
        "namespace": namespace,
        "load": {"image": DIGEST, "sent_from": "controller"},
        "base": {"file": "pod.yaml"},
        "network": "host",
        "host_address": address,
        "capacity_labels": {"on_demand": own_node(namespace)},
    }
    study = {
        "apiVersion": "servetune/v1",
        "kind": "Study",
        "metadata": {"name": STUDY},
        "model": {"name": MODEL},
        "runner": {"kind": "kubernetes", "ready_timeout_s": 120.0, "kubernetes": section},
        "knobs": {"cpu_cores": [0.25], "memory_gib": [0.25]},
        "load": {"arrivals": "constant", "target_rps": 40, "warmup_s": 0.1, "window_s": 1.0, "timeout_s": 25},
        "slos": [{"indicator": "latency_p50_ms", "max": 5000}],
        "headroom": 0,
        "confirm": {"repeats": 1, "window_s": proof_s},
        "prices": {"book": "prices.csv", "term": "on_demand"},
        "budget": {"trials": 1, "wall_time_s": 3600},
        "search": {"optimizer": "grid"},
    }
    (folder / "study.yaml").write_text(to_yaml(study))
    return KilledStudy(folder=folder, kubeconfig=kubeconfig, namespace=namespace, storage=storage)
