"""The only importer of `kubernetes`: one cluster's API as plain data, under one pinned identity.

Requests that failed for a passing reason (429, 5xx, no answer or half of one, a conflict) are sent again, with growing
random pauses that are never shorter than the cluster wishes, until the caller's patience ends. All that is made has a
name, so that making it again is found out. The client's typed models are not used: they would refuse fields that a
newer API has.
"""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client
from kubernetes import config as untyped_config
from kubernetes import stream as untyped_stream
from kubernetes.client.exceptions import ApiException

from runners.kubernetes_paths import path_of
from runners.patience import Answer, patiently
from tuner.clock import SystemClock
from tuner.domain.errors import UsageError
from tuner.manifests.cluster.refusals import classify_refusal
from tuner.manifests.cluster.states import Again
from tuner.manifests.plain import Plain, PlainObject, object_at, objects_at, text_at
from tuner.ports import Clock

CONNECT_S = 5.0
ANSWER_S = 15.0
"""Between two parts of an answer; the whole of it may take MOST_ANSWER_S."""
MOST_ANSWER_S = 60.0
PATIENCE_S = 120.0
CONNECTIONS = 64
"""An API server that is replaced is away for a minute: that must not end a trial."""
MOST_LOG_BYTES = 16_000_000
Query = Mapping[str, str]
config: Any = untyped_config
stream: Any = untyped_stream


class ApiRefused(Exception):
    """An answer that is no success; `status` is None where none came. `body` is the API's Status object.

    `unanswered`: the request, or an earlier attempt at it, may have been carried out all the same.
    """

    def __init__(self, status: int | None, body: PlainObject, *, retry_after_s: float | None = None) -> None:
        super().__init__(text_at(body, "message") or f"status {status}")
        self.status, self.body, self.retry_after_s = status, body, retry_after_s
        self.unanswered = status is None or status >= 500


@dataclass(frozen=True, slots=True)
class Listed:
    """Objects, and the version of the cluster from which a watch goes on."""

    items: tuple[PlainObject, ...]
    version: str


