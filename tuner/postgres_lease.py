"""The lease of a study in the PostgreSQL database that holds its history, and the fence around every write.

One row for each study: its holder, a token that only grows, and an expiry by the database's own clock. A transaction
that writes first locks the row with its own token in it: who was replaced finds none, and writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    MetaData,
    String,
    Table,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import INTERVAL, insert
from sqlalchemy.exc import SQLAlchemyError

from tuner.coordination import Held, lost
from tuner.database import limit_waits, one_at_a_time, open_engine, storage_errors

_LEASES = Table(
    "servetune_leases",
    MetaData(),
    Column("study", String(512), primary_key=True),
    Column("holder", String(512), nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("acquired_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """Whose writes to which study are let through."""

    study: str
    holder: str
    token: int

    def hold(self, connection: Connection) -> None:
        """Lock the study's row until the transaction's end. Raises InfrastructureError for a holder of the past."""
        limit_waits(connection)
        mine = select(_LEASES.c.token).where(*self._mine).with_for_update()
        if connection.execute(mine).first() is None:
            raise lost(self.study, self._successor(connection))

    @property
    def _mine(self) -> tuple[ColumnElement[bool], ...]:
        return (_LEASES.c.study == self.study, _LEASES.c.token == self.token, _LEASES.c.holder == self.holder)

    def _successor(self, connection: Connection) -> str:
        row = connection.execute(select(_LEASES).where(_LEASES.c.study == self.study)).first()
        if row is None:
            return "its lease is gone from the storage"
        return f"{row.holder} took it over at {row.acquired_at:%Y-%m-%d %H:%M:%S %Z}"


class PostgresLease:
    """One process's view of a study's lease. Every method raises UsageError where the storage cannot be used."""

    def __init__(self, storage_url: str, study: str, *, holder: str, duration_s: float) -> None:
        self._url, self._study, self._holder = storage_url, study, holder
        self._engine = open_engine(storage_url)
        self._duration = literal(f"{duration_s:g} seconds").cast(INTERVAL)
        with storage_errors(storage_url), one_at_a_time(storage_url):
            _LEASES.metadata.create_all(self._engine)

    def attempt(self) -> int | Held:
        """The token of the lease where it is free or past its expiry; else who holds it."""
        now = func.clock_timestamp()
        mine = {"holder": self._holder, "acquired_at": now, "expires_at": now + self._duration}
        taken = (
            insert(_LEASES)
            .values(study=self._study, token=1, **mine)
            .on_conflict_do_update(
                index_elements=[_LEASES.c.study],
                set_={**mine, "token": _LEASES.c.token + 1},
                where=_LEASES.c.expires_at < now,
            )
            .returning(_LEASES.c.token)
        )
        with storage_errors(self._url), self._engine.begin() as connection:
            limit_waits(connection)
            token = connection.execute(taken).scalar()
            if token is not None:
                return int(token)
            row = connection.execute(select(_LEASES).where(_LEASES.c.study == self._study)).one()
            since = f"{row.acquired_at:%Y-%m-%d %H:%M:%S %Z}"
            return Held(holder=row.holder, since=since, renewal=str(row.expires_at))

    def fence(self, token: int) -> Fence:
        return Fence(study=self._study, holder=self._holder, token=token)

    def renew(self, fence: Fence) -> None:
        """Raises InfrastructureError when it is lost. A database that does not answer tells nothing."""
        try:
            with self._engine.begin() as connection:
                fence.hold(connection)
                self._expire(connection, after=self._duration)
        except SQLAlchemyError:
            return

    def release(self, fence: Fence) -> None:
        """For the next one to take at once. The row stays: its token must go on growing."""
        try:
            with self._engine.begin() as connection:
                fence.hold(connection)
                self._expire(connection, after=literal("0 seconds").cast(INTERVAL))
        except SQLAlchemyError:
            # It runs out by itself.
            return

    def _expire(self, connection: Connection, *, after: object) -> None:
        soon = update(_LEASES).where(_LEASES.c.study == self._study)
        connection.execute(soon.values(expires_at=func.clock_timestamp() + after))
