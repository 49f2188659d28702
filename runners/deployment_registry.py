"""What each deployment of the local runner occupies, written down before it occupies anything.

One small file per deployment, so that whatever a killed controller left behind is found without its memory. The file's
name carries the controller's process number and start, so that even an empty file tells whether its writer still lives.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from runners.process_table import ProcessIdentity

DEPLOYMENT_VARIABLE = "SERVETUNE_DEPLOYMENT"
"""In every server process's environment: the entry's key."""

CONTROLLER_VARIABLE = "SERVETUNE_CONTROLLER"
"""In every server process's environment: who started it, so that a process is judged even without its entry."""

CGROUPS_VARIABLE = "SERVETUNE_CGROUPS"
"""In every server process's environment: the deployment's control groups, separated as in PATH."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryEntry:
    """One deployment's belongings. `shared_memory` is a prefix of names in /dev/shm."""

    key: str
    study: str
    deployment_id: str
    controller: ProcessIdentity
    folder: str
    cgroups: tuple[str, ...]
    shared_memory: str

    @property
    def file_name(self) -> str:
        return f"{self.key}@{self.controller.pid}-{self.controller.start_ticks}.json"


def default_state_dir() -> Path:
    """Where this user's deployments are written down."""
    return Path(platformdirs.user_state_dir("servetune")) / "deployments"


def write_entry(registry: Path, entry: RegistryEntry) -> None:
    """Raises FileExistsError: a key is used once."""
    registry.mkdir(parents=True, exist_ok=True)
    with (registry / entry.file_name).open("x", encoding="utf-8") as file:
        file.write(json.dumps(asdict(entry)))


def forget_entry(registry: Path, entry: RegistryEntry) -> None:
    """Remove the entry's file; missing is no error."""
    (registry / entry.file_name).unlink(missing_ok=True)


def entries(registry: Path) -> Iterator[RegistryEntry]:
    """Every entry that was written completely."""
    for path in sorted(registry.glob("*.json")):
        entry = _read(path)
        if entry is not None:
            yield entry


def torn_files(registry: Path) -> Iterator[tuple[Path, int, int]]:
    """Files cut short by a kill, with their writer's process number and start; it had started nothing yet."""
    for path in sorted(registry.glob("*.json")):
        writer = re.search(r"@(\d+)-(\d+)\.json$", path.name)
        if writer and path.exists() and _read(path) is None:
            yield path, int(writer[1]), int(writer[2])


def _read(path: Path) -> RegistryEntry | None:
    try:
        value = json.loads(path.read_text("utf-8"))
        controller = ProcessIdentity(**value.pop("controller"))
        return RegistryEntry(controller=controller, cgroups=tuple(value.pop("cgroups")), **value)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
