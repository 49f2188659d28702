"""A study file for a Deployment that is already there: knobs around what it has today, what only people know marked.

Pure: values in, text out.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction

from tuner.domain.errors import UsageError
from tuner.gpu_catalogue import gpu_type, shipped_gpu_types
from tuner.manifests.cluster.existing.gpu import PresentGpu
from tuner.manifests.cluster.existing.service import Amount, ExistingService
from tuner.manifests.cluster.existing.serving import flag_values
from tuner.manifests.cluster.mig import MIG_PROFILES
from tuner.manifests.cluster.quantities import GIB
from tuner.manifests.plain import PlainObject, objects_at, text_at
from tuner.yaml_text import to_yaml

NO_IMAGE = f"registry.example/servetune@sha256:{'0' * 64}"
_ENVIRONMENT_KNOBS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_FACTORS = (Fraction(1, 2), Fraction(3, 4), Fraction(3, 2))
_ARGUMENT_KNOBS = ("http-thread-count",)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySetup:
    """What the command says beside the Deployment. `template_file` lies beside the study; an empty `load_image` is
    marked as missing. `priced` are the price book's GPU types.
    """

    template_file: str
    model: str = ""
    load_image: str = ""
    where: str = ""
    priced: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class _ProposedKnob:
    name: str
    values: tuple[float | str, ...]
    comment: str
    today: float | str | None

    @property
    def line(self) -> str:
        listed = ", ".join(_scalar(value) for value in self.values)
        return f"  {self.name}: [{listed}]{' ' * max(1, 40 - len(self.name) - len(listed))}# {self.comment}"


def template_text(service: ExistingService, setup: StudySetup) -> str:
    """The pod template, as a PodTemplate: applying it by mistake changes nothing that runs."""
    head = [f"# The pod template of Deployment {service.namespace}/{service.name}{setup.where}, as it was written."]
    head += [f"# {line}" for note in service.notes for line in _wrapped(note)]
    manifest: PlainObject = {
        "apiVersion": "v1",
        "kind": "PodTemplate",
        "metadata": {"name": service.name, "namespace": service.namespace},
        "template": service.template,
    }
    return "\n".join([*head, to_yaml(manifest)])


def study_text(service: ExistingService, setup: StudySetup) -> str:
    """The study file. Raises UsageError where the share of a GPU that it gets today cannot be known."""
    gpu_name = gpu_name_of(service.gpu.label, setup.priced) if service.gpu else ""
    knobs = tuple(_knobs(service, gpu_name))
    today = " ".join(f"{knob.name}={_scalar(knob.today)}" for knob in knobs if knob.today is not None)
    shown = " ".join(f"--set {word}" for word in today.split())
    parts = (
        _head(service, setup, today, shown),
        _model(service, setup),
        _runner(service, setup, gpu_name),
        _knob_section(service, knobs),
        _rest(spot=bool(service.spot)),
    )
    return "\n".join(line for part in parts for line in part) + "\n"


def gpu_name_of(label: str, priced: Collection[str]) -> str:
    """What the price book, or else the catalogue, calls the type that nodes are labelled with; else the label."""
    words = _words(label)
    spoken = [(name, row) for row in shipped_gpu_types() for name in (row.name, *row.aliases) if _words(name) <= words]
    if not spoken:
        return re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip("-._") or label
    row = max(spoken, key=lambda one: len(_words(one[0])))[1]
    return next((sku for sku in priced if (found := gpu_type(sku)) is not None and found.name == row.name), row.name)


def _words(text: str) -> set[str]:
    """Without the vendor's, and with a memory of 80 as one of 80GB."""
    found = {word for word in re.split(r"[^a-z0-9]+", text.lower()) if word not in {"", "nvidia", "tesla"}}
    return {f"{word}gb" if re.fullmatch(r"[0-9]{2,3}", word) else word for word in found}


def _head(service: ExistingService, setup: StudySetup, today: str, shown: str) -> Iterator[str]:
    yield f"# A study of Deployment {service.namespace}/{service.name}{setup.where}."
    yield "# Yours to fill in: every line marked FILL IN. `servetune plan` takes the file as it is, but the answer is"
    yield "# only as good as the load, the objectives and the prices in it."
    yield "#"
    yield from (
        f"# {line}" for line in _wrapped(f"Today, on {service.replicas} replicas: {today or 'nothing stated'}.")
    )
    if shown:
        command = _wrapped(f"As a trial: servetune plan THIS_FILE --manifests - {shown}")
        yield from (f"# {line}" for line in command)
    yield from (f"# {line}" for note in service.notes for line in _wrapped(note))
    yield from ("apiVersion: servetune/v1", "kind: Study", "metadata:", f"  name: {_scalar(_study_name(service))}", "")


def _study_name(service: ExistingService) -> str:
    return f"{service.namespace}-{service.name}"[:63].rstrip("-.")


