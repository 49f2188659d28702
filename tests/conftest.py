"""What holds for all tests: properties on a slow machine, and a PostgreSQL server, started once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres import PostgresServer, missing_postgres, postgres_server

# No example of a property is wrong because this machine was slow to try it.
settings.register_profile("any_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any_machine")


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
