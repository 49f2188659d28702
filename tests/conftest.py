"""What tests of more than one folder need: a PostgreSQL server, started once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres import PostgresServer, missing_postgres, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    missing = missing_postgres()
    if missing:
        pytest.skip(missing)
    with postgres_server() as running:
        yield running


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """An empty database of a test's own."""
    return postgres.new_database()
