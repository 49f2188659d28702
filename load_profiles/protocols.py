"""Which requests a plan sends and which answers count, by protocol. Only the child imports this."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import assert_never
from urllib.parse import urlsplit

from load_profiles import kserve_http, plain_http, tensorflow_rest
from load_profiles.conversation import Conversation
from load_profiles.http_answer import Answer
from load_profiles.payload_files import file_bodies
from load_profiles.payload_shapes import sent_tensors
from load_profiles.payloads import file_tensors, tensors
from load_profiles.plan import LoadPlan


def messages(plan: LoadPlan) -> list[bytes]:
    """The different requests, serialised. Raises UsageError."""
    address = urlsplit(plan.endpoint)
    host, path, payload = plan.host or address.netloc.rpartition("@")[2], address.path, plan.profile.payload
    if address.query:
        path = f"{path}?{address.query}"
    match plan.protocol:
        case "kserve_http":
            return _kserve(plan, host=host, path=path)
        case "tensorflow_rest":
            return tensorflow_rest.messages(payload, model_name=plan.model_name, host=host, path=path)
        case "http":
            return plain_http.messages(payload, host=host, path=path)
        case _ as unreachable:
            assert_never(unreachable)


def _kserve(plan: LoadPlan, *, host: str, path: str) -> list[bytes]:
    name, payload = plan.model_name, plan.profile.payload
    if payload.kind != "files":
        specs = sent_tensors(plan.inputs, payload, batched=plan.batched)
        made = tensors(plan.inputs, payload, batched=plan.batched, seed=plan.profile.seed)
        return [kserve_http.serialise(model_name=name, host=host, path=path, specs=specs, tensors=t) for t in made]
    whole: list[bytes] = []
    for body in file_bodies(payload):
        if body.is_json:
            whole.append(kserve_http.as_json(model_name=name, host=host, path=path, body=body.content))
        else:
            specs, content = file_tensors(plan.inputs, body.content, batched=plan.batched)
            whole.append(kserve_http.serialise(model_name=name, host=host, path=path, specs=specs, tensors=content))
    return whole


def conversations(plan: LoadPlan) -> Callable[[], Conversation]:
    """What begins the conversation of a new connection; all of a run share what they learn about answers."""
    return partial(Answer, _refusal(plan))


def _refusal(plan: LoadPlan) -> Callable[[Answer], str]:
    match plan.protocol:
        case "kserve_http":
            return kserve_http.AnswerCheck()
        case "tensorflow_rest":
            return tensorflow_rest.refusal
        case "http":
            return plain_http.refusal
        case _ as unreachable:
            assert_never(unreachable)
