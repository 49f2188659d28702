"""Loopback addresses by name: whoever has one of its own shares no port with anybody else on this machine."""

from __future__ import annotations

import hashlib


def loopback_address(name: str) -> str:
    """One of 127.1.0.1 to 127.254.255.254, always the same for the same name."""
    first, second, third = hashlib.sha256(name.encode()).digest()[:3]
    return f"127.{1 + first % 254}.{second}.{1 + third % 254}"
