"""SIGKILL to a tuning controller at named points, then the same command: nothing is lost, doubled or left behind."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import sqlalchemy

from tests.cluster import fake_node
from tests.cluster.control_plane import ControlPlane
from tests.cluster.fake_node import FakeNodes
from tests.cluster.gates import Gate, gated_servers, webhook
from tests.cluster.killed_study import KilledStudy, written
from tests.cluster.processes import await_true
from tests.cluster.runners import occupied
from tests.cluster.test_commands import cluster_options, servetune
from tests.cluster.test_lease import leases
from tests.postgres import PostgresServer
from tuner.assemble_cluster import clean_cluster
from tuner.domain.trial import Measured
from tuner.place import ClusterAccess, Place

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
NAME = r"st-killed-{trial}-1-\w+-"
OWNER, SERVER = (NAME + role for role in ("owner", "server"))

HELD = {
    "before the lease": r"CREATE leases st-killed-\w+-lease",
    "after the lease": f"CREATE configmaps {OWNER.format(trial=0)}",
    "after the owner object": f"CREATE deployments {SERVER.format(trial=1)}",
    "after half of the owned objects": f"CREATE services {SERVER.format(trial=1)}",
    "while scheduling": f"CREATE pods/binding {SERVER.format(trial=1)}.*",
    "while loading": f"UPDATE pods/status {SERVER.format(trial=1)}.*",
    "ready before load": r"server 2: GET /v2/models/stub after 0",
    "during load": r"server 2: POST /v2/models/stub/infer after 20",
    "after load before teardown": r"server 2: GET /v2/models/stub/stats after [1-9]\d+",
    "during teardown": f"DELETE configmaps {OWNER.format(trial=1)}",
}
"""What the controller is held at: its request is on its way, and not carried out."""
TEARDOWN = HELD["during teardown"]


@pytest.fixture
def study(tmp_path: Path, kubeconfig: Path, namespace: str, node: FakeNodes) -> KilledStudy:
    return written(tmp_path, kubeconfig, namespace, f"sqlite:///{tmp_path}/h.db")


@pytest.fixture
def shared(tmp_path: Path, kubeconfig: Path, namespace: str, node: FakeNodes, postgres_url: str) -> KilledStudy:
    return written(tmp_path, kubeconfig, namespace, postgres_url)


@contextlib.contextmanager
def standing_at(
    pattern: str, study: KilledStudy, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[psutil.Popen, Gate]]:
    """The study's process as it waits at the gate, which opens at the end at the latest."""
    gate = Gate(pattern)
    monkeypatch.setattr(fake_node, "Server", gated_servers(gate))
    with webhook(plane, study.namespace, gate), study.begun() as process:
        await_true(
            f"it stands at {pattern}",
            lambda: gate.arrived.is_set() or process.poll() is not None,
            log=study.folder / "first.log",
        )
        assert process.poll() is None, study.said()
        yield process, gate


def kill(process: psutil.Popen) -> None:
    process.kill()
    assert process.wait() == -signal.SIGKILL


def ends_right(study: KilledStudy, plane: ControlPlane, kept: tuple) -> None:
    """From what was `kept`: the same command finds the answer, and there are the trials of a study never killed."""
    study.resumed()
    trials = study.trials()
    assert [(one.number, one.purpose.kind) for one in trials] == [(0, "search"), (1, "confirmation")]
    assert all(isinstance(one.outcome, Measured) for one in trials)
    assert trials[: len(kept)] == kept
    assert nothing_left(study, plane)
    assert cleaned(study) == []


def cleaned(study: KilledStudy) -> list[str]:
    """What `servetune clean` removes, by its lines."""
    access = ClusterAccess(kubeconfig=study.kubeconfig)
    return list(clean_cluster(Place(runner="kubernetes", namespace=study.namespace, access=access), dry_run=False))


def nothing_left(study: KilledStudy, plane: ControlPlane) -> bool:
    return not occupied(plane.admin, study.namespace) and not leases(plane, study.namespace)


@pytest.mark.parametrize("point", HELD)
def test_killed(point: str, study: KilledStudy, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch):
    with standing_at(HELD[point], study, plane, monkeypatch) as (process, _gate):
        kill(process)
        kept = study.trials()
    # All but the first two points are in the second trial.
    assert len(kept) == (0 if point in {"before the lease", "after the lease"} else 1)
    ends_right(study, plane, kept)


Blocked = Callable[[KilledStudy], AbstractContextManager[Callable[[], bool]]]


@contextlib.contextmanager
def unreadable(study: KilledStudy) -> Iterator[Callable[[], bool]]:
    """Nobody gets at the file."""
    with contextlib.closing(sqlite3.connect(study.folder / "h.db", isolation_level=None)) as database:
        database.execute("begin exclusive")
        yield lambda: True


