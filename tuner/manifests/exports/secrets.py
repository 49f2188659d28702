"""What must not leave the user's own files: no exported text holds a secret."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tuner.domain.errors import UsageError
from tuner.manifests.plain import Plain, PlainObject

_SECRET_NAME = re.compile(
    r"(^|[_-])(TOKEN|SECRET|PASSWORD|PASSWD|PASS|CREDENTIALS?|(API|ACCESS|PRIVATE|SECRET)[_-]?KEY)($|[_-])",
    re.IGNORECASE,
)
_USER_IN_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s@]*:[^/\s@]*@", re.IGNORECASE)


def refuse_secrets(objects: Iterable[PlainObject]) -> None:
    """Raises UsageError for a literal value under a secret's name, and for an address with a password in it."""
    for one in objects:
        _refuse(one)


def refuse_secret_address(address: str) -> None:
    """Raises UsageError for an address with a password in it."""
    if _USER_IN_ADDRESS.search(address):
        raise UsageError("an address has a password in it", hint="exported files hold no secrets: reference a Secret")


def _refuse(node: Plain) -> None:
    if isinstance(node, str):
        refuse_secret_address(node)
    elif isinstance(node, dict):
        name = node.get("name")
        if isinstance(name, str) and node.get("value") and _SECRET_NAME.search(name):
            raise UsageError(
                f"the environment variable {name} looks like a secret, and stands in the base template as text",
                hint="reference a Secret with valueFrom: exported files hold no secrets",
            )
        for value in node.values():
            _refuse(value)
    elif isinstance(node, list | tuple):
        for value in node:
            _refuse(value)