class KubernetesApi:
    """One cluster, one identity, for as long as this lives: nothing that happens to the file changes where it writes.

    `patience_s` is for how long a request is repeated, where a call does not say otherwise (0: asked once); the last
    attempt may take MOST_ANSWER_S more. `answer_s` is how long silence is borne. Every method raises ApiRefused.
    """

    def __init__(
        self,
        configuration: Any,
        *,
        context: str,
        patience_s: float = PATIENCE_S,
        answer_s: float = ANSWER_S,
        clock: Clock | None = None,
    ) -> None:
        # Repeating is done here, where the cluster's own wish of when is heard.
        configuration.retries = False
        # Each trial that runs holds one for its watch.
        configuration.connection_pool_maxsize = CONNECTIONS
        self._client: Any = client.ApiClient(configuration=configuration)
        self._patience_s, self._answer_s = patience_s, answer_s
        self._clock = clock or SystemClock()
        self.context = context
        self.host = str(configuration.host)
        self.authority = _digest_of(configuration)

    @property
    def identity(self) -> str:
        """Which cluster this is: its address and authority. The context is a name that anyone may give."""
        return f"{self.host} {self.authority}".strip()

    def get(self, path: str) -> PlainObject:
        """One object."""
        return self._repeated(_object, "GET", path)

    def find(self, path: str) -> PlainObject | None:
        """One object; None where there is none."""
        try:
            return self.get(path)
        except ApiRefused as refused:
            if refused.status == 404:
                return None
            raise

    def list(self, path: str, *, selector: str = "", fields: str = "", patience_s: float | None = None) -> Listed:
        """All objects of a kind that match, as the cluster has them now."""
        query = _query(labelSelector=selector, fieldSelector=fields)
        answer = self._repeated(_object, "GET", path, query, patience_s=patience_s)
        kind = text_at(answer, "kind").removesuffix("List")
        api = text_at(answer, "apiVersion")
        items = tuple({"apiVersion": api, "kind": kind, **item} for item in objects_at(answer, "items"))
        return Listed(items=items, version=text_at(answer, "metadata", "resourceVersion"))

    def create(self, manifest: PlainObject, *, dry_run: bool = False) -> PlainObject:
        """The object as the cluster made it, or would make it.

        A lost answer may have made it: the repetition is then refused with 409 AlreadyExists, and who asked compares.
        """
        path = path_of(manifest, named=False)
        return self._repeated(_object, "POST", path, _query(dryRun="All" if dry_run else ""), body=manifest)

    def replace(self, manifest: PlainObject) -> PlainObject:
        """The object instead of the version that it names. Asked once: 409 says that another version is there."""
        return _object(_whole(self._once("PUT", path_of(manifest), {}, body=manifest)))

    def delete(self, path: str, *, uid: str = "", version: str = "", foreground: bool = False) -> None:
        """Let the cluster remove it, with what it owns; missing, or another of that name, is no error."""
        options: dict[str, Plain] = {"propagationPolicy": "Foreground" if foreground else "Background"}
        if uid or version:
            options["preconditions"] = _query(uid=uid, resourceVersion=version)
        try:
            self._repeated(_object, "DELETE", path, body=options)
        except ApiRefused as refused:
            if refused.status not in {404, 409}:
                raise

    def log(
        self,
        namespace: str,
        pod: str,
        *,
        container: str = "",
        lines: int = 0,
        previous: bool = False,
        patience_s: float = 0.0,
    ) -> str:
        """What a container has printed, whole or its last lines. Asked once by default: a lost node has no log."""
        query = _query(
            container=container, tailLines=str(lines or ""), previous="true" if previous else "", limitBytes=_LIMIT
        )
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        return self._repeated(_text, "GET", path, query, patience_s=patience_s)

    def watch(self, path: str, *, selector: str, version: str, for_s: int) -> Iterator[PlainObject]:
        """Events since a version, for so many whole seconds at most. 410 comes as ApiRefused, wherever it came from.

        A stream that breaks off just ends: who watches looks again.
        """
        query = _query(labelSelector=selector, resourceVersion=version, timeoutSeconds=str(for_s), watch="true")
        answer = self._once("GET", path, query, silence_s=for_s + min(CONNECT_S, self._answer_s))
        try:
            for line in _lines(answer):
                event = _object(line)
                if text_at(event, "type") == "ERROR":
                    status = object_at(event, "object")
                    code = status.get("code")
                    raise ApiRefused(code if isinstance(code, int) else 410, status)
                yield event
        except (urllib3.exceptions.HTTPError, OSError):
            return
        finally:
            answer.close()

    def connect(self, namespace: str, pod: str, port: int) -> socket.socket:
        """One connection to a pod's port, through the API server and the pod's node. Asked once."""
        # By a client of its own: while the library opens one, it bends the client's calls to websockets.
        core: Any = client.CoreV1Api(client.ApiClient(configuration=self._client.configuration))
        try:
            forwarded = stream.portforward(core.connect_get_namespaced_pod_portforward, pod, namespace, ports=str(port))
        except (ApiException, OSError) as error:
            raise ApiRefused(None, {"message": f"no way to port {port} of pod {pod}: {error}"}) from error
        opened: socket.socket = forwarded.socket(port)
        return opened

    def may(self, *, namespace: str, group: str, resource: str, verb: str) -> bool:
        """Whether this identity may do so, by SelfSubjectAccessReview."""
        name, _, part = resource.partition("/")
        attributes: PlainObject = {
            "namespace": namespace,
            "group": group,
            "resource": name,
            "subresource": part,
            "verb": verb,
        }
        review: PlainObject = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "metadata": {},
            "spec": {"resourceAttributes": attributes},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return object_at(self._repeated(_object, "POST", path, body=review), "status").get("allowed") is True

    def _repeated(
        self,
        read: Callable[[bytes], Answer],
        method: str,
        path: str,
        query: Query | None = None,
        *,
        body: PlainObject | None = None,
        content: str = "application/json",
        patience_s: float | None = None,
    ) -> Answer:
        """The answer as `read` understands it: one that cannot be read is none. Raises ApiRefused."""
        unanswered = False

        def attempt() -> Answer:
            nonlocal unanswered
            try:
                return read(_whole(self._once(method, path, query or {}, body=body, content=content)))
            except ApiRefused as refused:
                unanswered = refused.unanswered = unanswered or refused.unanswered
                raise

        return patiently(
            attempt,
            passes=lambda error: _passes(error, method),
            wished_s=_wished_s,
            patience_s=self._patience_s if patience_s is None else patience_s,
            clock=self._clock,
        )

    def _once(
        self,
        method: str,
        path: str,
        query: Query,
        *,
        body: PlainObject | None = None,
        content: str = "application/json",
        silence_s: float | None = None,
    ) -> urllib3.HTTPResponse:
        headers = {"Accept": "application/json", "Content-Type": content}
        request = self._client.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        patient_s = (min(CONNECT_S, self._answer_s), self._answer_s if silence_s is None else silence_s)
        try:
            response: urllib3.HTTPResponse = self._client.call_api(*request, _request_timeout=patient_s).response
        except (urllib3.exceptions.HTTPError, ApiException, OSError) as error:
            raise ApiRefused(None, {"message": f"{self.host} gave no answer: {error}"}) from error
        if 200 <= response.status <= 299:
            return response
        with response:
            stated_s = _retry_after_s(response.headers.get("Retry-After", ""))
            raise ApiRefused(response.status, _status(_whole(response), response.status), retry_after_s=stated_s)


