"""What `servetune doctor` found out, whatever it looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `ok` is None where it could not be seen, `remedy` what the reader can do about it.

    `needed` is False for what only limits the choice of studies.
    """

    what: str
    ok: bool | None
    detail: str
    needed: bool = True
    remedy: str = ""
