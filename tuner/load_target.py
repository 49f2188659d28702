"""Where `servetune load` may send requests: to this machine, or to a target that was allowed by name.

The name is resolved once and every connection goes to that address; nothing, not even a name lookup, is sent on
behalf of a target that was not allowed.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from tuner.domain.deployment import TensorSpec
from tuner.domain.errors import InfrastructureError, TargetRefused, UsageError

ASK_TIMEOUT_S = 5.0
MOST_ANSWER_BYTES = 4_000_000
OTHER_PROTOCOL = "is a KServe v2 server running there? else say --protocol kserve_grpc, tensorflow_rest or http"

OTHER_NAME = "is this the model's name there? other servers than KServe's: --protocol tensorflow_rest or http"

StatedInput = tuple[str, str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A pinned address, what to call it in a Host header, and the path of the URL (without a trailing slash)."""

    scheme: str
    address: str
    port: int
    host: str
    path: str

    @property
    def authority(self) -> str:
        """The pinned address with its port."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def endpoint(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def find_target(url: str, allowed: Sequence[str]) -> Target:
    """Raises UsageError for what is no http:// or grpc:// URL, TargetRefused for what is not allowed."""
    parts = _split(url)
    name, port = parts.hostname or "", parts.port or 80
    if name == "localhost" or _is_loopback(name):
        address = _resolve(name, port)
        if not _is_loopback(address):
            raise TargetRefused(f"{name} is {address} here, which is not this machine", hint=_hint(name, port))
    elif f"{name}:{port}" in {target.strip().lower() for target in allowed}:
        address = _resolve(name, port)
    else:
        raise TargetRefused(f"load on {name}:{port} was not allowed; nothing was sent", hint=_hint(name, port))
    host = f"[{name}]" if ":" in name else name
    return Target(
        scheme=parts.scheme,
        address=address,
        port=port,
        host=f"{host}:{port}",
        path=parts.path.rstrip("/") + (f"?{parts.query}" if parts.query else ""),
    )


def model_inputs(target: Target, model: str) -> tuple[tuple[TensorSpec, ...], bool]:
    """The inputs that a KServe v2 server states for a model, and whether their first dimension is the batch.

    Raises InfrastructureError if it cannot be asked, UsageError if it has no such model, TargetRefused if it
    redirects.
    """
    metadata = _ask(target, f"{target.path}/v2/models/{quote(model, safe='')}")
    try:
        stated = [(entry["name"], entry["datatype"], tuple(map(int, entry["shape"]))) for entry in metadata["inputs"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InfrastructureError(f"{target.host} describes {model} in no KServe v2 metadata: {error}") from error
    return inputs_from(stated)


def inputs_from(stated: Sequence[StatedInput]) -> tuple[tuple[TensorSpec, ...], bool]:
    """KServe v2 metadata as inputs without the batch dimension, and whether there is one: all begin with a free one."""
    batched = bool(stated) and all(shape[:1] == (-1,) for _, _, shape in stated)
    first = 1 if batched else 0
    return tuple(TensorSpec(name=n, datatype=d, shape=shape[first:]) for n, d, shape in stated), batched


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        known = parts.scheme == "http" or (parts.scheme == "grpc" and parts.port and parts.path in {"", "/"})
        usable = known and parts.hostname and (parts.port or 80) > 0
    except ValueError:
        usable = False
    if not usable or parts.username is not None or not url.isascii() or not url.isprintable() or " " in url:
        hint = "write http://HOST:PORT or grpc://HOST:PORT, such as http://127.0.0.1:8000"
        raise UsageError(f"{url!r} is no target", hint=hint)
    return parts


def _hint(name: str, port: int) -> str:
    return f"if you may put load on it, add --allow-target {name}:{port}"


def _is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False


def _resolve(name: str, port: int) -> str:
    try:
        return str(socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise InfrastructureError(f"cannot resolve {name}: {error}") from error


def _ask(target: Target, path: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection(target.address, target.port, timeout=ASK_TIMEOUT_S)
    try:
        connection.request("GET", path, headers={"Host": target.host})
        answer = connection.getresponse()
        text = answer.read(MOST_ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as error:
        said = str(error) if str(error).isprintable() and isinstance(error, OSError) else "what answers is no HTTP"
        raise InfrastructureError(f"cannot ask {target.host} about the model: {said}", hint=OTHER_PROTOCOL) from error
    finally:
        connection.close()
    if 300 <= answer.status < 400:
        raise TargetRefused(f"{target.host} redirects to {answer.headers.get('Location', 'another place')}")
    if answer.status != 200:
        raise UsageError(f"{target.host} answers {answer.status} to {path}", hint=OTHER_NAME)
    try:
        metadata = json.loads(text)
    except ValueError as error:
        raise InfrastructureError(f"{target.host} answers no JSON to {path}", hint=OTHER_PROTOCOL) from error
    if not isinstance(metadata, dict):
        raise InfrastructureError(f"{target.host} answers no JSON object to {path}", hint=OTHER_PROTOCOL)
    return metadata
