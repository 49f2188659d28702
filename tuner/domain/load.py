"""What load a study sends, and what came back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tuner.domain.arrival_kinds import Arrivals, Replay, Shape
from tuner.domain.slo import Slo

PayloadKind = Literal["image", "random", "text", "files"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """How request bodies are made: `count` distinct ones, serialised before the clock starts.

    `text` fills BYTES inputs with `tokens` = (fewest, most) words, evenly distributed; `files` are (path, weight),
    each a whole body or the bytes of the model's one input.
    `shape` (without the batch dimension) replaces the model's own where that has free dimensions.
    """

    kind: PayloadKind = "random"
    shape: tuple[int, ...] | None = None
    count: int = 16
    tokens: tuple[int, int] = (24, 256)
    files: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadProfile:
    """Open-loop load on one deployment: when requests are due does not depend on the answers.

    A generator may end the window as soon as it is certain that one of `slos` is broken.
    """

    arrivals: Arrivals
    offered_rps: float
    warmup_s: float
    window_s: float
    timeout_s: float
    payload: Payload
    seed: int
    slos: tuple[Slo, ...] = ()

    @property
    def duration_s(self) -> float:
        return self.warmup_s + self.window_s

    @property
    def decisive_slos(self) -> tuple[Slo, ...]:
        """What a window may be ended early by: nothing where its load has a shape, since no part is like the whole.

        A recording may have any shape.
        """
        return () if isinstance(self.arrivals, Shape | Replay) else self.slos


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """One entry per request, in order of its intended start; seconds since the start of the load.

    A request that failed or was never answered has `ok` False and the time we gave up as `done_s`; one that the
    generator never sent has an infinite `sent_s`.
    """

    intended_s: tuple[float, ...]
    sent_s: tuple[float, ...]
    done_s: tuple[float, ...]
    ok: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.intended_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorHealth:
    """What the load generator says of itself. `cpu_ratio` is CPU seconds per second of its busiest process.

    `start_skew_s` is how far apart at most its workers began: on one machine they share a clock, so nothing.
    `detour`: requests took another way to the server than those of the service's clients will.
    """

    cpu_ratio: float
    cpu_ms_per_request: float
    workers_lost: int
    first_error: str = ""
    start_skew_s: float = 0.0
    detour: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRun:
    """Everything one call of a load generator yields; complete before the server goes away.

    `profile` has the window that was really carried out: shorter than asked for where the load ended early.
    """

    profile: LoadProfile
    samples: Samples
    generator: GeneratorHealth
