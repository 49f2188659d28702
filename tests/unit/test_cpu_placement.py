from __future__ import annotations

import pytest

from runners.cpu_placement import Placement, place
from tuner.domain.errors import UsageError


@pytest.mark.parametrize(
    ("cpu_cores", "available", "server", "generator"),
    [
        (0.25, (0, 1), (1,), (0,)),
        (1.0, (0, 1), (1,), (0,)),
        (1.25, (0, 1), (0, 1), (0, 1)),
        (2.5, (7, 3, 4, 5), (4, 5, 7), (3,)),
        (0.5, (6,), (6,), (6,)),
    ],
)
def test_the_generator_gets_what_the_server_does_not_use(cpu_cores, available, server, generator):
    assert place(cpu_cores, available) == Placement(server_cpus=server, generator_cpus=generator)


def test_sharing_is_stated():
    assert place(1.25, (0, 1)).shared
    assert not place(1.0, (0, 1)).shared


@pytest.mark.parametrize("cpu_cores", [2.25, 0.0, -1.0, float("nan")])
def test_cores_that_are_not_there_are_refused(cpu_cores: float):
    with pytest.raises(UsageError, match="cpu_cores"):
        place(cpu_cores, (0, 1))
