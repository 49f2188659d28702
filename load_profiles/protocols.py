"""Which requests a plan sends and which answers count, by protocol. Only the child imports this."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import assert_never
from urllib.parse import urlsplit

from load_profiles import kserve_grpc, kserve_http, plain_http, tensorflow_rest
from load_profiles.conversation import Conversation
from load_profiles.grpc_call import GrpcCall, call_head
from load_profiles.http_answer import Answer
from load_profiles.payload_files import file_bodies
from load_profiles.payload_shapes import sent_tensors
from load_profiles.payloads import Tensor, file_tensors, tensors
from load_profiles.plan import LoadPlan
from tuner.domain.deployment import TensorSpec
from tuner.domain.errors import UsageError


def messages(plan: LoadPlan) -> list[bytes]:
    """The different requests, serialised. Raises UsageError."""
    host, payload = _host(plan), plan.profile.payload
    address = urlsplit(plan.endpoint)
    path = f"{address.path}?{address.query}" if address.query else address.path
    match plan.protocol:
        case "kserve_http":
            return _kserve_http(plan, host=host, path=path)
        case "kserve_grpc":
            return _kserve_grpc(plan)
        case "tensorflow_rest":
            return tensorflow_rest.messages(payload, model_name=plan.model_name, host=host, path=path)
        case "http":
            return plain_http.messages(payload, host=host, path=path)
        case _ as unreachable:
            assert_never(unreachable)


def _host(plan: LoadPlan) -> str:
    """What requests call the server."""
    return plan.host or urlsplit(plan.endpoint).netloc.rpartition("@")[2]


def _made(plan: LoadPlan) -> list[tuple[tuple[TensorSpec, ...], list[Tensor]]]:
    """The tensors of the different requests that are not files."""
    payload = plan.profile.payload
    specs = sent_tensors(plan.inputs, payload, batched=plan.batched)
    made = tensors(plan.inputs, payload, batched=plan.batched, seed=plan.profile.seed)
    return [(specs, one) for one in made]


def _kserve_grpc(plan: LoadPlan) -> list[bytes]:
    if plan.profile.payload.kind != "files":
        made = _made(plan)
    else:
        bodies = file_bodies(plan.profile.payload)
        if any(body.is_json for body in bodies):
            raise UsageError("a JSON body cannot be sent over gRPC", hint="write a file of raw numbers")
        made = [file_tensors(plan.inputs, plan.profile.payload, body.content, batched=plan.batched) for body in bodies]
    return [kserve_grpc.serialise(model_name=plan.model_name, specs=specs, tensors=one) for specs, one in made]


def _kserve_http(plan: LoadPlan, *, host: str, path: str) -> list[bytes]:
    name, payload = plan.model_name, plan.profile.payload
    if payload.kind != "files":
        return [
            kserve_http.serialise(model_name=name, host=host, path=path, specs=specs, tensors=one)
            for specs, one in _made(plan)
        ]
    whole: list[bytes] = []
    for body in file_bodies(payload):
        if body.is_json:
            whole.append(kserve_http.as_json(model_name=name, host=host, path=path, body=body.content))
        else:
            specs, content = file_tensors(plan.inputs, payload, body.content, batched=plan.batched)
            whole.append(kserve_http.serialise(model_name=name, host=host, path=path, specs=specs, tensors=content))
    return whole


def conversations(plan: LoadPlan) -> Callable[[], Conversation]:
    """What begins the conversation of a new connection; all of a run share what they learn about answers."""
    match plan.protocol:
        case "kserve_http":
            return partial(Answer, kserve_http.AnswerCheck())
        case "kserve_grpc":
            head = call_head(kserve_grpc.INFER_PATH, authority=_host(plan))
            return partial(GrpcCall, head, kserve_grpc.refusal, {})
        case "tensorflow_rest":
            return partial(Answer, tensorflow_rest.refusal)
        case "http":
            return partial(Answer, plain_http.refusal)
        case _ as unreachable:
            assert_never(unreachable)