def _model(service: ExistingService, setup: StudySetup) -> Iterator[str]:
    told = service.serving.model
    name = setup.model or told or service.name[:63]
    why = "as asked for" if setup.model else "its command says so" if told else "FILL IN: nothing says it, a guess"
    yield "model:"
    yield _commented(f"  name: {_scalar(name)}", f"what requests ask for: {why}")
    yield "  # With the model's files beside this one (path: model.onnx, or repository: ./models) the knobs of Triton's"
    yield "  # scheduler can be tuned, too: max_batch_size, queue_delay_ms, preferred_batch_size, instances."
    yield ""


def _runner(service: ExistingService, setup: StudySetup, gpu_name: str) -> Iterator[str]:
    yield "runner:"
    yield "  kind: kubernetes"
    yield _commented("  ready_timeout_s: 300", "a server that is not ready by then counts as failed")
    yield "  kubernetes:"
    yield _commented(f"    namespace: {_scalar(service.namespace)}", "where the template's claims and Secrets are")
    yield "    base:"
    yield f"      file: {_scalar(setup.template_file)}"
    yield _commented(
        f"      container: {_scalar(service.serving.name)}", ", ".join(service.serving.signs[:2]) or "as asked for"
    )
    if service.serving.repository:
        yield _commented(f"      repository: {_scalar(service.serving.repository)}", "its command says so")
    yield "    load:"
    if not setup.load_image:
        yield "      # FILL IN servetune's own image, by digest: the pods that send the load."
    yield f"      image: {_scalar(setup.load_image or NO_IMAGE)}"
    yield _commented("      workers: 1", "a core each; more for thousands of requests per second")
    if service.gpu is not None:
        yield from _gpu_section(service.gpu, gpu_name)
    if service.spot:
        yield "    capacity_labels:"
        yield f"      spot: {{{', '.join(f'{_scalar(key)}: {_scalar(value)}' for key, value in service.spot)}}}"
    yield ""


def _gpu_section(gpu: PresentGpu, name: str) -> Iterator[str]:
    source = "the template's node selection" if gpu.pinned else "a node that it runs on"
    yield _commented(f"    gpu_labels: {gpu.labels}", f"read from {source}")
    yield "    gpus:"
    yield f"      {_scalar(name)}:"
    yield f"        labels: [{_scalar(gpu.label)}]"
    if gpu.memory_mib:
        yield _commented(f"        memory_mib: {gpu.memory_mib}", "the node's label nvidia.com/gpu.memory")
    if gpu.mig_profile:
        listed = ", ".join(f"{profile}: {float(share):g}" for share, profile in sorted(_profiles(name).items()))
        yield f"        slices: {{{listed}}}"
    yield "    sharing:"
    yield _commented(f"      scheme: {gpu.scheme}", f"a guess: the Deployment asks for {gpu.told_by}")
    if gpu.replicas:
        yield f"      replicas: {gpu.replicas}"
    if gpu.queue:
        yield f"      queue: {_scalar(gpu.queue)}"
    if gpu.resource:
        yield f"      resource: {_scalar(gpu.resource)}"


def _knob_section(service: ExistingService, knobs: tuple[_ProposedKnob, ...]) -> Iterator[str]:
    yield "# One axis each, around what it has today; every combination is a configuration. A list of one is not tuned."
    yield "knobs:"
    yield from (knob.line for knob in knobs)
    yield "  # More: env.NAME (its environment), arg.NAME (its command line as --NAME=VALUE)."
    if service.serving.by_a_shell:
        yield "  # A shell starts it, so arg.NAME cannot be added: write its command as a list in the template."
    yield ""


def _knobs(service: ExistingService, gpu_name: str) -> Iterator[_ProposedKnob]:
    yield _amount_knob("cpu_cores", service.cpu, 1)
    if service.memory is not None:
        yield _amount_knob("memory_gib", service.memory, GIB)
    if service.gpu is not None:
        yield _ProposedKnob("gpu_type", (gpu_name,), "as today; others of the cluster go here and into gpus", gpu_name)
        share = _share(service.gpu, gpu_name)
        yield _share_knob(service.gpu, share, gpu_name)
    yield from _thread_knobs(service)


def _thread_knobs(service: ExistingService) -> Iterator[_ProposedKnob]:
    """Numbers of threads that its environment or its command line states: nothing is tuned that is not there."""
    for variable in objects_at(service.served, "env"):
        name, value = text_at(variable, "name"), text_at(variable, "value")
        if name in _ENVIRONMENT_KNOBS and re.fullmatch(r"[1-9][0-9]{0,2}", value):
            yield _threads(f"env.{name}", int(value))
    for name in () if service.serving.by_a_shell else _ARGUMENT_KNOBS:
        for value in flag_values(service.served, (name,))[-1:]:
            if re.fullmatch(r"[1-9][0-9]{0,2}", value):
                yield _threads(f"arg.{name}", int(value))


