"""Which cores the server and the load generator get. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tuner.domain.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Core numbers. The generator's overlap the server's only where no core is left over."""

    server_cpus: tuple[int, ...]
    generator_cpus: tuple[int, ...]

    @property
    def shared(self) -> bool:
        return bool(set(self.server_cpus) & set(self.generator_cpus))


def place(cpu_cores: float, available: Sequence[int]) -> Placement:
    """ceil(cpu_cores) of the available cores for the server, the others for the generator. Raises UsageError.

    The server gets the highest numbers: the lowest core is the one that usually answers interrupts.
    """
    if not cpu_cores > 0:
        raise UsageError(f"cpu_cores must be above 0, and is {cpu_cores:g}")
    needed = math.ceil(cpu_cores)
    if needed > len(available):
        raise UsageError(
            f"cpu_cores {cpu_cores:g} asks for {needed} cores, and this machine gives us {len(available)}",
            hint="lower knobs.cpu_cores, or run the study on a larger machine",
        )
    ordered = tuple(sorted(available))
    server, others = ordered[-needed:], ordered[:-needed]
    return Placement(server_cpus=server, generator_cpus=others or ordered)
