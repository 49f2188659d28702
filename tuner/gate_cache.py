"""Pairs that an earlier gate measured of the same two things on the same machine, kept as files.

A gate that is run again judges the same pairs again and goes on from there: asking twice is no second chance.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from tuner import __version__
from tuner.domain.space import Configuration
from tuner.domain.spec import StudySpec
from tuner.gate.fingerprint import fingerprint_of, runner_text
from tuner.gate.lock import Lock, prices_for
from tuner.gate.pairs import Pair

FORMAT = 2


@cache
def _adapter() -> TypeAdapter[Pair]:
    return TypeAdapter(Pair)


def cache_key(lock: Lock, deployed: StudySpec, spec: StudySpec, configuration: Configuration, replicas: int) -> str:
    """The same for the same two specs under the same load on this machine by this servetune."""
    candidate = fingerprint_of(spec, configuration, (), prices_for(spec.pricing, configuration), tool=__version__)
    then = replace(lock.fingerprint, runner=runner_text(deployed))
    parts = [
        FORMAT,
        platform.node(),
        [then.configuration, then.model, then.runner, then.engine, then.server, then.driver, then.gpu, then.machine],
        lock.spec.replicas,
        [candidate.configuration, candidate.model, candidate.runner, candidate.load, candidate.slos, candidate.tool],
        replicas,
        [spec.load.target_rps, spec.headroom, spec.load.warmup_s, spec.confirm.window_s, spec.search.seed],
        [deployed.load.warmup_s, deployed.confirm.window_s, deployed.timeout_s, spec.timeout_s],
    ]
    return hashlib.sha256(json.dumps(parts, allow_nan=False).encode()).hexdigest()[:32]


class PairCache:
    """One folder for one key. A file that is too old, damaged or cut off is measured anew."""

    def __init__(self, folder: Path, *, oldest_s: float) -> None:
        self._folder = folder
        self._oldest_s = oldest_s

    def read(self, number: int) -> Pair | None:
        content = self._fresh(self._folder / f"pair-{number}.json")
        if content is None:
            return None
        try:
            pair = _adapter().validate_json(content)
        except ValidationError:
            return None
        return replace(pair, reused=True) if pair.number == number else None

    def write(self, pair: Pair) -> None:
        self._put(f"pair-{pair.number}.json", to_json(pair, inf_nan_mode="strings"))

    def overload_rps(self) -> float | None:
        """The load by which the pairs here were saturated."""
        content = self._fresh(self._folder / "overload.json")
        try:
            rate_rps = json.loads(content) if content is not None else None
        except ValueError:
            return None
        return rate_rps if isinstance(rate_rps, float) and rate_rps > 0.0 else None

    def keep_overload(self, rate_rps: float) -> None:
        self._put("overload.json", json.dumps(rate_rps).encode())

    def _fresh(self, path: Path) -> bytes | None:
        try:
            # A file of the future is as little to be believed as one that is too old.
            age_s = time.time() - path.stat().st_mtime
            return path.read_bytes() if -60.0 <= age_s <= self._oldest_s else None
        except OSError:
            return None

    def _put(self, name: str, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / f"{name}.part"
        partial.write_bytes(content)
        partial.replace(self._folder / name)