def _threads(name: str, today: int) -> _ProposedKnob:
    values = tuple(sorted({today, max(1, today // 2), min(1024, today * 2)}))
    return _ProposedKnob(name, values, f"today {today}", today)


def _amount_knob(name: str, amount: Amount | None, unit: int) -> _ProposedKnob:
    if amount is None:
        return _ProposedKnob(name, (1, 2, 4), "FILL IN: the Deployment does not say how many; these are a guess", None)
    today = amount.number / unit
    values = {float(today), *(float(_round(today * factor)) for factor in _FACTORS)}
    kind = "requests" if amount.requested else "is limited to"
    comment = f"today it {kind} {amount.text}; a trial's limit is its request"
    return _ProposedKnob(name, tuple(sorted(values)), comment, float(today))


def _round(number: Fraction) -> Fraction:
    """To halves, quarters, or twentieths, as the size asks for; never to nothing."""
    step = Fraction(1, 2) if number >= 4 else Fraction(1, 4) if number >= 1 else Fraction(1, 20)
    return max(step, round(number / step) * step)


def _share(gpu: PresentGpu, name: str) -> Fraction:
    if gpu.mig_profile:
        found = next((share for share, profile in _profiles(name).items() if profile == gpu.mig_profile), None)
        if found is not None:
            return found
    if gpu.share is None:
        raise UsageError(
            f"the Deployment asks for {gpu.told_by}, and which part of a {name} that is cannot be known from here",
            hint="its nodes' labels say it, and may not be read: `servetune doctor` prints a ClusterRole for them",
        )
    return gpu.share


def _share_knob(gpu: PresentGpu, share: Fraction, name: str) -> _ProposedKnob:
    """Only shares that the scheme can express."""
    today = round(float(share), 4)
    if gpu.mig_profile:
        values = tuple(sorted(float(one) for one in _profiles(name)))
        return _ProposedKnob("gpu_memory_share", values, f"today {gpu.mig_profile}; the type's MIG profiles", today)
    if gpu.scheme in {"whole", "time_slicing", "mps"}:
        words = "whole cards" if gpu.scheme == "whole" else f"the nodes divide a card by {gpu.replicas}"
        return _ProposedKnob("gpu_memory_share", (today,), words, today)
    if gpu.scheme.startswith("aliyun"):
        return _ProposedKnob("gpu_memory_share", (today,), "as today; shares of whole GiB can be added", today)
    percents = {round(share * 100), round(share * 50), min(100, round(share * 150)), 100}
    values = tuple(sorted(one / 100 for one in percents if one > 0))
    return _ProposedKnob("gpu_memory_share", values, f"today {today:g}; whole per cent", today)


def _profiles(name: str) -> dict[Fraction, str]:
    row = gpu_type(name)
    return MIG_PROFILES.get(row.name if row else name, {})


def _rest(*, spot: bool) -> Iterator[str]:
    why = "its nodeSelector asks for spot nodes" if spot else "on_demand | spot | reserved | owned"
    yield f"""load:
  arrivals: poisson           # FILL IN what your traffic is like: `servetune init` lists the kinds; or replay a trace
  target_rps: 100             # FILL IN what all replicas together must carry at the peak
  protocol: kserve_http       # or kserve_grpc
  warmup_s: 5
  window_s: 20                # what one search trial measures
  payload:
    kind: random              # FILL IN where requests are of several sizes: shape: [3, 224, 224]

slos:                         # FILL IN what you promise
  - indicator: latency_p99_ms
    max: 100
  - indicator: error_ratio
    max: 0.001

prices:
  book: prices.csv            # FILL IN what you pay: a price that is not there is an error, never 0
{_commented(f"  term: {'spot' if spot else 'on_demand'}", why)}
  currency: USD

headroom: 0.1                 # the share of each replica that stays unused at the target load
replicas:
  max: 16                     # more are not considered

confirm:                      # the winner is deployed afresh so many times, and must pass
  repeats: 3
  window_s: 60

budget:
  trials: 30
  wall_time_s: 14400          # deploying a server takes most of it
  failed_trials: 3            # so many failures of the cluster in a row end the study

search:
  optimizer: structured
  seed: 0"""


def _commented(line: str, comment: str) -> str:
    return f"{line:<29} # {comment}" if comment else line


def _wrapped(text: str, width: int = 116) -> list[str]:
    return textwrap.wrap(text, width=width, break_long_words=False, break_on_hyphens=False)


def _scalar(value: float | str) -> str:
    """As a YAML scalar: numbers without a needless fraction, texts quoted where anybody could misread them."""
    if not isinstance(value, str):
        return repr(int(value)) if value == int(value) else repr(value)
    text = to_yaml([value]).strip()
    return text.removeprefix("- ")
