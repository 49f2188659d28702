"""What a load worker may send load to, whatever its master says: this machine, and targets its own user named."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from load_profiles.addresses import is_loopback
from load_profiles.plan import LoadPlan
from tuner.domain.errors import TargetRefused


def refuse_unless_allowed(plan: LoadPlan, allowed: Iterable[str]) -> None:
    """Raises TargetRefused if the plan's address is neither loopback nor one that was allowed here.

    A plan names a pinned address and the name it was found by. The name counts only if it means that address here,
    too: a master cannot borrow an allowed name for another place.
    """
    target = urlsplit(plan.endpoint)
    address, port = (target.hostname or "").lower(), target.port or 80
    if is_loopback(address):
        return
    shown = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    permitted = {name.strip().lower() for name in allowed}
    if permitted & {shown, f"{address}:{port}"}:
        return
    name = plan.host.lower()
    if name in permitted and address in _addresses(name.rpartition(":")[0].strip("[]"), port):
        return
    raise TargetRefused(
        f"this worker may not put load on {plan.host or shown} at {shown}",
        hint=f"if it may, start it with --allow-target {name or shown}",
    )


def _addresses(name: str, port: int) -> set[str]:
    try:
        return {str(entry[4][0]).lower() for entry in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)}
    except OSError:
        return set()