_LIMIT = str(MOST_LOG_BYTES)


def _passes(error: BaseException, method: str) -> bool:
    """Whether the same request may succeed a little later."""
    if not isinstance(error, ApiRefused):
        return False
    # What was asked of one version of an object stays refused; other conflicts are with other objects, as a quota's.
    if error.status == 409 and method in {"DELETE", "PUT"}:
        return False
    return isinstance(classify_refusal(error.status, error.body), Again)


def _wished_s(error: BaseException) -> float:
    """For how long the cluster wishes to be left alone."""
    if not isinstance(error, ApiRefused):
        return 0.0
    meaning = classify_refusal(error.status, error.body, retry_after_s=error.retry_after_s)
    return meaning.after_s if isinstance(meaning, Again) else 0.0


def _retry_after_s(stated: str) -> float | None:
    """Both forms of RFC 9110, 10.2.3: seconds, or a date; None for anything else."""
    if stated.isdecimal():
        return float(stated)
    try:
        return max(0.0, parsedate_to_datetime(stated).timestamp() - time.time())
    except ValueError:
        return None


def _whole(response: urllib3.HTTPResponse) -> bytes:
    ends_s, parts = time.monotonic() + MOST_ANSWER_S, []
    try:
        while part := response.read1(65_536):
            parts.append(part)
            if time.monotonic() > ends_s:
                response.close()
                raise ApiRefused(None, {"message": f"the answer was not complete after {MOST_ANSWER_S:g} s"})
        response.release_conn()
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise ApiRefused(None, {"message": f"the answer broke off: {error}"}) from error
    return b"".join(parts)


def _lines(response: urllib3.HTTPResponse) -> Iterator[bytes]:
    rest = b""
    while part := response.read1(65_536):
        *whole, rest = (rest + part).split(b"\n")
        yield from whole


def _object(text: bytes) -> PlainObject:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ApiRefused(None, {"message": f"the answer is no JSON: {error}"}) from error
    if not isinstance(found, dict):
        raise ApiRefused(None, {"message": "the answer is no object"})
    return found


def _text(text: bytes) -> str:
    return text.decode(errors="replace")


def _status(text: bytes, status: int) -> PlainObject:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"message": text.decode(errors="replace")[:500], "code": status}


def _query(**parts: str) -> dict[str, str]:
    return {name: value for name, value in parts.items() if value}


def open_api(
    kubeconfig: Path | None, *, context: str = "", patience_s: float = PATIENCE_S, answer_s: float = ANSWER_S
) -> KubernetesApi:
    """The cluster of a kubeconfig's context (empty: the file's current one), or the one we run in for None.

    Raises UsageError where that leads nowhere.
    """
    configuration: Any = client.Configuration()
    try:
        if kubeconfig is None:
            config.load_incluster_config(client_configuration=configuration)
            return KubernetesApi(configuration, context="in-cluster", patience_s=patience_s, answer_s=answer_s)
        _, current = config.list_kube_config_contexts(str(kubeconfig))
        chosen = context or str(current["name"])
        config.load_kube_config(
            str(kubeconfig), context=chosen, client_configuration=configuration, persist_config=False
        )
    except (config.ConfigException, OSError, KeyError, TypeError) as error:
        hint = "--kubeconfig FILE or KUBECONFIG, and --context"
        raise UsageError(f"no cluster to talk to: {error}", hint=hint) from error
    return KubernetesApi(configuration, context=chosen, patience_s=patience_s, answer_s=answer_s)


def _digest_of(configuration: Any) -> str:
    data = getattr(configuration, "ca_cert_data", None)
    if not data and configuration.ssl_ca_cert:
        data = Path(configuration.ssl_ca_cert).read_bytes()
    if not data:
        return ""
    content = data if isinstance(data, bytes) else str(data).encode()
    return f"sha256:{hashlib.sha256(content).hexdigest()[:16]}"
