"""`servetune plan --manifests`: what one configuration of a cluster study would deploy, for people and `kubectl`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tuner.assemble_cluster import manifest_writer
from tuner.commands import refuse_unwritable, write_text
from tuner.controller_command import ControllerRequest, hosted_objects
from tuner.domain.errors import InfeasibleConfiguration, UsageError
from tuner.domain.space import Configuration, Knob, KnobValue, SearchSpace, shown
from tuner.domain.spec import StudySpec
from tuner.manifest_text import kubectl_text
from tuner.manifests.cluster.naming import ROLE_LABEL, selector_of
from tuner.manifests.plain import PlainObject, object_at, text_at

STDOUT = "-"
BY_HAND = "-by-hand"
"""What the study's name gets, so that a study that runs takes none of these objects for its own."""
NEVER = "9999-12-31T23:59:59Z"
"""What people make, people remove: `servetune clean` lets it stand."""


def print_manifests(spec: StudySpec, where: str, settings: Sequence[str]) -> str:
    """The objects as text for stdout ("-"), or what was written into a folder: a file an object, in their order.

    Of the configurations with these settings (KNOB=VALUE) it is the cheapest that can be deployed. Raises UsageError.
    """
    if not where:
        raise UsageError("--set chooses among manifests", hint="add --manifests FOLDER, or --manifests -")
    folder = None if where == STDOUT else _folder(Path(where))
    configuration, objects = _cheapest(spec, chosen_settings(spec.space, settings))
    return _told(objects, folder, f"# {spec.name}: {configuration}\n# To remove it: {_removal(objects)}\n")


def print_controller(spec: StudySpec, study: str, where: str, request: ControllerRequest) -> str:
    """As `print_manifests`, with what the study needs to be tuned inside its cluster. Raises UsageError."""
    if not where:
        raise UsageError("--controller prints manifests", hint="add --manifests FOLDER, or --manifests -")
    objects = hosted_objects(spec, study, request)
    folder = None if where == STDOUT else _folder(Path(where))
    return _told(objects, folder, f"# The controller of study {spec.name}: as `kubectl apply -f` takes it.\n")


def _told(objects: Sequence[PlainObject], folder: Path | None, head: str) -> str:
    if folder is None:
        return head + kubectl_text(objects).rstrip("\n")
    files = [(folder / _file_name(position, one), one) for position, one in enumerate(objects, start=1)]
    return "\n".join(write_text(path, head + kubectl_text([one])) for path, one in files)


def _folder(path: Path) -> Path:
    if path.is_dir():
        return path
    refuse_unwritable(path)
    path.mkdir()
    return path


def _file_name(position: int, one: PlainObject) -> str:
    return f"{position:02d}-{text_at(one, 'kind').lower()}.yaml"


def _removal(objects: tuple[PlainObject, ...]) -> str:
    kinds = ",".join(dict.fromkeys(text_at(one, "kind").lower() for one in objects))
    labels = {key: value for key, value in object_at(objects[0], "metadata", "labels").items() if key != ROLE_LABEL}
    selector = selector_of({key: str(value) for key, value in labels.items()})
    return f"kubectl --namespace {text_at(objects[0], 'metadata', 'namespace')} delete {kinds} --selector {selector}"


def _cheapest(spec: StudySpec, settings: dict[str, KnobValue]) -> tuple[Configuration, tuple[PlainObject, ...]]:
    """Those that Triton would refuse to load are passed over."""
    written = manifest_writer(replace(spec, name=f"{spec.name}{BY_HAND}"), NEVER)
    why = ""
    for configuration in sorted(_matching(spec.space, settings), key=spec.pricing.unit_cost_per_hour):
        try:
            return configuration, written(configuration)
        except InfeasibleConfiguration as error:
            why = why or error.message
    raise UsageError(f"no configuration with these settings can be deployed: {why}", hint="choose others by --set")


def _matching(space: SearchSpace, settings: dict[str, KnobValue]) -> Iterator[Configuration]:
    """In the space's order, which sorting by cost keeps among equals."""
    fixed = tuple(Knob(knob.name, (settings[knob.name],)) if knob.name in settings else knob for knob in space.knobs)
    return iter(SearchSpace(knobs=fixed))


def chosen_settings(space: SearchSpace, settings: Sequence[str]) -> dict[str, KnobValue]:
    """KNOB=VALUE as values of the study's own lists. Raises UsageError for any other knob or value."""
    known = {knob.name: knob for knob in space.knobs}
    chosen: dict[str, KnobValue] = {}
    for setting in settings:
        name, separator, text = setting.partition("=")
        if not separator or name not in known:
            raise UsageError(f"--set {setting}: no such knob", hint=f"KNOB=VALUE with {', '.join(known)}")
        chosen[name] = _value(known[name], text)
    return chosen


def _value(knob: Knob, text: str) -> KnobValue:
    for value in knob.values:
        if shown(value) == text or (not isinstance(value, str) and _number(text) == value):
            return value
    listed = ", ".join(shown(value) for value in knob.values)
    raise UsageError(f"--set {knob.name}={text}: the study does not try that", hint=f"it tries {listed}")


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) else None
