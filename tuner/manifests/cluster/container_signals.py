"""What the state of one container means before the server was ever ready."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tuner.manifests.cluster.states import Expectation, Infeasible, StudyError, Transient
from tuner.manifests.plain import PlainObject, number_at, object_at, objects_at, text_at

BUILD = "build-engine"
_NEVER_PULLED = ("InvalidImageName", "ErrImageNeverPull")
_PULL = ("ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable")
_BAD_COMMAND = ("RunContainerError", "StartError", "ContainerCannotRun")
_NO_SUCH_IMAGE = re.compile(
    r"\b(401|403|404)\b|not found|manifest unknown|unauthorized|denied|no basic auth|does not exist", re.IGNORECASE
)
_GPU_MEMORY = re.compile(
    r"CUDA(?: error:?)? out of memory|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation|CUBLAS_STATUS_ALLOC_FAILED"
    r"|failed to allocate (?:CUDA|GPU|device) memory|Failed to allocate memory for requested buffer"
    r"|OutOfMemory \(no further information\)",
    re.IGNORECASE,
)
_SIGNALS = {134: "SIGABRT", 139: "SIGSEGV"}
_KILLED = (137, 143)
_LOG_LINES = 20

Verdict = Infeasible | Transient | StudyError


def gpu_out_of_memory(log: str) -> bool:
    """Whether a server says that the GPU's memory did not suffice: Kubernetes does not know."""
    return _GPU_MEMORY.search(log) is not None


def container_verdicts(pod: PlainObject, expectation: Expectation) -> Iterator[Verdict]:
    """Everything final that the containers of a pod say."""
    for status in objects_at(pod, "status", "initContainerStatuses"):
        verdict = _waiting(status) or _init_ended(status)
        if verdict:
            yield verdict
    for status in objects_at(pod, "status", "containerStatuses"):
        serves = not expectation.container or text_at(status, "name") == expectation.container
        verdict = _waiting(status) or (_ended(status, expectation) if serves else None)
        if verdict:
            yield verdict


def pull_trouble(pod: PlainObject) -> str:
    """What keeps an image from coming for now; empty: nothing."""
    for status in _statuses(pod):
        if text_at(status, "state", "waiting", "reason") in _PULL:
            return text_at(status, "state", "waiting", "message") or text_at(status, "state", "waiting", "reason")
    return ""


def _statuses(pod: PlainObject) -> tuple[PlainObject, ...]:
    return objects_at(pod, "status", "initContainerStatuses") + objects_at(pod, "status", "containerStatuses")


def _waiting(status: PlainObject) -> StudyError | None:
    reason = text_at(status, "state", "waiting", "reason")
    message = text_at(status, "state", "waiting", "message")
    if reason in _NEVER_PULLED or (reason in _PULL and _NO_SUCH_IMAGE.search(message)):
        return StudyError("image", message or reason)
    if reason == "CreateContainerConfigError":
        return StudyError("missing_reference", message or reason)
    return StudyError("bad_command", message or reason) if reason in _BAD_COMMAND else None


def _termination(status: PlainObject) -> PlainObject:
    """The latest end of the container; empty where it never ended."""
    return object_at(status, "state", "terminated") or object_at(status, "lastState", "terminated")


def _init_ended(status: PlainObject) -> Verdict | None:
    ended = _termination(status)
    if not ended or number_at(ended, "exitCode") == 0:
        return None
    name = text_at(status, "name")
    message = f"the init container {name} ended with exit code {number_at(ended, 'exitCode')}"
    if text_at(ended, "reason") in _BAD_COMMAND:
        return StudyError("bad_command", text_at(ended, "message") or message)
    if text_at(ended, "reason") == "OOMKilled":
        return Infeasible("out_of_memory", message)
    return Infeasible("engine_build", message) if name == BUILD else Transient("prepare", message)


def _ended(status: PlainObject, expectation: Expectation) -> Verdict | None:
    """A server that ended before it was ready has failed, whatever it does when it is started once more."""
    ended = _termination(status)
    if not ended:
        return None
    reason, code = text_at(ended, "reason"), number_at(ended, "exitCode")
    if reason == "OOMKilled":
        return Infeasible("out_of_memory", "the kernel killed the server for its memory limit")
    if reason in _BAD_COMMAND:
        return StudyError("bad_command", text_at(ended, "message") or f"exit code {code}")
    if gpu_out_of_memory(expectation.log_tail):
        return Infeasible("gpu_out_of_memory", last_lines(expectation.log_tail))
    said = "\n".join(part for part in (f"exit code {code}", last_lines(expectation.log_tail)) if part)
    if code in _SIGNALS and expectation.attempt == 1:
        return Transient("crash", f"{_SIGNALS[code]}: {said}")
    if code in _KILLED:
        return Infeasible("never_ready", f"killed before it was ready, as by a failed startup probe: {said}")
    return Infeasible("crash", said)


def last_lines(log: str) -> str:
    """As much of a log as a person reads."""
    return "\n".join(log.strip().splitlines()[-_LOG_LINES:])
