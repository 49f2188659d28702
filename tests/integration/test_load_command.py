"""`servetune load` as users meet it, against servers with a known behaviour. Limits are wide: machines are noisy."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.behaviour import GRPC_SERVER, Behaviour, serving
from tuner import cli

PATIENT = ("--timeout", "60s")
"""However busy the machine is, no answer of a healthy server is later than that."""
EASY = ("--rate", "300", "--duration", "2s", "--warmup", "0.2s", *PATIENT)
WIDE = ("--slo", "latency_p99_ms<=5000")
BRIEF = ("--model", "identity", "--duration", "0.5s", "--warmup", "0s")


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["servetune", "load", *arguments])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        caught = capsys.readouterr()
        return int(exited.value.code or 0), caught.out, caught.err

    return run


@pytest.fixture(scope="module")
def healthy():
    with serving(Behaviour(delay_s=0.002)) as port:
        yield f"http://127.0.0.1:{port}"


def test_a_server_that_keeps_its_objective_passes_with_one_document(load, healthy: str):
    code, out, _ = load(
        "--target", healthy, "--model", "identity", "--rate", "400", "--duration", "6s", *WIDE, "--seed", "1", "--json"
    )
    document = json.loads(out)
    assert (code, document["verdict"]) == (0, "PASS"), document
    assert document["errors"] == 0
    assert 2200 < document["sent"] < 2600
    assert document["offered_rps"] == document["achieved_rps"] == pytest.approx(document["sent"] / 6.0)
    assert document["latency_ms"].keys() == {"p50", "p90", "p95", "p99", "p99_9", "max", "mean"}
    assert 2.0 <= document["latency_ms"]["p50"] <= document["latency_ms"]["max"]
    assert document["slos"][0]["bad"] == 0


def test_a_certain_failure_ends_the_test_early(load):
    with serving(Behaviour(error_every=2)) as port:
        options = ("--rate", "300", "--duration", "60s", "--warmup", "0.2s", *WIDE, "--json")
        code, out, _ = load("--target", f"http://127.0.0.1:{port}", "--model", "identity", *options)
    document = json.loads(out)
    assert code == 3
    assert document["window_s"] < 30.0
    assert document["sent"] == pytest.approx(300 * document["window_s"], rel=0.3)


def test_too_few_requests_leave_it_undecided(load, healthy: str):
    code, out, _ = load(
        "--target",
        healthy,
        "--model",
        "identity",
        "--rate",
        "100",
        "--duration",
        "1s",
        "--warmup",
        "0s",
        *WIDE,
        "--json",
    )
    document = json.loads(out)
    assert (code, document["verdict"]) == (4, "UNDECIDED")
    assert "few_requests" in document["doubts"]


def test_a_failing_server_fails_and_the_reason_is_told(load):
    with serving(Behaviour(error_every=2)) as port:
        target = f"http://127.0.0.1:{port}"
        code, out, _ = load("--target", target, "--model", "identity", *EASY, *WIDE, "--json")
    document = json.loads(out)
    assert (code, document["verdict"]) == (3, "FAIL"), document
    assert document["errors"] == pytest.approx(document["sent"] / 2, abs=2)
    assert document["latency_ms"]["p99"] is None
    assert "failed as planned" in document["first_error"]


def test_without_objectives_there_is_no_verdict(load, healthy: str):
    code, out, _ = load("--target", healthy, "--model", "identity", "--rate", "50", "--duration", "0.5s", "--json")
    assert json.loads(out)["verdict"] in (None, "INVALID")
    assert code == (0 if json.loads(out)["verdict"] is None else 7)


def test_another_host_is_refused_with_exit_9(load):
    code, out, err = load("--target", "http://192.0.2.1:8000", "--model", "m", "--rate", "1")
    assert (code, out) == (9, "")
    assert "nothing was sent" in err


def test_a_redirect_is_not_followed(load):
    with serving(Behaviour(answer="redirect")) as port:
        code, _, err = load("--target", f"http://127.0.0.1:{port}", "--model", "identity", "--rate", "10")
    assert code == 9
    assert "redirects" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--model", "identity"),
        ("--rate", "10"),
        ("--model", "identity", "--rate", "0"),
        ("--model", "identity", "--rate", "10", "--find-capacity"),
        ("--model", "identity", "--rate", "10", "--payload", "/no/such/file"),
        ("--model", "identity", "--rate", "10", "--slo", "p99<50"),
        (*BRIEF, "--rate", "100", "--arrivals", "low_average", "--slo", "goodput_rps>=90"),
        (*BRIEF, "--rate", "100", "--find-capacity", *WIDE, "--slo", "goodput_rps>=90"),
        ("--model", "unknown", "--rate", "10"),
        ("--rate", "10", "--protocol", "http"),
        ("--rate", "10", "--protocol", "http", "--payload", "random"),
        ("--model", "identity", "--rate", "10", "--payload", f"{__file__}*0"),
        ("--model", "identity", "--rate", "10", "--payload", __file__),
        ("--model", "identity", "--rate", "10", "--payload", __file__, "--payload", "random"),
        ("--model", "identity", "--rate", "nan"),
        ("--model", "identity", "--rate", "1e9"),
        ("--model", "identity", "--rate", "10", "--duration", "0s"),
        ("--model", "identity", "--rate", "10", "--timeout", "100h"),
        ("--model", "identity", "--rate", "10", "--arrivals", "gamma:1000000000"),
        ("--model", "identity", "--rate", "10", "--arrivals", "constant", "--trace", __file__),
        ("--model", "identity", "--rate", "10", "--slo", "goodput_rps>=9", "--find-capacity"),
        ("--model", "identity", "--rate", "10", "--metrics-url", "grpc://127.0.0.1:1"),
        ("--model", "identity", "--rate", "0.001", "--duration", "0.1s", "--warmup", "0s"),
    ],
)
def test_what_cannot_be_meant_is_exit_2(load, healthy: str, arguments: tuple[str, ...]):
    code, out, err = load("--target", healthy, *arguments)
    assert (code, out) == (2, ""), err
    assert err


def test_nobody_there_is_exit_7(load):
    with serving(Behaviour()) as port:
        pass
    code, _, err = load("--target", f"http://127.0.0.1:{port}", "--model", "identity", "--rate", "10")
    assert code == 7
    assert "refused" in err


def test_bodies_come_from_files_and_a_recording_is_replayed(load, healthy: str, tmp_path: Path):
    (tmp_path / "a.bin").write_bytes(bytes(64))
    (tmp_path / "b.json").write_text('{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [0]}]}')
    (tmp_path / "trace.csv").write_text("\n".join(str(k / 100) for k in range(100)))
    files = ("--payload", str(tmp_path / "a.bin"), "--payload", f"{tmp_path / 'b.json'}*3")
    trace = ("--trace", str(tmp_path / "trace.csv"), "--duration", "1s", "--warmup", "0s", *PATIENT)
    _, out, err = load("--target", healthy, "--model", "identity", *files, *trace, "--json")
    document = json.loads(out)
    assert document["errors"] == 0, (document, err)
    assert document["sent"] == 100


@pytest.mark.parametrize(
    ("protocol", "answer", "good"),
    [
        ("http", "binary", True),
        ("tensorflow_rest", "json", True),
        ("tensorflow_rest", "error_body", False),
        ("http", "redirect", False),
    ],
)
def test_other_protocols(load, tmp_path: Path, protocol: str, answer: str, good: bool):
    """The test server's JSON answer has outputs, as TensorFlow Serving's column format has."""
    body = tmp_path / "body.json"
    body.write_text('{"instances": [[1.0]]}')
    options = ("--protocol", protocol, "--payload", str(body), "--rate", "50", "--duration", "1s", "--json", *PATIENT)
    with serving(Behaviour(answer=answer)) as port:
        _, out, _ = load("--target", f"http://127.0.0.1:{port}/predict", "--model", "identity", *options)
    document = json.loads(out)
    assert document["errors"] == (0 if good else document["sent"])


def test_a_grpc_server_is_asked_and_loaded_over_grpc(load):
    with serving(Behaviour(), GRPC_SERVER) as port:
        target = ("--target", f"grpc://127.0.0.1:{port}", "--model", "identity", *EASY)
        code, out, _ = load(*target, "--protocol", "kserve_grpc", "--json")
        refused, _, err = load(*target)
    document = json.loads(out)
    assert code == (7 if document["verdict"] == "INVALID" else 0), document  # a busy machine may spoil it
    assert document["errors"] == 0
    assert refused == 2
    assert "--protocol kserve_grpc" in err


def test_no_grpc_server_there_is_exit_7_and_another_host_exit_9(load):
    with serving(Behaviour()) as port:
        pass
    options = ("--model", "identity", "--rate", "10", "--protocol", "kserve_grpc")
    assert load("--target", f"grpc://127.0.0.1:{port}", *options)[0] == 7
    assert load("--target", "grpc://192.0.2.1:8001", *options)[0] == 9


def test_a_server_that_never_passes_has_no_capacity(load):
    """Every third request fails: certain at 400 requests per second, too few to tell at a handful."""
    with serving(Behaviour(error_every=3)) as port:
        options = ("--rate", "400", "--duration", "0.5s", "--warmup", "0s", *WIDE, "--find-capacity", "--json")
        code, out, _ = load("--target", f"http://127.0.0.1:{port}", "--model", "identity", *options)
    document = json.loads(out)
    assert code in {3, 4}
    assert document["capacity_rps"] == 0.0
    assert document["capacity_interval_rps"][1] <= 400.0
    assert {probe["verdict"] for probe in document["probes"]} <= {"FAIL", "UNDECIDED"}


def a_free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_the_load_of_a_worker_that_came_by_itself_is_judged_like_any_other(load, healthy: str):
    address = a_free_address()
    worker = [sys.executable, "-m", "tuner", "load-worker", "--master", address, "--max-wait", "2m"]
    with subprocess.Popen(worker, stderr=subprocess.PIPE, text=True) as one:
        options = ("--expect-workers", "1", "--bind", address, "--max-wait", "2m", *EASY, *WIDE, "--json")
        code, out, err = load("--target", healthy, "--model", "identity", *options)
        assert (one.wait(180), one.stderr.read()) == (0, "")
    document = json.loads(out)
    assert code in (0, 4, 7), err
    assert document["errors"] == 0
    assert document["sent"] == pytest.approx(600, rel=0.2)
    assert "worker_lost" not in document["doubts"]


def test_workers_that_do_not_come_are_a_failure_of_the_machine(load, healthy: str):
    address = a_free_address()
    options = ("--expect-workers", "2", "--bind", address, "--max-wait", "100ms", "--rate", "10")
    code, out, err = load("--target", healthy, "--model", "identity", *options)
    assert (code, out) == (7, "")
    assert f"0 of 2 load workers came to {address} within 0.1 s" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--expect-workers", "2", "--workers", "2"), "drop --workers"),
        (("--bind", "127.0.0.1:0"), "add --expect-workers"),
        (("--expect-workers", "2", "--bind", "nowhere"), "is no address"),
        (("--expect-workers", "2", "--bind", "0.0.0.0:5557"), "SERVETUNE_LOAD_SECRET is not set"),
    ],
)
def test_workers_that_cannot_be_awaited_are_refused(load, healthy: str, options: tuple[str, ...], message: str):
    code, out, err = load("--target", healthy, "--model", "identity", "--rate", "10", *options)
    assert (code, out) == (2, "")
    assert message in err


def test_a_server_that_tells_nothing_of_itself_has_no_telemetry_and_an_unknown_bottleneck(load, healthy: str):
    _, out, _ = load("--target", healthy, "--model", "identity", "--rate", "50", "--duration", "0.5s", "--json")
    document = json.loads(out)
    assert document["telemetry"] is None
    if document["verdict"] != "INVALID":
        assert document["bottleneck"]["name"] == "unknown"
        assert "not to be had" in document["bottleneck"]["evidence"]


@pytest.mark.parametrize(
    ("metrics_url", "exit_code", "words"),
    [
        ("http://192.0.2.1:8002/metrics", 9, "nothing was sent"),
        ("ftp://127.0.0.1/metrics", 2, "no target"),
        ("{healthy}/metrics", 2, "answers no metrics"),
    ],
)
def test_metrics_obey_the_rules_of_targets_and_have_to_come(load, healthy: str, metrics_url, exit_code, words):
    url = metrics_url.format(healthy=healthy)
    code, out, err = load("--target", healthy, "--model", "identity", "--rate", "10", "--metrics-url", url)
    assert (code, out) == (exit_code, ""), err
    assert words in err
