"""argv -> one call -> text and an exit code. No logic here; heavy libraries load inside the commands that need them."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from tuner import __version__
from tuner.cli_export import diff, export
from tuner.cli_gate import baseline, gate
from tuner.cli_init import init
from tuner.cli_options import (
    DEFAULT_STORAGE,
    AllowOption,
    ArrivalsOption,
    BindOption,
    CapacityOption,
    CheckedRunnerOption,
    CheckedStudyArgument,
    ContextOption,
    DurationOption,
    ExpectOption,
    JsonOption,
    KubeconfigOption,
    LeaseOption,
    MaxWaitOption,
    MetricsOption,
    ModelOption,
    NamespaceOption,
    PayloadOption,
    ProtocolChoice,
    ProtocolOption,
    PullImageOption,
    QuietOption,
    RateOption,
    RunnerChoice,
    RunnerOption,
    SchemaChoice,
    ShapeOption,
    SloOption,
    StorageOption,
    StudyArgument,
    TargetOption,
    TermChoice,
    TimeoutOption,
    TraceOption,
    VerboseOption,
    WarmupOption,
    WorkersOption,
)
from tuner.cli_output import say, say_and_exit, stderr
from tuner.cli_plan import plan
from tuner.domain.errors import TunerError
from tuner.interruption import Interrupted, orderly_stop

app = typer.Typer(
    name="servetune",
    help="Find the cheapest serving spec that meets your SLOs, and prove it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)

catalogue = typer.Typer(help="GPU prices from public price lists.", no_args_is_help=True)
app.add_typer(catalogue, name="catalogue")


def _version(asked: bool) -> None:
    if asked:
        say(f"servetune {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find the cheapest serving spec that meets your SLOs, and prove it."""


app.command()(init)


@app.command()
def validate(study: Annotated[Path, typer.Argument(help="The study file.")]) -> None:
    """Check a study file: every problem at once, with its place."""
    from tuner.commands import describe
    from tuner.spec_file import load_spec

    say(describe(load_spec(study)))


app.command()(plan)


@app.command()
def tune(
    study: StudyArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    report: Annotated[Path | None, typer.Option("--report", help="Write the HTML report there, too.")] = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
    lease: LeaseOption = "15s",
) -> None:
    """Search, then prove: ends with the cheapest spec that meets the SLOs. Run again to go on after an interruption."""
    from tuner.commands import find_study, refuse_report, render, tune_study, write_report
    from tuner.load_options import duration_s
    from tuner.place import ClusterAccess

    if report is not None:
        refuse_report(report)
    spec, _ = find_study(study, storage)
    with orderly_stop():
        access = ClusterAccess(kubeconfig=kubeconfig, context=context)
        lease_s = duration_s(lease)
        answer = tune_study(spec, storage, stderr(), access=access, quiet=quiet, verbose=verbose, lease_s=lease_s)
    say(render(answer, json=json))
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
        say_and_exit(*answer(request, json=json))


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
    say(render(answer, json=json))
    raise typer.Exit(answer.exit_code)


@app.command()
def status(
    study: Annotated[str | None, typer.Argument(help="A study file or name; without it, all studies.")] = None,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Show the trials of a study, or list the studies in the storage."""
    from tuner.commands import find_study, list_studies, status_text

    say(list_studies(storage) if study is None else status_text(*find_study(study, storage)))


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

    say(write_report(explained_now(*find_study(study, storage), storage), output))


app.command()(export)
app.command()(diff)
app.add_typer(baseline, name="baseline")
app.command()(gate)


@app.command()
def prices(study: StudyArgument, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """Show the prices a study buys at, with their dates and sources."""
    from tuner.commands import find_study, price_warnings, prices_text

    spec, _ = find_study(study, storage)
    say("\n".join([prices_text(spec), *price_warnings(spec)]))


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

    say(imported_prices(file, book, region=region, as_of=as_of.date(), term=term.value))


@app.command()
def schema(
    of: Annotated[SchemaChoice, typer.Argument(help="Of which files.")] = SchemaChoice.STUDY,
) -> None:
    """Print the JSON Schema of study files, of lock files, or of what the gate finds."""
    from tuner.commands import schema_of

    say(schema_of(of.value))


@app.command()
def doctor(
    study: CheckedStudyArgument = None,
    runner: CheckedRunnerOption = None,
    namespace: NamespaceOption = "",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
    pull_image: PullImageOption = False,
) -> None:
    """Check what a runner finds here: on this machine, or in a cluster, also for one study. Exit 7 if something needed
    is missing.
    """
    from tuner.assemble import check
    from tuner.assemble_cluster import access_manifest
    from tuner.doctor_command import finding_line, place_to_check
    from tuner.manifests.cluster.access import APPLY_ROLE
    from tuner.place import ClusterAccess

    access = ClusterAccess(kubeconfig=kubeconfig, context=context)
    asked = runner.value if runner else ""
    place = place_to_check(study, runner=asked, namespace=namespace, access=access, pull_image=pull_image)
    complete, needs_role = True, False
    for finding in check(place):
        say(finding_line(finding))
        complete = complete and not (finding.ok is False and finding.needed)
        needs_role = needs_role or finding.remedy == APPLY_ROLE
    if needs_role:
        say(f"\n{access_manifest(place)}")
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
    from tuner.assemble import remove_leftovers
    from tuner.place import ClusterAccess, Place

    access = ClusterAccess(kubeconfig=kubeconfig, context=context)
    place = Place(runner=runner.value, namespace=namespace, access=access)
    for line in remove_leftovers(place, dry_run=dry_run):
        say(line)


def main() -> None:
    """The entry point: errors we know become one message and their exit code, never a traceback."""
    try:
        app()
    except TunerError as error:
        stderr().print(Text(f"servetune: {error}" if error.exit_code != 2 else str(error)), soft_wrap=True)
        sys.exit(error.exit_code)
    except Interrupted as error:
        stderr().print(Text(error.message), soft_wrap=True)
        sys.exit(error.exit_code)
    except Exception as error:
        if os.environ.get("SERVETUNE_DEBUG"):
            raise
        message = f"servetune has a bug: {type(error).__name__}: {error} (SERVETUNE_DEBUG=1 shows where)"
        stderr().print(Text(message), soft_wrap=True)
        sys.exit(1)
