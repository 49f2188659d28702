"""A PostgreSQL server of the tests' own, on 127.0.0.1, with a password: of Debian's package `postgresql`."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy

ACCOUNTS = ("postgres", "nobody")
START_S = 60.0


def programs() -> Path | None:
    """The folder with initdb and postgres; None where there is none."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((one for one in folders if os.access(one / "postgres", os.X_OK)), None)


def missing_postgres() -> str:
    """Why no server can be started here; empty: it can."""
    if programs() is None:
        return "no initdb and postgres: install Debian's package postgresql"
    return "" if shutil.which("setpriv") else "no setpriv"


class PostgresServer:
    """One cluster of databases. As root it runs under another account, for it refuses root."""

    def __init__(self, folder: Path) -> None:
        found = programs()
        assert found is not None, missing_postgres()
        self._programs, self._folder = found, folder
        self.password = f"pw-{secrets.token_hex(8)}"
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port: int = one.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        # It dies with the thread that started it, and may be started from threads that end.
        self._starter = ThreadPoolExecutor(max_workers=1)
        self._make()

    def start(self) -> None:
        """It answers on return."""
        argv: list[str | Path] = [
            "-D",
            self._data,
            "-k",
            self._folder,
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-c",
            "fsync=off",
        ]
        self._process = self._starter.submit(self._begun, argv).result()
        until_s = time.monotonic() + START_S
        while True:
            try:
                return self.execute("select 1")
            except sqlalchemy.exc.OperationalError:
                assert time.monotonic() < until_s, (self._folder / "log").read_text()
                assert self._process.poll() is None, (self._folder / "log").read_text()
                time.sleep(0.05)

    def _begun(self, argv: list[str | Path]) -> subprocess.Popen[bytes]:
        command = [*self._as_account(), self._programs / "postgres", *argv]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """SIGQUIT is its crash: no transaction is waited for, and it recovers at the next start."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(timeout=30)
        self._process = None

    @property
    def running(self) -> bool:
        return self._process is not None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://tests:{self.password}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The URL of an empty one."""
        name = f"t_{secrets.token_hex(6)}"
        self.execute(f"create database {name}")
        return self.url(name)

    def execute(self, statement: str, database: str = "postgres") -> None:
        with self._connected(database) as connection:
            connection.execute(sqlalchemy.text(statement))

    def rows(self, query: str, database: str) -> list[tuple[object, ...]]:
        with self._connected(database) as connection:
            return [tuple(row) for row in connection.execute(sqlalchemy.text(query))]

    @contextmanager
    def _connected(self, database: str) -> Iterator[sqlalchemy.Connection]:
        url = self.url(database).replace("postgresql://", "postgresql+psycopg://")
        engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.pool.NullPool)
        with engine.connect() as connection:
            yield connection

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _make(self) -> None:
        word = self._folder / "password"
        word.write_text(self.password)
        if os.geteuid() == 0:
            for one in (self._folder, word):
                os.chown(one, self._account().pw_uid, self._account().pw_gid)
        options = ["--username=tests", f"--pwfile={word}", "--auth=scram-sha-256", "--no-sync", "--locale=C"]
        argv = [*self._as_account(), self._programs / "initdb", "-D", self._data, "--encoding=UTF8", *options]
        subprocess.run(argv, check=True, capture_output=True, cwd=self._folder)

    def _as_account(self) -> list[str]:
        """It dies with us, however we end."""
        if os.geteuid() != 0:
            return ["setpriv", "--pdeathsig", "KILL"]
        account = self._account()
        ids = ["--reuid", str(account.pw_uid), "--regid", str(account.pw_gid), "--clear-groups"]
        return ["setpriv", *ids, "--pdeathsig", "KILL"]

    @staticmethod
    def _account() -> pwd.struct_passwd:
        known = {one.pw_name: one for one in pwd.getpwall()}
        return next(known[name] for name in ACCOUNTS if name in known)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Running on entry, gone on exit."""
    # Not below pytest's own folder, which only its owner may enter.
    with tempfile.TemporaryDirectory(prefix="servetune-pg-") as folder:
        server = PostgresServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            if server.running:
                server.stop()
