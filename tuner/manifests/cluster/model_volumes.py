"""How the model's files, its config.pbtxt and its engine come into the serving container.

Triton reads /models/NAME/config.pbtxt and /models/NAME/1. Both are mounted into an empty folder, so that a read-only
source and a tuned config.pbtxt go together without copying the model.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import assert_never

from tuner.domain.cluster import ClusterOptions, EngineBuild, ModelBucket, ModelClaim, ModelImage
from tuner.domain.errors import UsageError
from tuner.manifests.cluster.naming import object_name
from tuner.manifests.cluster.trial import ServedTrial, model_path
from tuner.manifests.plain import Plain, PlainObject, canonical_json

REPOSITORY = "/models"
CONFIG_KEY = "config.pbtxt"
_SOURCE = "/model-source"
_ENGINES = "/engines"
# Built beside its place and then renamed: a cache never holds half an engine, and two builds do no harm. What the files
# of the model are is asked where they are: the study may know only their address, and another model may be there now.
_BUILD_ONCE = """set -eu
made_of=$(find -L "$MODEL_FOLDER" -type f -exec sha256sum {} + | sort | sha256sum)
if [ -s "$ENGINE_DONE" ] && [ "$(cat "$ENGINE_DONE.made-of")" = "$made_of" ]; then
  echo "an engine of the same content is in the cache"
  exit 0
fi
mkdir -p "$(dirname "$ENGINE_DONE")"
trap 'rm -f "$ENGINE_FILE"' EXIT
"$@"
if [ ! -s "$ENGINE_FILE" ]; then
  echo "the build did not write the file that ENGINE_FILE names: $ENGINE_FILE" >&2
  exit 1
fi
mv -f "$ENGINE_FILE" "$ENGINE_DONE"
echo "$made_of" > "$ENGINE_DONE.made-of"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelParts:
    """What a pod needs for its model. Init containers have no resources and no security context yet."""

    volumes: tuple[PlainObject, ...] = ()
    mounts: tuple[PlainObject, ...] = ()
    init_containers: tuple[PlainObject, ...] = ()

    def __add__(self, other: ModelParts) -> ModelParts:
        return ModelParts(
            volumes=self.volumes + other.volumes,
            mounts=self.mounts + other.mounts,
            init_containers=self.init_containers + other.init_containers,
        )


def model_parts(options: ClusterOptions, trial: ServedTrial) -> ModelParts:
    """Volumes, mounts and init containers, in the order in which they have to run. Raises UsageError."""
    folder = f"{_repository(options, trial)}/{trial.model.name}"
    parts = ModelParts()
    if options.model is not None:
        parts += ModelParts(
            volumes=({"name": "servetune-repository", "emptyDir": {}},),
            mounts=({"name": "servetune-repository", "mountPath": REPOSITORY},),
        )
        source = _source(options, trial, _SOURCE if options.engine else f"{folder}/1")
        parts += source if options.engine is None else _engine(options.engine, trial, source, options, folder)
    if trial.config_pbtxt:
        parts += ModelParts(
            volumes=({"name": "servetune-config", "configMap": {"name": object_name(trial.id, "config")}},),
            mounts=(
                {
                    "name": "servetune-config",
                    "mountPath": f"{folder}/{CONFIG_KEY}",
                    "subPath": CONFIG_KEY,
                    "readOnly": True,
                },
            ),
        )
    return parts


def _repository(options: ClusterOptions, trial: ServedTrial) -> str:
    """Where the server's model repository is: ours, or the template's own."""
    if options.base is None or options.model is not None:
        return REPOSITORY
    if trial.config_pbtxt and not options.base.repository:
        raise UsageError(
            "nothing says where the base template has its model repository, and config.pbtxt is tuned",
            hint="write base.repository, such as /models",
        )
    return options.base.repository.rstrip("/")


