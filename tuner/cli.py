"""argv -> one call -> text and an exit code. No logic here; heavy libraries load inside the commands that need them."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from tuner import __version__
from tuner.domain.errors import InfrastructureError, TunerError
from tuner.interruption import Interrupted, orderly_stop
from tuner.load_help import ARRIVALS_HELP, PAYLOAD_HELP, SLO_HELP, TRACE_HELP

app = typer.Typer(
    name="servetune",
    help="Find the cheapest serving spec that meets your SLOs, and prove it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)

catalogue = typer.Typer(help="GPU prices from public price lists.", no_args_is_help=True)
app.add_typer(catalogue, name="catalogue")

StudyArgument = Annotated[str, typer.Argument(help="A study file, or the name of a study in the storage.")]
StorageOption = Annotated[
    str, typer.Option("--storage", envvar="SERVETUNE_STORAGE", help="Where studies are kept: sqlite:///FILE.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; the answer is always printed.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="A line for every phase of every trial.")]
DEFAULT_STORAGE = "sqlite:///servetune.db"


class ProtocolChoice(StrEnum):
    """What a server may speak."""

    KSERVE = "kserve_http"
    KSERVE_GRPC = "kserve_grpc"
    TENSORFLOW = "tensorflow_rest"
    HTTP = "http"


class RunnerChoice(StrEnum):
    """Runners that need something of where they run, and can leave something behind."""

    LOCAL = "local"
    KUBERNETES = "kubernetes"


class TermChoice(StrEnum):
    """Terms that public price lists have."""

    ON_DEMAND = "on_demand"
    SPOT = "spot"


TargetOption = Annotated[
    str, typer.Option("--target", help="http://HOST:PORT of a running server; grpc://HOST:PORT for kserve_grpc.")
]
ModelOption = Annotated[str, typer.Option("--model", help="The model's name there; for plain HTTP not needed.")]
RateOption = Annotated[float | None, typer.Option("--rate", help="Requests per second. With --trace: its own.")]
DurationOption = Annotated[str, typer.Option("--duration", help="How long to measure: 20s, 2m.")]
WarmupOption = Annotated[str, typer.Option("--warmup", help="Load before that, not measured.")]
TimeoutOption = Annotated[
    str | None, typer.Option("--timeout", help="When an answer no longer counts; default 1s or 5 x the widest limit.")
]
ArrivalsOption = Annotated[str, typer.Option("--arrivals", help=ARRIVALS_HELP)]
TraceOption = Annotated[Path | None, typer.Option("--trace", help=TRACE_HELP)]
SloOption = Annotated[list[str] | None, typer.Option("--slo", help=SLO_HELP)]
PayloadOption = Annotated[
    list[str] | None,
    typer.Option("--payload", help=PAYLOAD_HELP),
]
ShapeOption = Annotated[str, typer.Option("--shape", help="Sizes for free dimensions, without the batch: 3,224,224.")]
ProtocolOption = Annotated[
    ProtocolChoice, typer.Option("--protocol", help="What the server speaks: KServe v2, TensorFlow Serving, any POST.")
]
AllowOption = Annotated[
    list[str] | None, typer.Option("--allow-target", help="HOST:PORT you may put load on; this machine always is.")
]
CapacityOption = Annotated[
    bool, typer.Option("--find-capacity", help="Search the highest load at which every SLO holds, from --rate on.")
]
MetricsOption = Annotated[
    str, typer.Option("--metrics-url", help="http://HOST:PORT/metrics of the same server, for what only they tell.")
]
WorkersOption = Annotated[int, typer.Option("--workers", min=1, max=64, help="Load processes on this machine.")]
ExpectOption = Annotated[
    int | None,
    typer.Option(
        "--expect-workers", min=1, max=1000, help="So many `servetune load-worker` of other machines instead."
    ),
]
BindOption = Annotated[
    str | None, typer.Option("--bind", help="HOST:PORT where they are awaited; default 127.0.0.1:5557.")
]
RunnerOption = Annotated[RunnerChoice, typer.Option("--runner", help="Which runner's.")]
NamespaceOption = Annotated[str, typer.Option("--namespace", help="kubernetes: where the studies run.")]
KubeconfigOption = Annotated[
    Path | None,
    typer.Option("--kubeconfig", envvar="KUBECONFIG", help="kubernetes: without it, the cluster we run in."),
]
ContextOption = Annotated[str, typer.Option("--context", help="kubernetes: instead of the file's current one.")]
MaxWaitOption = Annotated[str, typer.Option("--max-wait", help="How long to wait for the other side: 60s, 5m.")]


def _version(asked: bool) -> None:
    if asked:
        _say(f"servetune {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find the cheapest serving spec that meets your SLOs, and prove it."""


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("study.yaml"),
) -> None:
    """Write a commented study file to start from."""
    from tuner.commands import write_template

    _say(write_template(path))


