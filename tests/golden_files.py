"""Comparing with committed files; `UPDATE_GOLDEN=1 pytest ...` rewrites them, to be read before they are committed."""

from __future__ import annotations

import os
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"


def matches_golden(name: str, actual: str) -> bool:
    """True where the committed text is this one. On update it is written, and is."""
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(actual, encoding="utf-8")
    return path.read_text(encoding="utf-8") == actual
