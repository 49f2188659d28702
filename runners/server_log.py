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
    OPTION_UNKNOWN = auto()
    OPTION_REFUSED = auto()
    OTHER = auto()


def diagnose(log: str) -> StartFailure:
    """The cause by Triton's own words."""
    if "Usage: tritonserver [options]" in log:
        return StartFailure.OPTION_UNKNOWN if "unrecognized option" in log else StartFailure.OPTION_REFUSED
    if re.search(r"[Aa]ddress already in use|Socket '.*' already in use", log):
        return StartFailure.PORT_TAKEN
    if re.search(r"Resource temporarily unavailable|Failed to fork", log):
        return StartFailure.OTHER
    if re.search(r"failed to load all models|failed to load '", log):
        return StartFailure.MODEL_REFUSED
    return StartFailure.OTHER


def option_errors(log: str) -> str:
    """What Triton says before or after it prints all its options."""
    told = re.findall(r"^.*(?:unrecognized option|[Bb]ad option|[Ii]nvalid (?:option|argument)).*$", log, re.MULTILINE)
    return "; ".join(line.rpartition("tritonserver: ")[2][:LONGEST] for line in told) or "(no reason given)"


def last_errors(log: str) -> str:
    """The last error messages of a log in one line each, else its last lines."""
    errors = [m[1] for line in log.splitlines() if (m := re.match(r'(?:E\d{4} [^\]]*\] |error: )"?(.*?)"?$', line))]
    telling = [text for text in dict.fromkeys(errors) if not any(word in text for word in _HARMLESS)]
    chosen = telling or [line for line in log.splitlines() if line.strip(" +-|")]
    return "\n".join(text.replace("\\n", " ")[:LONGEST] for text in chosen[-LAST_ERRORS:]) or "(the log is empty)"
