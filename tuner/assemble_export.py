"""The kinds of file that `servetune export` writes: one plain dict, each a function behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from tuner.domain.cost import Price
from tuner.domain.deployable import Deployable
from tuner.domain.errors import UsageError
from tuner.domain.scaling import ScalingPlan, scaling_plan
from tuner.domain.space import Knob, SearchSpace
from tuner.domain.spec import StudySpec
from tuner.domain.trial import Trial
from tuner.fingerprint import prices_used
from tuner.manifest_text import kubectl_text
from tuner.manifests.config_pbtxt import scheduling
from tuner.manifests.exports.autoscaling import hpa_object, keda_object, scaler_notes
from tuner.manifests.exports.helm import helm_values, unmapped
from tuner.manifests.exports.kustomize import kustomize_notes, kustomize_patch
from tuner.manifests.exports.model_config import (
    as_served,
    backend_parameters,
    partial_config,
    serving_notes,
    tunes_config,
)
from tuner.manifests.exports.place import Exported, ExportPlace, commented, provenance, unknowns
from tuner.manifests.exports.production import cluster_of, manifest_notes, production_objects, takes_config
from tuner.manifests.exports.secrets import refuse_secrets
from tuner.manifests.exports.serving import kserve, kubedl, seldon
from tuner.manifests.plain import Plain, PlainObject

AUTO_COMPLETE = "the model's own config.pbtxt was not stated (--config): Triton completes this one by asking the model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The trials behind an answer, and the study they are of."""

    spec: StudySpec
    trials: tuple[Trial, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnFiles:
    """The user's own files that something is merged into; empty where they were not named."""

    config_pbtxt: str = ""
    values_name: str = ""
    values: str = ""
    paths: Mapping[str, Plain] = field(default_factory=dict)
    inference: PlainObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What is to be written. `recorded` is None where the source keeps no trials."""

    of: Deployable
    place: ExportPlace
    recorded: Recorded | None
    own: OwnFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class _Config:
    """A config.pbtxt. `complete`: it says all; else Triton asks the model for the rest."""

    text: str
    complete: bool
    notes: tuple[str, ...] = ()


def _json(request: ExportRequest) -> Exported:
    from reports.tables import trials_rows
    from tuner.export_document import export_document, finite

    of, recorded = request.of, request.recorded
    plan = _plan(request)
    notes = (*unknowns(of), *plan.notes)
    rows = None if recorded is None else finite(trials_rows(recorded.spec, recorded.trials))
    document = export_document(of, prices_of(of), plan, notes, rows)
    return Exported(content=document.model_dump_json(indent=2) + "\n", notes=notes)


def _csv(request: ExportRequest) -> Exported:
    from reports.tables import trials_csv

    recorded = _trials_of(request)
    return Exported(content=trials_csv(recorded.spec, recorded.trials))


def _parquet(request: ExportRequest) -> Exported:
    from reports.tables import trials_parquet

    recorded = _trials_of(request)
    return Exported(content=trials_parquet(recorded.spec, recorded.trials))


def _kustomize(request: ExportRequest) -> Exported:
    of, place = request.of, request.place
    return _objects(request, [kustomize_patch(of, place)], kustomize_notes(of, place))


def _manifests(request: ExportRequest) -> Exported:
    options = cluster_of(request.of, request.place)
    config = _config(request) if takes_config(options) else _Config(text="", complete=True)
    objects = production_objects(request.of, request.place, config_pbtxt=config.text, complete=config.complete)
    return _objects(request, objects, (*manifest_notes(request.of, options), *config.notes))


def _config_pbtxt(request: ExportRequest) -> Exported:
    config = _config(request)
    if not config.text:
        raise UsageError("none of the study's knobs stands in a config.pbtxt", hint="there is nothing to write")
    return Exported(content=_head(request, config.notes) + config.text, notes=config.notes)


def _helm(request: ExportRequest) -> Exported:
    from tuner.yaml_edit import edited_yaml

    own = request.own
    if not own.values_name or not own.paths:
        raise UsageError("Helm values need the chart's own file and a map", hint="add --values FILE and --map FILE")
    values = helm_values(request.of, own.paths)
    edits = [(one.keys, one.value) for one in values]
    text, added = edited_yaml(own.values, edits, file=own.values_name)
    new = tuple(f"{path} was not in {own.values_name} and is new there" for path in added)
    notes = (*unmapped(request.of, own.paths), *new, *unknowns(request.of))
    # The user's file keeps its own head; only what must not be overlooked goes above it.
    warning = commented(provenance(request.of, prices_of(request.of))[:1], ()) if request.of.unproven else ""
    return Exported(content=warning + text, notes=notes)


def _kserve(request: ExportRequest) -> Exported:
    config = _config(request)
    objects = kserve(request.of, request.place, config_pbtxt=config.text, complete=config.complete)
    heed = (
        "before KServe 0.16 the deployment mode Standard was called RawDeployment",
        "a scaler of your own aims at the Deployment NAME-predictor, with serving.kserve.io/autoscalerClass: external",
    )
    return _objects(request, objects, (*heed, *unknowns(request.of), *config.notes))


def _seldon(request: ExportRequest) -> Exported:
    config = _config(request)
    objects = seldon(request.of, request.place, config_pbtxt=config.text)
    return _objects(request, objects, (*unknowns(request.of), *config.notes))


def _kubedl(request: ExportRequest) -> Exported:
    if not request.own.inference:
        raise UsageError("a predictor is tuned in the Inference that a team has", hint="add --inference FILE")
    tuned = kubedl(request.of, request.place, request.own.inference)
    return _objects(request, [tuned], tuple(unknowns(request.of)))


def _hpa(request: ExportRequest) -> Exported:
    plan = _plan(request)
    adapter = f"an adapter must serve {request.place.rate_metric} of the pods as a rate per second"
    return _objects(request, [hpa_object(request.of, request.place, plan)], (*scaler_notes(plan), adapter))


def _keda(request: ExportRequest) -> Exported:
    plan = _plan(request)
    return _objects(request, [keda_object(request.of, request.place, plan)], scaler_notes(plan))


def _plan(request: ExportRequest) -> ScalingPlan:
    return scaling_plan(request.of, least=request.place.least, most=request.place.most)


def _config(request: ExportRequest) -> _Config:
    """The user's own config.pbtxt with the tuned values in it, else those alone. Raises UsageError."""
    of, served = as_served(request.of), serving_notes(request.of)
    if not tunes_config(of):
        return _Config(text=request.own.config_pbtxt, complete=True)
    if not request.own.config_pbtxt:
        return _Config(text=partial_config(of), complete=False, notes=(AUTO_COMPLETE, *served))
    from runners.triton_config_text import tune_config_pbtxt

    text = tune_config_pbtxt(request.own.config_pbtxt, scheduling(of.configuration), parameters=backend_parameters(of))
    notes = ("comments of the own config.pbtxt are not kept",) if "#" in request.own.config_pbtxt else ()
    return _Config(text=text, complete=True, notes=(*notes, *served))


def _objects(request: ExportRequest, objects: Iterable[PlainObject], notes: tuple[str, ...]) -> Exported:
    listed = list(objects)
    refuse_secrets(listed)
    return Exported(content=_head(request, notes) + kubectl_text(listed), notes=notes)


def _head(request: ExportRequest, notes: tuple[str, ...]) -> str:
    return commented(provenance(request.of, prices_of(request.of)), notes)


def _trials_of(request: ExportRequest) -> Recorded:
    if request.recorded is None:
        raise UsageError("a lock file keeps no trials", hint="export the study")
    return request.recorded


def prices_of(of: Deployable) -> tuple[Price, ...]:
    """The prices that its cost rests on. Raises UsageError if one is missing."""
    knobs = tuple(Knob(name, (value,)) for name, value in of.configuration.settings)
    return prices_used(of.pricing, SearchSpace(knobs=knobs))


FORMATS: dict[str, Callable[[ExportRequest], Exported]] = {
    "json": _json,
    "csv": _csv,
    "parquet": _parquet,
    "kustomize": _kustomize,
    "manifests": _manifests,
    "config-pbtxt": _config_pbtxt,
    "helm-values": _helm,
    "kserve": _kserve,
    "seldon": _seldon,
    "kubedl": _kubedl,
    "hpa": _hpa,
    "keda": _keda,
}


def export(kind: str, request: ExportRequest) -> Exported:
    """The file. Raises UsageError for an unknown kind, and for what it needs and nobody stated."""
    if kind not in FORMATS:
        raise UsageError(f"no file is written as {kind!r}", hint=f"one of {', '.join(FORMATS)}")
    return FORMATS[kind](request)
