"""One coordinator a study in a shared database: who may append, what a late one is told, and a server that restarts."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import event

from tests.contract.test_history import some_trials
from tests.postgres import PostgresServer, postgres_server
from tests.specs import a_spec
from tuner import database
from tuner.coordination import Held, Keeper, kept
from tuner.domain.errors import InfrastructureError, UsageError
from tuner.history import OptunaHistory, open_history, read_study
from tuner.interruption import orderly_stop
from tuner.lease import coordinating
from tuner.postgres_lease import Fence, PostgresLease

STUDY = a_spec().name
LONG_S = 600.0


def lease_of(url: str, holder: str, duration_s: float = LONG_S) -> PostgresLease:
    return PostgresLease(url, STUDY, holder=holder, duration_s=duration_s)


def taken(lease: PostgresLease) -> Fence:
    token = lease.attempt()
    assert isinstance(token, int)
    return lease.fence(token)


def expire(server: PostgresServer, url: str) -> None:
    """As if its time had gone by."""
    server.execute("update servetune_leases set expires_at = now() - interval '1 s'", url.rpartition("/")[2])


def trial_rows(server: PostgresServer, url: str) -> int:
    (row,) = server.rows("select count(*) from trials", url.rpartition("/")[2])
    return int(str(row[0]))


def test_a_lease_is_refused_while_it_lasts_and_taken_over_after_it_with_a_higher_token(
    postgres: PostgresServer, postgres_url: str
):
    first, second = lease_of(postgres_url, "first"), lease_of(postgres_url, "second")
    fence = taken(first)
    held = second.attempt()
    assert isinstance(held, Held)
    assert held.holder == "first"
    expire(postgres, postgres_url)
    assert taken(second).token == fence.token + 1
    with pytest.raises(InfrastructureError, match="second took it over at 20"):
        first.renew(fence)


def test_a_lease_past_its_time_that_nobody_took_is_still_its_holders(postgres: PostgresServer, postgres_url: str):
    lease = lease_of(postgres_url, "slow")
    fence = taken(lease)
    expire(postgres, postgres_url)
    open_history(postgres_url, a_spec(), fence).append(some_trials()[0])
    lease.renew(fence)
    assert isinstance(lease_of(postgres_url, "other").attempt(), Held)


def test_a_released_lease_is_free_at_once_and_its_token_goes_on_growing(postgres_url: str):
    with coordinating(postgres_url, STUDY) as fence:
        pass
    with coordinating(postgres_url, STUDY) as later:
        assert fence is not None
        assert later is not None
        assert later.token == fence.token + 1


def test_leases_of_two_studies_know_nothing_of_each_other(postgres_url: str):
    with coordinating(postgres_url, "one"), coordinating(postgres_url, "two"):
        pass


def test_a_coordinator_that_wakes_up_late_appends_nothing(postgres: PostgresServer, postgres_url: str):
    trials = some_trials()
    old = open_history(postgres_url, a_spec(), taken(lease_of(postgres_url, "old")))
    old.append(trials[0])
    expire(postgres, postgres_url)
    new = open_history(postgres_url, a_spec(), taken(lease_of(postgres_url, "new")))
    with pytest.raises(InfrastructureError, match=r"no longer this process's to tune: new took it over") as told:
        old.append(trials[1])
    assert "every trial that was finished" in told.value.hint
    new.append(trials[1])
    assert read_study(postgres_url, STUDY)[1] == trials[:2]


def test_a_takeover_waits_for_an_append_that_is_under_way(postgres: PostgresServer, postgres_url: str):
    """The row is locked in the very transaction that writes the trial: there is no moment between look and write."""
    history = open_history(postgres_url, a_spec(), taken(lease_of(postgres_url, "old")))
    expire(postgres, postgres_url)
    inside, go_on = threading.Event(), threading.Event()

    def written(_session: object, _flushed: object) -> None:
        inside.set()
        assert go_on.wait(30)

    event.listen(session_of(history), "after_flush", written, once=True)
    tokens: list[int | Held] = []
    append = threading.Thread(target=history.append, args=(some_trials()[0],))
    take = threading.Thread(target=lambda: tokens.append(lease_of(postgres_url, "new").attempt()))
    append.start()
    assert inside.wait(30)
    take.start()
    await_rows(postgres, "select 1 from pg_stat_activity where wait_event_type = 'Lock'")
    assert tokens == []
    go_on.set()
    append.join()
    take.join()
    assert tokens == [2]
    assert trial_rows(postgres, postgres_url) == 1


def test_a_coordinator_that_stands_still_in_the_middle_of_an_append_is_replaced_and_writes_nothing(
    postgres: PostgresServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(database, "IDLE_TRANSACTION_MS", 300)
    history = open_history(postgres_url, a_spec(), taken(lease_of(postgres_url, "old")))
    expire(postgres, postgres_url)
    tokens: list[int | Held] = []

    def written(_session: object, _flushed: object) -> None:
        tokens.append(lease_of(postgres_url, "new").attempt())

    event.listen(session_of(history), "after_flush", written, once=True)
    with pytest.raises(InfrastructureError, match="new took it over"):
        history.append(some_trials()[0])
    assert tokens == [2]
    assert trial_rows(postgres, postgres_url) == 0


def session_of(history: OptunaHistory) -> Any:
    """Optuna's own sessions, in which its transactions are."""
    return history._study._storage._backend.scoped_session


