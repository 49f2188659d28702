"""What must not leave the user's own files: no exported text holds a secret."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tuner.domain.errors import UsageError
from tuner.manifests.plain import Plain, PlainObject

# Parts of a name, which are cut at _, -, . and where capitals begin: AZURE_STORAGE_KEY, dbPassword, REDISCLI_AUTH.
_SECRET_PART = re.compile(
    r"^(TOKEN|SECRET|\w*PASSWORD|PASSWD|PASSPHRASE|PASS|\w*PWD|CREDENTIALS?|AUTH|KEY|\w*(API|ACCESS|PRIVATE|SECRET)KEY)S?$",
    re.IGNORECASE,
)
_PART_END = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")
# Where a secret lies, or how long or how many: no secret.
_NO_SECRET_NAME = re.compile(r"[_-](FILE|PATH)$|(?<=[a-z])(File|Path)$", re.IGNORECASE)
_PLAIN_VALUE = re.compile(r"^([+-]?\d+(\.\d*)?|true|false)$", re.IGNORECASE)
_REFERENCE = re.compile(r"^\$\([A-Za-z_][A-Za-z0-9_]*\)$")
_ARGUMENT = re.compile(r"^-{1,2}(?P<name>[A-Za-z][\w.-]*)=(?P<value>.+)$", re.DOTALL)
_USER_IN_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s@]*:[^/\s@]*@", re.IGNORECASE)


def refuse_secrets(objects: Iterable[PlainObject]) -> None:
    """Raises UsageError for a literal value under a secret's name, in a variable or an argument, and for an address
    with a password in it.
    """
    for one in objects:
        _refuse(one)


def refuse_secret_address(address: str) -> None:
    """Raises UsageError for an address with a password in it."""
    if _USER_IN_ADDRESS.search(address):
        raise UsageError("an address has a password in it", hint="exported files hold no secrets: reference a Secret")


def _is_secret(name: str, value: str) -> bool:
    """By its name; what says where a secret lies, a plain number, and a reference to another variable is none."""
    if _NO_SECRET_NAME.search(name) or _PLAIN_VALUE.match(value) or _REFERENCE.match(value):
        return False
    return any(_SECRET_PART.match(part) for part in _PART_END.split(name))


def _refuse(node: Plain) -> None:
    if isinstance(node, str):
        refuse_secret_address(node)
        argument = _ARGUMENT.match(node)
        if argument and _is_secret(argument["name"], argument["value"]):
            raise UsageError(
                f"the argument --{argument['name']} looks like a secret, and stands in the base template as text",
                hint="reference a Secret by an environment variable: exported files hold no secrets",
            )
    elif isinstance(node, dict):
        name, text = node.get("name"), node.get("value")
        if isinstance(name, str) and text and _is_secret(name, str(text)):
            raise UsageError(
                f"the environment variable {name} looks like a secret, and stands in the base template as text",
                hint="reference a Secret with valueFrom: exported files hold no secrets",
            )
        for value in node.values():
            _refuse(value)
    elif isinstance(node, list | tuple):
        for value in node:
            _refuse(value)
