"""A controller to be killed: deploys, says so on stdout, and waits for the end.

`python -m tests.integration.abandon_a_server REGISTRY`
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from tests.local_triton import local_runner
from tuner.domain.space import Configuration
from tuner.interruption import orderly_stop

if __name__ == "__main__":
    servable = Configuration.of({"cpu_cores": 0.5, "memory_gib": 1, "max_batch_size": 4})
    with orderly_stop(), local_runner(Path(sys.argv[1])).deploy(servable, deployment_id="left-0-0") as deployment:
        print(deployment.endpoint, flush=True)
        signal.pause()
