"""Values in a pod template that look like secrets and stand there as plain text, so that they would go into files."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tuner.manifests.plain import PlainObject, objects_at, text_at, texts_at

# Whole words of a name, so that TOKENIZER_PATH, MAX_TOKENS and KEYBOARD are none.
_NAME = re.compile(
    r"(^|[_.-])(PASSWORD|PASSWD|PASSPHRASE|SECRET|SECRETS|TOKEN|CREDENTIAL|CREDENTIALS|APIKEY|AUTHORIZATION"
    r"|(API|ACCESS|SECRET|PRIVATE|ACCOUNT|SIGNING|ENCRYPTION|SERVICE|AUTH|LICENSE)[_.-]?KEY)($|[_.-])",
    re.IGNORECASE,
)
# What a name ends with that says that the value is only where the secret is, or how long.
_HARMLESS_NAME = re.compile(r"[_.-](FILE|PATH|DIR|NAME|URL|ENDPOINT|ID|TTL|LENGTH|LIMIT|COUNT|TYPE)$", re.IGNORECASE)
_VALUE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b(AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\b(gh[pousr]_|github_pat_|glpat-|hf_|nvapi-|xox[abprs]-)[A-Za-z0-9_-]{16,}"
    r"|\bsk-[A-Za-z0-9_-]{20,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\."
    r"|[a-z][a-z0-9+.-]*://[^\s/:@]+:[^\s/@]+@"
    r"|(AccountKey|SharedAccessSignature)=",
)
_SWITCHES = frozenset({"true", "false", "yes", "no", "on", "off", "0", "1", "none"})
_ARGUMENT = re.compile(r"(?:--?)?([A-Za-z_][A-Za-z0-9_.-]*)(?:=(.*))?", re.DOTALL)


def plain_secrets(template: PlainObject) -> tuple[str, ...]:
    """Where they are, as CONTAINER: env NAME or CONTAINER: argument --NAME; never the value. References are fine."""
    containers = (*objects_at(template, "spec", "initContainers"), *objects_at(template, "spec", "containers"))
    return tuple(
        f"{text_at(container, 'name')}: {place}"
        for container in containers
        for place in (*_variables(container), *_arguments(container))
    )


def _variables(container: PlainObject) -> Iterator[str]:
    for variable in objects_at(container, "env"):
        name, value = text_at(variable, "name"), text_at(variable, "value")
        if value and _secret(name, value):
            yield f"env {name}"


def _arguments(container: PlainObject) -> Iterator[str]:
    listed = [*texts_at(container, "command"), *texts_at(container, "args")]
    # A line for a shell holds several words, and may set variables.
    words = [word for one in listed for word in (one.split() if len(one.split()) > 1 else [one])]
    for word, following in zip(words, [*words, ""][1:], strict=True):
        flag = _ARGUMENT.fullmatch(word)
        if flag is None:
            if _VALUE.search(word):
                yield "an argument"
            continue
        follows = word.startswith("-") and not following.startswith("-")
        value = flag[2] if flag[2] is not None else following if follows else ""
        if value and _secret(flag[1], value):
            yield f"argument {word.partition('=')[0]}"


def _secret(name: str, value: str) -> bool:
    """By the name of a secret, with a value that is not a reference to another variable; or by the value itself."""
    if _VALUE.search(value):
        return True
    if value.lower() in _SWITCHES:
        return False
    return bool(_NAME.search(name)) and not _HARMLESS_NAME.search(name) and not value.startswith("$(")