@app.command()
def validate(study: Annotated[Path, typer.Argument(help="The study file.")]) -> None:
    """Check a study file: every problem at once, with its place."""
    from tuner.commands import describe
    from tuner.spec_file import load_spec

    _say(describe(load_spec(study)))


@app.command()
def plan(study: StudyArgument, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """Say what tuning would do and take; start nothing. Exit 8 if the budget is too small for one trial and a proof."""
    from tuner.assemble import preflight
    from tuner.commands import find_study, plan_text, price_warnings

    spec, history = find_study(study, storage)
    preflight(spec)
    _say("\n".join([plan_text(spec, history), *price_warnings(spec)]))


@app.command()
def tune(
    study: StudyArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    report: Annotated[Path | None, typer.Option("--report", help="Write the HTML report there, too.")] = None,
) -> None:
    """Search, then prove: ends with the cheapest spec that meets the SLOs. Run again to go on after an interruption."""
    from tuner.commands import find_study, refuse_report, render, tune_study, write_report

    if report is not None:
        refuse_report(report)
    spec, _ = find_study(study, storage)
    with orderly_stop():
        answer = tune_study(spec, storage, _stderr(), quiet=quiet, verbose=verbose)
    _say(render(answer, json=json))
    if report is not None:
        write_report(answer, report)
    raise typer.Exit(answer.exit_code)


@app.command()
def load(
    target: TargetOption,
    model: ModelOption = "",
    rate: RateOption = None,
    duration: DurationOption = "20s",
    warmup: WarmupOption = "2s",
    timeout: TimeoutOption = None,
    arrivals: ArrivalsOption = "poisson",
    trace: TraceOption = None,
    slo: SloOption = None,
    payload: PayloadOption = None,
    shape: ShapeOption = "",
    protocol: ProtocolOption = ProtocolChoice.KSERVE,
    allow_target: AllowOption = None,
    find_capacity: CapacityOption = False,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    workers: WorkersOption = 1,
    expect_workers: ExpectOption = None,
    bind: BindOption = None,
    max_wait: MaxWaitOption = "60s",
    metrics_url: MetricsOption = "",
    json: JsonOption = False,
) -> None:
    """Put open-loop load on a running server and judge it: exit 0 PASS (or no SLO), 3 FAIL, 4 UNDECIDED, 7 INVALID."""
    from tuner.load_request import LoadRequest, answer

    request = LoadRequest(
        target=target,
        model=model,
        rate_rps=rate,
        duration=duration,
        warmup=warmup,
        timeout=timeout,
        arrivals=arrivals,
        trace=trace,
        slos=tuple(slo or ()),
        payloads=tuple(payload or ()),
        shape=shape,
        protocol=protocol.value,
        allowed=tuple(allow_target or ()),
        capacity=find_capacity,
        seed=seed,
        workers=workers,
        expect_workers=expect_workers,
        bind=bind,
        max_wait=max_wait,
        metrics_url=metrics_url,
    )
    with orderly_stop("stopped; no more load is sent, and what was measured is not reported"):
        _say_and_exit(*answer(request, json=json))


@app.command("load-worker")
def load_worker(
    master: Annotated[str, typer.Option("--master", help="HOST:PORT that `servetune load --bind` awaits workers at.")],
    allow_target: AllowOption = None,
    max_wait: MaxWaitOption = "60s",
    stay: Annotated[bool, typer.Option("--stay", help="After a run wait for the next, for --max-wait.")] = False,
) -> None:
    """Send a share of the load of `servetune load --expect-workers` from this machine; exit 0 when it was handed over.

    Master and workers on different machines need the same secret in SERVETUNE_LOAD_SECRET.
    """
    from tuner.assemble import become_load_worker
    from tuner.load_options import duration_s

    become_load_worker(master=master, allowed=allow_target or (), max_wait_s=duration_s(max_wait), stay=stay)


@app.command()
def recommend(study: StudyArgument, storage: StorageOption = DEFAULT_STORAGE, json: JsonOption = False) -> None:
    """Print a study's answer as it stands; the exit code says what it rests on, as for tune."""
    from tuner.commands import explained_now, find_study, render

    answer = explained_now(*find_study(study, storage), storage)
    _say(render(answer, json=json))
    raise typer.Exit(answer.exit_code)


@app.command()
def status(
    study: Annotated[str | None, typer.Argument(help="A study file or name; without it, all studies.")] = None,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Show the trials of a study, or list the studies in the storage."""
    from tuner.commands import find_study, list_studies, status_text

    _say(list_studies(storage) if study is None else status_text(*find_study(study, storage)))


@app.command()
def report(
    study: StudyArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="FILE.html, FILE.md or FILE.csv.")] = Path(
        "report.html"
    ),
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Write a study as a self-contained HTML page, a Markdown summary, or a table of its trials."""
    from tuner.commands import explained_now, find_study, write_report

    _say(write_report(explained_now(*find_study(study, storage), storage), output))


@app.command()
def prices(study: StudyArgument, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """Show the prices a study buys at, with their dates and sources."""
    from tuner.commands import find_study, price_warnings, prices_text

    spec, _ = find_study(study, storage)
    _say("\n".join([prices_text(spec), *price_warnings(spec)]))


@catalogue.command("import")
def import_prices(
    file: Annotated[Path, typer.Argument(help="A vms.csv of the SkyPilot catalogue, or a file of the gpuhunt one.")],
    book: Annotated[Path, typer.Option("--book", help="Your price book: what cores and memory cost.")],
    region: Annotated[str, typer.Option("--region", help="Which region's offers.")],
    as_of: Annotated[datetime, typer.Option("--as-of", formats=["%Y-%m-%d"], help="The date of the list.")],
    term: Annotated[TermChoice, typer.Option("--term")] = TermChoice.ON_DEMAND,
) -> None:
    """Print price book rows for every GPU type of a public price list: check them, then append them to your book."""
    from tuner.commands import imported_prices

    _say(imported_prices(file, book, region=region, as_of=as_of.date(), term=term.value))


@app.command()
def schema() -> None:
    """Print the JSON Schema of study files."""
    from tuner.spec_schema import study_schema

    _say(study_schema())


@app.command()
def doctor(
    runner: RunnerOption = RunnerChoice.LOCAL,
    namespace: NamespaceOption = "",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """Check what a runner can do here: this machine, or a cluster. Exit 7 if something needed is missing."""
    from tuner.assemble import Place, access_manifest, check

    place = Place(runner=runner.value, namespace=namespace, kubeconfig=kubeconfig, context=context)
    findings = check(place)
    for finding in findings:
        mark = "ok" if finding.ok else "missing" if finding.needed else "note"
        _say(f"{mark:8s}{finding.what}: {finding.detail}")
    complete = all(finding.ok or not finding.needed for finding in findings)
    if not complete and runner is RunnerChoice.KUBERNETES:
        _say(access_manifest(place))
    raise typer.Exit(0 if complete else 7)


@app.command()
def clean(
    runner: RunnerOption = RunnerChoice.LOCAL,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List, remove nothing.")] = False,
    namespace: NamespaceOption = "",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """Remove what a crash left behind: servers, cgroups, temporary folders; in a cluster, trials past their expiry."""
    from tuner.assemble import Place, remove_leftovers

    place = Place(runner=runner.value, namespace=namespace, kubeconfig=kubeconfig, context=context)
    for line in remove_leftovers(place, dry_run=dry_run):
        _say(line)


def _say(text: str) -> None:
    """Print on stdout. A reader that has left is no error, and does not change the exit code; a full disk is one.

    Raises InfrastructureError.
    """
    try:
        typer.echo(text)
    except OSError as error:
        # Else the interpreter would try to write the rest once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise InfrastructureError(f"the answer cannot be printed: {error.strerror}") from error


def _say_and_exit(text: str, exit_code: int) -> NoReturn:
    _say(text)
    raise typer.Exit(exit_code)


def _stderr() -> Console:
    return Console(stderr=True)


def main() -> None:
    """The entry point: errors we know become one message and their exit code, never a traceback."""
    try:
        app()
    except TunerError as error:
        _stderr().print(Text(f"servetune: {error}" if error.exit_code != 2 else str(error)), soft_wrap=True)
        sys.exit(error.exit_code)
    except Interrupted as error:
        _stderr().print(Text(error.message), soft_wrap=True)
        sys.exit(error.exit_code)
    except Exception as error:
        if os.environ.get("SERVETUNE_DEBUG"):
            raise
        message = f"servetune has a bug: {type(error).__name__}: {error} (SERVETUNE_DEBUG=1 shows where)"
        _stderr().print(Text(message), soft_wrap=True)
        sys.exit(1)