def await_rows(server: PostgresServer, query: str) -> None:
    until_s = time.monotonic() + 30
    while not server.rows(query, "postgres"):
        assert time.monotonic() < until_s, query


def test_an_append_whose_commit_was_not_answered_is_made_once(
    postgres: PostgresServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
):
    history = open_history(postgres_url, a_spec(), taken(lease_of(postgres_url, "one")))

    dialect = session_of(history)().get_bind().dialect
    commit = dialect.do_commit

    def commit_without_answer(connection: sqlalchemy.PoolProxiedConnection) -> None:
        monkeypatch.undo()
        commit(connection)
        connection.dbapi_connection.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    def written(_session: object, _flushed: object) -> None:
        monkeypatch.setattr(dialect, "do_commit", commit_without_answer)

    event.listen(session_of(history), "after_flush", written, once=True)
    history.append(some_trials()[0])
    assert trial_rows(postgres, postgres_url) == 1
    assert history.trials() == some_trials()[:1]


@contextmanager
def restarted_meanwhile(server: PostgresServer) -> Iterator[None]:
    """Down on entry; it comes back once somebody has knocked in vain."""
    server.stop(signal.SIGQUIT)
    knocked = threading.Event()

    def say(_message: str, *_arguments: object) -> None:
        knocked.set()

    def come_back() -> None:
        knocked.wait(60)
        server.start()

    thread = threading.Thread(target=come_back)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(database.logging.getLogger("servetune"), "warning", say)
        thread.start()
        yield
        thread.join()
    assert knocked.is_set()


def test_a_server_that_is_away_is_waited_for_and_the_trial_in_hand_is_kept():
    """Of its own: it is crashed, twice."""
    with postgres_server() as server:
        url, trials = server.new_database(), some_trials()
        with coordinating(url, STUDY, lease_s=LONG_S) as fence:
            history = open_history(url, a_spec(), fence)
            history.append(trials[0])
            with restarted_meanwhile(server):
                history.append(trials[1])
            with restarted_meanwhile(server):
                assert history.trials() == trials[:2]
        assert read_study(url, STUDY)[1] == trials[:2]


def test_a_renewal_finds_nothing_wrong_with_a_server_that_is_away():
    with postgres_server() as server:
        lease = lease_of(server.new_database(), "one")
        fence = taken(lease)
        server.stop()
        lease.renew(fence)
        server.start()
        lease.renew(fence)


def test_a_lease_that_is_lost_stops_the_study_in_order_and_says_who_has_it(postgres: PostgresServer, postgres_url: str):
    torn_down: list[str] = []

    def tune() -> None:
        with orderly_stop(), coordinating(postgres_url, STUDY, lease_s=1.0):
            postgres.execute(
                "update servetune_leases set holder = 'somebody', token = 7", postgres_url.rpartition("/")[2]
            )
            try:
                threading.Event().wait(60)
            finally:
                torn_down.append("server")

    with pytest.raises(InfrastructureError, match="somebody took it over"):
        tune()
    assert torn_down == ["server"]


def test_outside_an_orderly_stop_a_lost_lease_is_told_and_stops_nothing():
    tried = threading.Event()

    def renew() -> None:
        tried.set()
        raise InfrastructureError("lost")

    with kept(renew, every_s=0.01) as keeper:
        assert tried.wait(30)
        with pytest.raises(InfrastructureError, match="lost"):
            refused_at_last(keeper)


def refused_at_last(keeper: Keeper) -> None:
    while True:
        keeper.refuse_if_lost()


def _hold(url: str, held: multiprocessing.synchronize.Event) -> None:
    with coordinating(url, STUDY, lease_s=2.0):
        held.set()
        multiprocessing.Event().wait(60)


def test_a_second_coordinator_is_refused_while_the_first_renews_and_waits_out_a_dead_ones_lease(postgres_url: str):
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    other = context.Process(target=_hold, args=(postgres_url, held))
    other.start()
    assert held.wait(30)
    told: list[str] = []
    who = rf"another servetune is tuning study '{STUDY}': .*-{other.pid}-\w+, since 20"
    with pytest.raises(UsageError, match=who), coordinating(postgres_url, STUDY, lease_s=2.0, tell=told.append):
        pass
    assert "waiting to see whether it still runs" in told[0]
    other.kill()
    other.join()
    with coordinating(postgres_url, STUDY, lease_s=2.0) as fence:
        assert fence is not None
        assert fence.token == 2
    other.close()
