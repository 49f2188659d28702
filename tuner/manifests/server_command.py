"""The `env.NAME` and `arg.NAME` knobs: what of a configuration goes to the server's environment and command line."""

from __future__ import annotations

from collections.abc import Collection

from tuner.domain.errors import UsageError
from tuner.domain.space import Configuration


def environment_settings(configuration: Configuration, *, reserved: Collection[str] = ()) -> dict[str, str]:
    """The `env.NAME` knobs as NAME -> value. Raises UsageError where a name is the runner's own."""
    return _settings(configuration, "env.", reserved)


def command_arguments(configuration: Configuration, *, reserved: Collection[str] = ()) -> tuple[str, ...]:
    """The `arg.NAME` knobs as `--NAME=VALUE`, sorted by name. Raises UsageError where a name is the runner's own."""
    return tuple(f"--{name}={value}" for name, value in _settings(configuration, "arg.", reserved).items())


def _settings(configuration: Configuration, prefix: str, reserved: Collection[str]) -> dict[str, str]:
    found = {knob.removeprefix(prefix): str(value) for knob, value in configuration.settings if knob.startswith(prefix)}
    for name in found:
        if name in reserved:
            raise UsageError(f"{prefix}{name} is set by the runner itself", hint=f"leave {prefix}{name} out")
    return found
