"""What a storage's URL says of the database, and the same without its secrets."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote

SQLITE_PREFIX = "sqlite:///"
POSTGRES_SCHEMES = ("postgresql", "postgresql+psycopg")
HIDDEN = "***"


def is_postgres(storage_url: str) -> bool:
    """Whether the storage is a PostgreSQL database."""
    return storage_url.partition("://")[0] in POSTGRES_SCHEMES


def with_driver(storage_url: str) -> str:
    """The URL with the one driver that servetune brings for that database, whatever the library's default is."""
    scheme, mark, rest = storage_url.partition("://")
    return f"postgresql+psycopg{mark}{rest}" if scheme in POSTGRES_SCHEMES else storage_url


def shown(storage_url: str) -> str:
    """The URL as it may be printed: no password, neither before the host nor among the options."""
    scheme, mark, rest = storage_url.partition("://")
    if not mark or scheme == "sqlite":
        return storage_url
    # A password may hold an @, a / or a ?: of what is before the last @ only the user's name is shown.
    secret, at, place = rest.rpartition("@")
    user, colon, _ = secret.partition(":")
    where, question, query = place.partition("?")
    options = "&".join(_masked(option) for option in query.split("&"))
    return f"{scheme}://{user}{colon and ':' + HIDDEN}{at}{where}{question}{options}"


def without_secrets(text: str, storage_url: str) -> str:
    """The text with nothing of the URL in it that `shown` hides."""
    for secret in sorted(_secrets(storage_url), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def _secrets(storage_url: str) -> set[str]:
    before, at, _ = storage_url.partition("://")[2].rpartition("@")
    password = before.partition(":")[2] if at else ""
    options = parse_qsl(storage_url.partition("?")[2])
    found = {password, unquote(password), *(value for name, value in options if _is_secret(name))}
    # What else a parser may have taken for the password where it holds an @ of its own.
    found |= {part for part in password.split("@") if len(part) > 2}
    return {secret for secret in found if secret}


def _masked(option: str) -> str:
    name, equals, value = option.partition("=")
    return f"{name}{equals}{HIDDEN if _is_secret(name) else value}"


def _is_secret(option: str) -> bool:
    return "password" in option.lower() or option.lower() == "passfile"
