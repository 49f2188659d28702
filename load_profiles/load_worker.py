"""A load worker of a master on another machine: it carries out its part of the master's plan, and hands it over whole.

`python -m load_profiles.load_worker --master HOST:PORT`. The load itself runs in the same child process as that of a
local run, so that talking to the master never delays a request. Ends with 0 after one run, 2 if the master refuses
it, 7 if there is no master, or no longer, 9 if it may not put load on the target, 143 when terminated.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from time import monotonic, sleep

from load_profiles.addresses import host_port, is_loopback
from load_profiles.locust_run import Inbox
from load_profiles.parent_death import end_orderly_when_told
from load_profiles.sealed_messages import shared_secret
from load_profiles.worker_conversation import MasterLeft, Terms, one_run
from tuner.domain.errors import InfrastructureError, TransientFailure, TunerError

INTERRUPTED = 130
PAUSE_S = 1.0

logger = logging.getLogger(__name__)


def main() -> None:
    """One run, or with `--stay` one after the other until no master comes in time."""
    options = _options()
    end_orderly_when_told()
    try:
        terms = _terms(options)
        while True:
            _run_before(monotonic() + options.max_wait_s, terms, patient=options.stay)
            if not options.stay:
                return
    except TunerError as error:
        sys.stderr.write(f"load worker: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _run_before(until_s: float, terms: Terms, *, patient: bool) -> None:
    """A patient worker outlives the failure of a run, and of its master; not a refusal."""
    try:
        one_run(Inbox(), terms, until_s=until_s)
    except MasterLeft as failure:
        if monotonic() >= until_s:
            raise InfrastructureError(failure.message) from failure
        _run_before(until_s, terms, patient=patient)
    except TransientFailure as failure:
        if not patient:
            raise InfrastructureError(failure.message) from failure
        logger.warning("load worker: %s", failure.message)
        sleep(PAUSE_S)


def _terms(options: argparse.Namespace) -> Terms:
    master = host_port(options.master)
    secret = shared_secret(os.environ, needed=not is_loopback(master.host))
    return Terms(master=master, secret=secret, allowed=tuple(options.allow_target))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="load_profiles.load_worker", description=__doc__, allow_abbrev=False)
    parser.add_argument("--master", required=True, help="HOST:PORT where the master awaits its workers")
    parser.add_argument("--allow-target", action="append", default=[], help="HOST:PORT it may put load on")
    parser.add_argument("--max-wait-s", default=60.0, type=float, help="how long to try to reach the master")
    parser.add_argument("--stay", action="store_true", help="after a run wait for the next")
    return parser.parse_args()


if __name__ == "__main__":
    main()
