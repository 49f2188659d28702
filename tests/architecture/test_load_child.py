"""The load generator's two processes keep their libraries apart, and the hot path keeps the kernel's own sockets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHILD_ONLY = ("locust", "gevent", "tritonclient", "numpy", "httptools", "hdrh")


def printed_by(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_the_controller_loads_nothing_that_only_the_child_needs():
    code = (
        "import sys, load_profiles.locust_generator, load_profiles.distributed_generator\n"
        f"print([name for name in {CHILD_ONLY!r} if name in sys.modules])"
    )
    assert printed_by(code).strip() == "[]"


def test_the_engine_keeps_the_kernels_sockets_after_locust_has_patched_the_rest():
    code = (
        "import socket, select\n"
        "kernels_own = socket.socket, select.select, select.epoll\n"
        "from load_profiles import connections, locust_child, open_loop\n"
        "from load_profiles.locust_run import LocustRun\n"
        "LocustRun()\n"
        "print(socket.socket is kernels_own[0], hasattr(select, 'epoll'))\n"
        "print((connections.socket, open_loop.select, open_loop.epoll) == kernels_own)"
    )
    assert printed_by(code).split() == ["False", "False", "True"]