def _source(options: ClusterOptions, trial: ServedTrial, where: str) -> ModelParts:
    path = model_path(options, trial)
    match options.model:
        case None:
            return ModelParts()
        case ModelClaim(claim=claim):
            volume: PlainObject = {"persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
            return _mounted(volume, where, sub_path=path.strip("/"))
        case ModelImage(image=image, way="volume"):
            return _mounted({"image": {"reference": image}}, where, sub_path=path.strip("/"))
        case ModelImage(image=image):
            copy = ("/bin/sh", "-c", 'cp -r "$0"/. "$1"', path.rstrip("/"), _SOURCE)
            return _filled({"name": "copy-model", "image": image, "command": list(copy)}, where)
        case ModelBucket(image=image, command=command, secret=secret):
            fetch: dict[str, Plain] = {
                "name": "fetch-model",
                "image": image,
                "command": list(command),
                "env": [{"name": "MODEL_URL", "value": path}, {"name": "MODEL_FOLDER", "value": _SOURCE}],
            }
            return _filled({**fetch, "envFrom": [{"secretRef": {"name": secret}}]} if secret else fetch, where)
    assert_never(options.model)


def _mounted(volume: PlainObject, where: str, *, sub_path: str) -> ModelParts:
    mount: dict[str, Plain] = {"name": "servetune-model", "mountPath": where, "readOnly": True}
    return ModelParts(
        volumes=({"name": "servetune-model", **volume},),
        mounts=({**mount, "subPath": sub_path} if sub_path else mount,),
    )


def _filled(container: PlainObject, where: str) -> ModelParts:
    """An empty folder that an init container fills."""
    filling: PlainObject = {**container, "volumeMounts": [{"name": "servetune-model", "mountPath": _SOURCE}]}
    return ModelParts(
        volumes=({"name": "servetune-model", "emptyDir": {}},),
        mounts=({"name": "servetune-model", "mountPath": where, "readOnly": True},),
        init_containers=(filling,),
    )


def engine_key(engine: EngineBuild, trial: ServedTrial, source: str) -> str:
    """SHA-256 of everything that decides what is built: image, command, model, GPU and its share, tuned values."""
    content: list[Plain] = [
        engine.image,
        list(engine.command),
        trial.model.digest,
        source,
        trial.gpu_type,
        trial.gpu_share,
        [[name, value] for name, value in _build_settings(trial)],
    ]
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def _build_settings(trial: ServedTrial) -> tuple[tuple[str, str], ...]:
    """The knobs that a build may depend on, as its command sees them."""
    settings = trial.configuration.as_dict()
    return tuple((knob.upper(), str(settings[knob])) for knob in ("max_batch_size", "variant") if knob in settings)


def _engine(
    engine: EngineBuild, trial: ServedTrial, source: ModelParts, options: ClusterOptions, folder: str
) -> ModelParts:
    """The source is for the build; the server gets the engine."""
    key = engine_key(engine, trial, model_path(options, trial))
    pod_name: PlainObject = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    settings = (
        ("ENGINE_DONE", f"{_ENGINES}/{key}/{engine.file_name}"),
        ("ENGINE_FILE", f"{_ENGINES}/{key}/.$(POD_NAME)"),
        ("MODEL_FOLDER", _SOURCE),
        *_build_settings(trial),
    )
    build: PlainObject = {
        "name": "build-engine",
        "image": engine.image,
        "command": ["/bin/sh", "-c", _BUILD_ONCE, "build-engine", *engine.command],
        "env": [pod_name, *({"name": name, "value": value} for name, value in settings)],
        "volumeMounts": [{"name": "servetune-engines", "mountPath": _ENGINES}, *source.mounts],
    }
    return ModelParts(
        volumes=(
            *source.volumes,
            {"name": "servetune-engines", "persistentVolumeClaim": {"claimName": engine.cache_claim}},
        ),
        mounts=({"name": "servetune-engines", "mountPath": f"{folder}/1", "subPath": key, "readOnly": True},),
        init_containers=(*source.init_containers, build),
    )
