"""The study file's format as pydantic models: the one place that says which keys exist, and what may stand there."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue
from pydantic.types import StringConstraints
from pydantic_core import PydanticCustomError

from tuner.domain.cost import Term
from tuner.domain.deployment import KserveProtocol
from tuner.domain.slo import GOODPUT, Indicator, Slo, goodput_slo
from tuner.domain.space import KnobValue
from tuner.domain.spec import OptimizerName, RunnerKind
from tuner.spec_cluster_model import KubernetesSection

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
ENV_PATTERN = r"^env\.[A-Za-z_][A-Za-z0-9_]{0,126}$"
ARGUMENT_PATTERN = r"^arg\.[a-z0-9][a-z0-9-]{0,62}$"
MOST_VALUES = 1000
MOST_AT_ONCE = 256
_MOST = 1e15  # whole numbers up to here are exact in a double
_MOST_CHARACTERS = 4096


def _one_value_is_a_list_of_one(value: JsonValue) -> JsonValue:
    """A knob that is not tuned may be written as `cpu_cores: 2`. Nothing at all stays nothing, and is refused."""
    return value if value is None or isinstance(value, list | dict) else [value]


def _number_or_text(value: JsonValue) -> JsonValue:
    """One error in place of one for each member of the union."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise PydanticCustomError("number_or_text", "a number or a text is expected")
    return value


def _within_reason(value: KnobValue) -> KnobValue:
    if isinstance(value, str):
        if not value.isprintable() or not 0 < len(value) <= _MOST_CHARACTERS:
            raise PydanticCustomError("text_reason", "one line of text is expected")
    elif abs(value) > _MOST:
        raise PydanticCustomError("number_reason", "the number is too large")
    return value


