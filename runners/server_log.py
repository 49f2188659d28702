"""What Triton's log says about a start that failed. Pure."""

from __future__ import annotations

import re
from enum import Enum, auto

LAST_ERRORS = 4
LONGEST = 400
_HARMLESS = ("CudaDriverHelper", "CUDA driver version", "unable to get number of CUDA devices", "CacheManager")


class StartFailure(Enum):
    """Why a server ended before it was ready."""

    PORT_TAKEN = auto()
    MODEL_REFUSED = auto()
    OTHER = auto()


def diagnose(log: str) -> StartFailure:
    """The cause by Triton's own words."""
    if re.search(r"[Aa]ddress already in use|Socket '.*' already in use", log):
        return StartFailure.PORT_TAKEN
    if re.search(r"Resource temporarily unavailable|Failed to fork", log):
        return StartFailure.OTHER
    if re.search(r"failed to load all models|failed to load '", log):
        return StartFailure.MODEL_REFUSED
    return StartFailure.OTHER


def last_errors(log: str) -> str:
    """The last error messages of a log in one line each, else its last lines."""
    errors = [m[1] for line in log.splitlines() if (m := re.match(r'(?:E\d{4} [^\]]*\] |error: )"?(.*?)"?$', line))]
    telling = [text for text in dict.fromkeys(errors) if not any(word in text for word in _HARMLESS)]
    chosen = telling or [line for line in log.splitlines() if line.strip(" +-|")]
    return "\n".join(text.replace("\\n", " ")[:LONGEST] for text in chosen[-LAST_ERRORS:]) or "(the log is empty)"
