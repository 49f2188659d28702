"""What holds for every test: no example of a property is wrong because this machine was slow to try it."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("any_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any_machine")
