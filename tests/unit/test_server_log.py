from __future__ import annotations

import pytest

from runners.server_log import StartFailure, diagnose, last_errors

REFUSED = """\
I1122 12:50:16.912788 11441 model_lifecycle.cc:472] "loading: cls:1"
E1122 12:50:16.909809 11441 server.cc:241] "CudaDriverHelper has not been initialized."
E1122 12:50:17.144804 11441 model_lifecycle.cc:642] "failed to load 'cls' version 1: Internal: No module\\n\\nAt:"
I1122 12:50:17.145958 11441 server.cc:345] "Timeout 1: Found 0 live models"
error: creating server: Internal - failed to load all models
"""


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (REFUSED, StartFailure.MODEL_REFUSED),
        ('E1122 1 2 http.cc:1] "failed to start HTTP service: Address already in use"', StartFailure.PORT_TAKEN),
        ("Failed to fork the stub process: Resource temporarily unavailable", StartFailure.OTHER),
        ("tritonserver: error while loading shared libraries: libcudart.so", StartFailure.OTHER),
        ("", StartFailure.OTHER),
    ],
)
def test_the_cause_of_a_failed_start_is_read_from_the_log(log: str, cause: StartFailure):
    assert diagnose(log) is cause


def test_last_errors_leave_out_what_is_harmless():
    assert last_errors(REFUSED).splitlines() == [
        "failed to load 'cls' version 1: Internal: No module  At:",
        "creating server: Internal - failed to load all models",
    ]


def test_last_errors_of_a_log_without_errors_are_its_last_lines():
    assert last_errors("one\n+-----+\ntwo\n") == "one\ntwo"
    assert last_errors("") == "(the log is empty)"
