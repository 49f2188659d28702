"""A small KServe v2 server for pods: `kserve_pod.py PORT [ADDRESS]`. Standard library only; it counts its answers.

The environment variable FAULT makes it misbehave: crash (ends with 3 before it listens), abort (signal 6), eat (memory
without end), never_ready, slow_start (2 s).
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = "stub"
TENSOR = {"name": "x", "datatype": "FP32", "shape": [-1, 4]}


class Server(ThreadingHTTPServer):
    """One model; `work_s` of computing for each request, in one thread after the other."""

    daemon_threads = True

    def __init__(self, port: int, *, address: str = "127.0.0.1", work_s: float = 0.0, ready: bool = True) -> None:
        super().__init__((address, port), Answers)
        self.work_s, self.ready, self.count, self.computing = work_s, ready, 0, threading.Lock()


class Answers(BaseHTTPRequestHandler):
    """One connection, kept alive."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        model = f"/v2/models/{MODEL}"
        answers = {
            "/v2": {"name": "stub", "version": "1"},
            model: {"name": MODEL, "inputs": [TENSOR], "outputs": [{**TENSOR, "name": "y"}]},
            f"{model}/config": {"name": MODEL, "max_batch_size": 8},
            f"{model}/stats": {"model_stats": [self.statistics()]},
        }
        if self.server.ready:
            answers |= {"/v2/health/ready": {}, "/v2/health/live": {}, f"{model}/ready": {}}
        self.answer(200 if self.path in answers else 404, answers.get(self.path, {"error": "no such path"}))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server.computing:
            until_s = time.thread_time() + self.server.work_s
            while time.thread_time() < until_s:
                pass
            self.server.count += 1
        output = {"name": "y", "datatype": "FP32", "shape": [1, 4], "data": [0.0, 1.0, 2.0, 3.0]}
        self.answer(200, {"model_name": MODEL, "model_version": "1", "outputs": [output]})

    def statistics(self) -> dict[str, object]:
        count, none = self.server.count, {"count": 0, "ns": 0}
        spent = dict.fromkeys(("queue", "compute_input", "compute_infer", "compute_output"), none)
        return {"name": MODEL, "inference_count": count, "execution_count": count, "inference_stats": spent}

    def answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        # In one write: header and body apart would wait for each other's acknowledgement.
        head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        self.wfile.write(head.encode() + content)

    def log_message(self, *_said: object) -> None:
        """Quiet."""


def main() -> None:
    fault = os.environ.get("FAULT", "")
    if fault == "crash":
        sys.exit("the model cannot be loaded")
    if fault == "abort":
        os.abort()
    if fault == "eat":
        hoard = [bytearray(b"x" * 10_000_000) for _ in range(200)]
        print(len(hoard))
    if fault == "slow_start":
        time.sleep(2)
    work_s = float(os.environ.get("WORK_MS", "0")) / 1000
    address = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
    Server(int(sys.argv[1]), address=address, work_s=work_s, ready=fault != "never_ready").serve_forever()


if __name__ == "__main__":
    main()
