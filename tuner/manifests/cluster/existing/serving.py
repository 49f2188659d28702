"""Which container of a pod template serves a model over KServe v2, and what its command line says of the model.

Sources: Triton's command line (`tritonserver --help`), KServe's open inference protocol v2 (paths), and the command
lines of OpenVINO Model Server, KServe's own servers and MLServer for a model's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tuner.domain.errors import UsageError
from tuner.manifests.cluster.server_pod import takes_a_shell_line
from tuner.manifests.plain import PlainObject, number_at, objects_at, text_at, texts_at

_SERVERS = ("tritonserver", "triton", "mlserver", "ovms", "openvino/model_server", "kserve", "seldon")
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_PORTS = (8000, 8001, 9000, 9001)
_MODEL_PATH = re.compile(r"/v2/models/([A-Za-z0-9][A-Za-z0-9._-]{0,62})/ready/?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_REPOSITORY_FLAGS = ("model-repository", "model-store")
_NAME_FLAGS = ("load-model", "model_name", "model-name")
_NAME_VARIABLES = ("MLSERVER_MODEL_NAME", "MODEL_NAME")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingContainer:
    """`signs` are the reasons why it is taken for the server; `repository` and `model` are empty where untold.

    `by_a_shell`: its command is a line for a shell, which arguments cannot be added to.
    """

    name: str
    image: str
    signs: tuple[str, ...]
    repository: str
    model: str
    by_a_shell: bool


def serving_container(template: PlainObject, asked: str = "") -> ServingContainer:
    """The container that serves: the one asked for, else the one that says so the loudest.

    Raises UsageError where there is no such container, where none speaks KServe v2, and where several might.
    """
    containers = objects_at(template, "spec", "containers")
    names = [text_at(one, "name") for one in containers]
    if asked:
        if asked not in names:
            raise UsageError(f"the Deployment has no container '{asked}'", hint=f"it has {', '.join(names)}")
        return _described(containers[names.index(asked)])
    ranked = [(_rank(one), one) for one in containers]
    best = max((rank for rank, _ in ranked), default=0)
    if not best:
        listed = ", ".join(f"{text_at(one, 'name')} ({text_at(one, 'image')})" for one in containers)
        raise UsageError(
            f"no container of the Deployment says that it speaks KServe v2: {listed}",
            hint="--container NAME if one of them does all the same",
        )
    loudest = [one for rank, one in ranked if rank == best]
    if len(loudest) > 1:
        listed = "; ".join(f"{text_at(one, 'name')} ({', '.join(_signs(one))})" for one in loudest)
        raise UsageError(f"several containers of the Deployment may be the server: {listed}", hint="--container NAME")
    return _described(loudest[0])


def words_of(container: PlainObject) -> tuple[str, ...]:
    """The command and the arguments, and the words of a line for a shell."""
    listed = [*texts_at(container, "command"), *texts_at(container, "args")]
    return tuple(word for one in listed for word in (one.split() if re.search(r"\s", one) else [one]))


def flag_values(container: PlainObject, flags: tuple[str, ...]) -> tuple[str, ...]:
    """What stands after these flags, as --flag=VALUE or --flag VALUE, in their order."""
    words, found = words_of(container), []
    for word, following in zip(words, (*words, "")[1:], strict=True):
        name, separator, value = word.lstrip("-").partition("=")
        if word.startswith("-") and name in flags:
            found.append((value if separator else following).strip("'\""))
    return tuple(one for one in found if one)


def _signs(container: PlainObject) -> tuple[str, ...]:
    return tuple(sign for _, sign in _weighed(container))


def _rank(container: PlainObject) -> int:
    return max((weight for weight, _ in _weighed(container)), default=0)


def _weighed(container: PlainObject) -> Iterator[tuple[int, str]]:
    """A server's own program says more than a path of the protocol, and that more than a port."""
    programs = {word.rsplit("/", 1)[-1] for word in words_of(container)}
    if "tritonserver" in programs:
        yield 3, "it runs tritonserver"
    if flag_values(container, _REPOSITORY_FLAGS):
        yield 3, "its command names a model repository"
    image = text_at(container, "image").split("@", 1)[0].lower()
    server = next((name for name in _SERVERS if name in image), None)
    if server is not None:
        yield 3, f"its image is named {server}"
    paths = [text_at(container, probe, "httpGet", "path") for probe in _PROBES]
    path = next((one for one in paths if one.startswith("/v2/")), None)
    if path is not None:
        yield 2, f"it is probed at {path}"
    ports = objects_at(container, "ports")
    open_ports = [number_at(port, "containerPort") for port in ports]
    known = next((port for port in open_ports if port in _PORTS), None)
    if known is not None:
        yield 1, f"it listens on {known}"


def _described(container: PlainObject) -> ServingContainer:
    repository = next(iter(flag_values(container, _REPOSITORY_FLAGS)), "")
    local = repository if repository.startswith("/") else ""
    return ServingContainer(
        name=text_at(container, "name"),
        image=text_at(container, "image"),
        signs=_signs(container),
        repository=local.rstrip("/"),
        model=_model(container, local.rstrip("/")),
        by_a_shell=takes_a_shell_line(container),
    )


def _model(container: PlainObject, repository: str) -> str:
    """By flag, by environment, by a probe of the model's own, by a folder mounted into the repository."""
    told = [
        *flag_values(container, _NAME_FLAGS),
        *(text_at(one, "value") for one in objects_at(container, "env") if text_at(one, "name") in _NAME_VARIABLES),
    ]
    for probe in _PROBES:
        found = _MODEL_PATH.fullmatch(text_at(container, probe, "httpGet", "path"))
        told += [found[1]] if found else []
    if repository:
        inside = [text_at(mount, "mountPath") for mount in objects_at(container, "volumeMounts")]
        told += [
            path.removeprefix(f"{repository}/").split("/")[0] for path in inside if path.startswith(f"{repository}/")
        ]
    return next((name for name in told if _NAME.fullmatch(name)), "")
