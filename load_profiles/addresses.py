"""HOST:PORT as written on a command line, and which addresses are this machine's own."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from tuner.domain.errors import UsageError

_ADDRESS = re.compile(r"(?:\[([0-9a-fA-F:.%\w]+)\]|([^\s:\[\]/]+)):(\d{1,5})")


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host (an IPv6 address without its brackets) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def host_port(text: str) -> HostPort:
    """`127.0.0.1:5557`, `[::1]:5557`, `load-master:5557`; localhost is 127.0.0.1. Raises UsageError."""
    found = _ADDRESS.fullmatch(text.strip())
    if found is None or int(found[3]) > 65535:
        raise UsageError(f"{text!r} is no address", hint="write HOST:PORT, such as 127.0.0.1:5557")
    return HostPort(_numeric(found[1] or found[2]), int(found[3]))


def _numeric(host: str) -> str:
    """A socket cannot be bound to a name; and where it means ::1 as well, the two sides could miss each other."""
    return "127.0.0.1" if host.lower() == "localhost" else host


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own. What a name means is for others to say."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