def _count_or_auto(value: JsonValue) -> JsonValue:
    """One error in place of one for each member of the union."""
    if value != "auto" and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_AT_ONCE):
        raise PydanticCustomError("count_or_auto", f"a whole number from 1 to {MOST_AT_ONCE} is expected, or auto")
    return value


Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
FilePath = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Image = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}$")]
OptionName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Setting = Annotated[int | float | str, BeforeValidator(_number_or_text), AfterValidator(_within_reason)]
Share = Annotated[float, Field(gt=0, le=1)]
Cores = Annotated[float, Field(gt=0, le=1024)]
MemoryGib = Annotated[float, Field(gt=0, le=65_536)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
DelayMs = Annotated[float, Field(ge=0, le=3_600_000)]
BatchSize = Annotated[int, Field(ge=1, le=65_536)]

LoadShare = Annotated[float, Field(ge=0, le=100)]
ArrivalsKind = Literal[
    "constant",
    "poisson",
    "gamma",
    "ramp",
    "steps",
    "spike",
    "diurnal",
    "periodic",
    "replay",
    "low_average",
    "peak_valley",
    "short_spike",
    "periodic_work",
]

_T = TypeVar("_T")
Values = Annotated[list[_T], BeforeValidator(_one_value_is_a_list_of_one), Field(min_length=1, max_length=MOST_VALUES)]


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class MetadataSection(_Section):
    name: Name = Field(description="The study's name in the storage and on every page.")


class ModelSection(_Section):
    """Exactly one of `path`, `repository` and `image`; the simulated runner needs none of them."""

    name: Name | None = Field(default=None, description="The name it is served under; default: the file's.")
    path: FilePath | None = Field(default=None, description="An ONNX file under the study file's folder.")
    repository: FilePath | None = Field(default=None, description="A ready Triton model repository under that folder.")
    image: Image | None = Field(default=None, description="A container image that serves the model `name`.")


class RunnerSection(_Section):
    """What brings the server up."""

    kind: RunnerKind
    ready_timeout_s: Seconds = Field(default=60.0, description="A server that is not ready by then counts as failed.")
    options: dict[OptionName, Setting] = Field(
        default={}, max_length=256, description="The runner's own settings: a number or a text each."
    )
    parallel_trials: Annotated[
        Annotated[int, Field(ge=1, le=MOST_AT_ONCE)] | Literal["auto"], BeforeValidator(_count_or_auto)
    ] = Field(
        default=1,
        description="So many trials at once; auto (kubernetes): as many as there is room for, "
        "up to a quarter of budget.trials.",
    )
    kubernetes: KubernetesSection | None = Field(default=None, description="The runner 'kubernetes' only.")


class KnobsSection(_Section):
    """The axes of the search: a list of values each, or one value for what is not tuned."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Values[Setting]]

    cpu_cores: Values[Cores] | None = None
    memory_gib: Values[MemoryGib] | None = None
    gpu_type: Values[Name] | None = None
    gpu_memory_share: Values[Share] | None = None
    max_batch_size: Values[BatchSize] | None = None
    preferred_batch_size: Values[BatchSize] | None = None
    queue_delay_ms: Values[DelayMs] | None = None
    queue_timeout_ms: Values[DelayMs] | None = None
    priority_levels: Values[Annotated[int, Field(ge=0, le=1000)]] | None = None
    instances: Values[Annotated[int, Field(ge=1, le=1024)]] | None = None
    intra_op_threads: Values[Annotated[int, Field(ge=1, le=1024)]] | None = None
    variant: Values[Name] | None = None
    preprocess: Values[Literal["in_server", "split"]] | None = None

    def values(self) -> dict[str, list[KnobValue]]:
        """What is tuned, in the order of this class, whatever the order of the file: the same space either way."""
        return {name: value for name, value in self.model_dump(exclude_unset=True).items() if value is not None}


class PayloadSection(_Section):
    """How request bodies are made."""

    kind: Literal["image", "random", "text"] = "random"
    shape: Annotated[list[Annotated[int, Field(ge=1, le=1_000_000)]], Field(min_length=1, max_length=8)] | None = Field(
        default=None, description="Without the batch dimension; for models whose own shape has free dimensions."
    )
    count: Annotated[int, Field(ge=1, le=10_000)] = Field(default=16, description="How many different bodies are sent.")


def _name_is_kind(value: JsonValue) -> JsonValue:
    """`arrivals: poisson` is short for a mapping that has only a kind."""
    return {"kind": value} if isinstance(value, str) else value


class ArrivalsSection(_Section):
    """When requests come: a kind, or a kind with its own settings. Shapes state shares of the offered rate."""

    kind: ArrivalsKind
    burstiness: Annotated[float, Field(gt=0, le=10_000)] | None = Field(
        default=None, description="gamma: the squared coefficient of variation of the gaps; 1 is Poisson."
    )
    begin: LoadShare | None = Field(default=None, description="ramp: the share it begins with.")
    end: LoadShare | None = Field(default=None, description="ramp: the share it ends with.")
    shares: Annotated[list[LoadShare], Field(min_length=1, max_length=1000)] | None = Field(
        default=None, description="steps: one after the other, each for an equal part of the window."
    )
    base: LoadShare | None = Field(default=None, description="spike: the share between spikes.")
    peak: LoadShare | None = Field(default=None, description="spike, diurnal: the highest share.")
    length: Share | None = Field(default=None, description="spike: the part of the window that is spike.")
    spikes: Annotated[int, Field(ge=1, le=1000)] | None = Field(default=None, description="spike: how many.")
    valley: LoadShare | None = Field(default=None, description="diurnal: the lowest share.")
    sharpness: Annotated[int, Field(ge=1, le=100)] | None = Field(
        default=None, description="diurnal: power of a cosine."
    )
    every_s: Seconds | None = Field(default=None, description="periodic: from trigger to trigger.")
    work_s: Seconds | None = Field(default=None, description="periodic: how long the full rate lasts.")
    idle: LoadShare | None = Field(default=None, description="periodic: the share after that.")
    trace: FilePath | None = Field(default=None, description="replay: a CSV file of timestamps in seconds.")


class LoadSection(_Section):
    """The load the service as a whole must carry, and how long one search trial measures."""

    arrivals: Annotated[ArrivalsSection, BeforeValidator(_name_is_kind)]
    target_rps: Annotated[float, Field(gt=0, le=1_000_000)] = Field(description="What all replicas together carry.")
    warmup_s: Annotated[float, Field(ge=0, le=3600)] = Field(description="Load before the window, not measured.")
    window_s: Seconds = Field(description="How long one search trial measures.")
    timeout_s: Seconds | None = Field(default=None, description="Default: 1 s or five times the widest latency limit.")
    payload: PayloadSection = PayloadSection()
    protocol: KserveProtocol = Field(default="kserve_http", description="How requests are sent.")


class SloSection(_Section):
    """`max` on a latency (milliseconds from the intended start) or on the share of failed requests; `min` on goodput,
    the share of requests answered well and within every latency limit.
    """

    indicator: Indicator
    max: Annotated[float, Field(gt=0, le=3_600_000)] | None = Field(
        default=None, description="In the indicator's unit: ms, or a share."
    )
    min: Annotated[float, Field(gt=0, lt=1)] | None = Field(default=None, description="For goodput_ratio: a share.")

    def slo(self) -> Slo | None:
        """None where the bound that the indicator needs is missing."""
        if self.indicator == GOODPUT:
            return None if self.min is None else goodput_slo(self.min)
        return None if self.max is None else Slo(indicator=self.indicator, max=self.max)


class PricesSection(_Section):
    book: FilePath = Field(description="A CSV file of dated prices; relative to the study file.")
    term: Term
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = "USD"


class ReplicasSection(_Section):
    max: Annotated[int, Field(ge=1, le=10_000)] = Field(default=8, description="More replicas are not considered.")


class ConfirmSection(_Section):
    """The winner is deployed afresh `repeats` times and measured `window_s` each."""

    repeats: Annotated[int, Field(ge=1, le=100)] = 3
    window_s: Seconds = 20.0


class BudgetSection(_Section):
    trials: Annotated[int, Field(ge=1, le=1_000_000)] = Field(description="Search trials; proofs come on top.")
    wall_time_s: Annotated[float, Field(gt=0, le=31_536_000)] = Field(description="For search and proof together.")
    failed_trials: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=3, description="So many failures of the machine in a row end the study."
    )


class SearchSection(_Section):
    optimizer: OptimizerName = "structured"
    seed: Annotated[int, Field(ge=0, le=4_294_967_295)] = 0
    warm_start: Values[Name] = Field(
        default=["auto"],
        description="Studies of the same storage to learn from, by name; auto: those of the same model; none: none.",
    )


class FootprintSection(_Section):
    """What one replica occupies, for amounts that no knob tunes; it is priced, not enforced."""

    cpu_cores: Cores | None = None
    memory_gib: MemoryGib | None = None
    gpu_type: Name | None = None
    gpu_memory_share: Share | None = None


class StudyDraft(_Section):
    """As much of a study file as is right by itself; None where a section is absent or wrong."""

    metadata: MetadataSection | None = None
    model: ModelSection | None = None
    runner: RunnerSection | None = None
    knobs: KnobsSection | None = None
    load: LoadSection | None = None
    slos: Annotated[list[SloSection], Field(min_length=1, max_length=64)] | None = None
    prices: PricesSection | None = None
    headroom: Annotated[float, Field(ge=0, lt=1)] | None = None
    replicas: ReplicasSection | None = None
    confirm: ConfirmSection | None = None
    budget: BudgetSection | None = None
    search: SearchSection | None = None
    footprint: FootprintSection | None = None


class StudyFile(StudyDraft):
    """A study: which serving specs to try, under which load, against which objectives, for how long."""

    apiVersion: Literal["servetune/v1"]  # noqa: N815 - the file's own word
    kind: Literal["Study"]
    metadata: MetadataSection
    model: ModelSection = ModelSection()
    runner: RunnerSection
    knobs: KnobsSection
    load: LoadSection
    slos: Annotated[list[SloSection], Field(min_length=1, max_length=64)]
    prices: PricesSection
    headroom: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="The share of each replica that stays unused at the target load."
    )
    replicas: ReplicasSection = ReplicasSection()
    confirm: ConfirmSection = ConfirmSection()
    budget: BudgetSection
    search: SearchSection = SearchSection()
    footprint: FootprintSection = FootprintSection()