@contextlib.contextmanager
def uncommittable(study: KilledStudy) -> Iterator[Callable[[], bool]]:
    """A reader that does not end: the writer has written its journal, and waits to commit."""
    journal = study.folder / "h.db-journal"
    with contextlib.closing(sqlite3.connect(study.folder / "h.db", isolation_level=None)) as database:
        database.execute("begin")
        database.execute("select count(*) from trials").fetchall()
        yield lambda: journal.exists() and journal.stat().st_size > 0


@pytest.mark.parametrize(
    "blocked",
    [
        pytest.param(unreadable, id="after teardown before append"),
        pytest.param(uncommittable, id="during append"),
    ],
)
def test_killed_at_its_storage(
    blocked: Blocked, study: KilledStudy, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
):
    with standing_at(TEARDOWN, study, plane, monkeypatch) as (process, gate):
        kept = study.trials()
        with blocked(study) as writing:
            gate.open()
            await_true("the trial is gone", lambda: not occupied(plane.admin, study.namespace))
            await_true("it appends", writing)
            kill(process)
    assert study.trials() == kept
    ends_right(study, plane, kept)


@pytest.mark.parametrize("point", ["during load"])
def test_killed_with_its_history_in_postgresql(
    point: str, shared: KilledStudy, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
):
    with standing_at(HELD[point], shared, plane, monkeypatch) as (process, _gate):
        kill(process)
        kept = shared.trials()
    assert len(kept) == 1
    ends_right(shared, plane, kept)


def test_killed_in_the_middle_of_a_transaction_of_postgresql(
    shared: KilledStudy, plane: ControlPlane, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
):
    database = shared.storage.rpartition("/")[2]
    waiting = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    engine = sqlalchemy.create_engine(shared.storage.replace("postgresql://", "postgresql+psycopg://"))
    with standing_at(TEARDOWN, shared, plane, monkeypatch) as (process, gate):
        kept = shared.trials()
        with engine.begin() as connection:
            # The trial's row is written, and what it holds waits for us.
            connection.execute(sqlalchemy.text("lock table trial_user_attributes in share mode"))
            gate.open()
            await_true("it appends", lambda: bool(postgres.rows(waiting, database)))
            kill(process)
    engine.dispose()
    assert shared.trials() == kept
    ends_right(shared, plane, kept)


def test_a_restart_of_postgresql_in_the_middle_of_a_trial_costs_nothing(
    shared: KilledStudy, plane: ControlPlane, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
):
    """It crashes while the load runs, and comes back when the trial has been torn down and waits to be written."""
    with standing_at(HELD["during load"], shared, plane, monkeypatch) as (process, gate):
        postgres.stop(signal.SIGQUIT)
        gate.open()
        await_true("it waits for its storage", lambda: "does not answer; asking again" in shared.said())
        assert not occupied(plane.admin, shared.namespace)
        postgres.start()
        assert process.wait(timeout=240) == 0, shared.said()
    assert [(one.number, one.purpose.kind) for one in shared.trials()] == [(0, "search"), (1, "confirmation")]
    assert nothing_left(shared, plane)
    assert postgres.password not in shared.said()


def test_a_second_controller_of_the_same_study_is_refused_whatever_its_storage(
    study: KilledStudy, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """The first is in a proof of minutes, renews its lease, and leaves nothing when it is told to end."""
    long = written(tmp_path, study.kubeconfig, study.namespace, study.storage, proof_s=900.0)
    long = replace(long, lease="30s")
    with standing_at(HELD["during load"], long, plane, monkeypatch) as (process, gate):
        gate.open()
        argv = [f"sqlite:///{tmp_path}/other.db" if word == long.storage else word for word in long.argv[3:]]
        code, said = servetune(*argv)
        (lease,) = leases(plane, long.namespace)
        assert code == 2
        assert f"{lease['spec']['holderIdentity']}, since {lease['spec']['acquireTime']}" in said
        assert cleaned(long) == []
        process.terminate()
        assert process.wait(timeout=240) == 128 + signal.SIGTERM, long.said()
    assert nothing_left(long, plane)


def test_clean_alone_removes_all_that_a_killed_controller_left(
    study: KilledStudy, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
):
    where = cluster_options(study.kubeconfig, study.namespace)
    with standing_at(HELD["during load"], study, plane, monkeypatch) as (process, _gate):
        kill(process)

    def listed() -> bool:
        said = servetune("clean", *where, "--dry-run")[1]
        return "would remove trial 1 attempt 1 of study killed" in said and "would remove lease of study killed" in said

    await_true("its lease is over", listed)
    assert occupied(plane.admin, study.namespace)
    code, said = servetune("clean", *where)
    assert (code, said.count("removed ")) == (0, 2), said
    assert nothing_left(study, plane)
