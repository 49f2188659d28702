"""The database behind a storage URL: how it is reached, what its errors mean, and waiting for it while it restarts.

PostgreSQL is spoken to over a fresh connection for every transaction: a study's are minutes apart, and a connection
kept open would be a dead one after every restart of the server.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import tenacity
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from tuner.domain.errors import UsageError
from tuner.storage_url import is_postgres, shown, with_driver, without_secrets

BUSY_TIMEOUT_S = 30.0
PATIENCE_S = 300.0
# A coordinator that stands still in the middle of a transaction must not hold the study's row for ever.
IDLE_TRANSACTION_MS = 10_000
LOCK_MS = 20_000
STATEMENT_MS = 60_000
URL_HINT = "--storage is a URL such as sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
SCHEMA_LOCK = 7_365_727
"""Any number that nobody else takes for an advisory lock of this database."""
_CONNECTING = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "servetune",
}
_Result = TypeVar("_Result")


class UnknownOutcome(Exception):
    """Nobody knows whether a transaction was committed: look before doing it again."""


def engine_options(storage_url: str) -> dict[str, Any]:
    """What SQLAlchemy's `create_engine` is told. What the URL says itself stands."""
    if not is_postgres(storage_url):
        return {"connect_args": {"timeout": BUSY_TIMEOUT_S} if storage_url.startswith("sqlite") else {}}
    said = storage_url.partition("?")[2]
    unsaid = {name: value for name, value in _CONNECTING.items() if f"{name}=" not in said}
    return {"connect_args": unsaid, "poolclass": NullPool}


def open_engine(storage_url: str) -> Engine:
    """An engine of our own. Raises UsageError for a URL that is none; nothing is connected yet."""
    refuse_unreadable(storage_url)
    with storage_errors(storage_url):
        return create_engine(with_driver(storage_url), **engine_options(storage_url))


def refuse_unreadable(storage_url: str) -> None:
    """Raises UsageError for a URL that is none, without repeating it: nobody knows which part is the password."""
    try:
        make_url(with_driver(storage_url))
    except (ArgumentError, ValueError):
        raise UsageError("the storage cannot be used: its URL cannot be read", hint=URL_HINT) from None


@contextmanager
def one_at_a_time(storage_url: str) -> Iterator[None]:
    """Tables are made by one process after the other; PostgreSQL refuses the second of two at once."""
    if not is_postgres(storage_url):
        yield
        return
    with open_engine(storage_url).begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": SCHEMA_LOCK})
        yield


def limit_waits(connection: Connection) -> None:
    """For the transaction that has begun: neither wait for ever, nor have others wait for ever."""
    limits = {
        "idle_in_transaction_session_timeout": IDLE_TRANSACTION_MS,
        "lock_timeout": LOCK_MS,
        "statement_timeout": STATEMENT_MS,
    }
    asked = ", ".join(f"set_config('{name}', '{value_ms}', true)" for name, value_ms in limits.items())
    connection.execute(text(f"select {asked}"))


def passes(error: BaseException | None) -> bool:
    """Whether the database may answer when it is asked again: it restarts, or the connection broke."""
    if isinstance(error, UnknownOutcome | OperationalError | InterfaceError):
        return True
    if isinstance(error, DBAPIError):
        return error.connection_invalidated
    # Optuna wraps what its own transactions meet.
    return error is not None and not isinstance(error, SQLAlchemyError) and passes(error.__cause__)


def patiently(storage_url: str, work: Callable[[], _Result], *, within_s: float = PATIENCE_S) -> _Result:
    """Do it, again and again while a PostgreSQL server is away; then raises what it said last."""
    if not is_postgres(storage_url):
        return work()
    again = tenacity.Retrying(
        retry=tenacity.retry_if_exception(passes),
        wait=tenacity.wait_exponential_jitter(multiplier=0.2, max=5.0, jitter=0.3),
        stop=tenacity.stop_after_delay(within_s),
        before_sleep=_say_once(storage_url),
        reraise=True,
    )
    return again(work)


@contextmanager
def storage_errors(storage_url: str) -> Iterator[None]:
    """What a database says, as a UsageError without a password in it."""
    try:
        yield
    except ImportError as error:
        hint = "install servetune[postgres]" if is_postgres(storage_url) else "install that database's driver"
        raise UsageError(f"the storage cannot be used: {error}", hint=hint) from error
    except SQLAlchemyError as error:
        # Without its cause, which a traceback would show with all its parameters.
        raise UsageError(
            without_secrets(f"the storage cannot be used: {in_short(error)}", storage_url), hint=URL_HINT
        ) from None


def in_short(error: SQLAlchemyError) -> str:
    """The first line of what the database said."""
    original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return (str(original).strip() or type(original).__name__).splitlines()[0]


def _say_once(storage_url: str) -> Callable[[tenacity.RetryCallState], None]:
    def say(state: tenacity.RetryCallState) -> None:
        if state.attempt_number == 1:
            logging.getLogger("servetune").warning("%s does not answer; asking again", shown(storage_url))

    return say
