"""argv -> one call -> text and an exit code. No logic here; heavy libraries load inside the commands that need them."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from tuner import __version__
from tuner.domain.errors import TunerError
from tuner.interruption import Interrupted, orderly_stop

app = typer.Typer(
    name="servetune",
    help="Find the cheapest serving spec that meets your SLOs, and prove it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)

StudyArgument = Annotated[str, typer.Argument(help="A study file, or the name of a study in the storage.")]
StorageOption = Annotated[
    str, typer.Option("--storage", envvar="SERVETUNE_STORAGE", help="Where studies are kept: sqlite:///FILE.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; the answer is always printed.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="A line for every phase of every trial.")]
DEFAULT_STORAGE = "sqlite:///servetune.db"


class RunnerChoice(StrEnum):
    """Runners that can leave something behind."""

    LOCAL = "local"


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"servetune {__version__}")
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

    typer.echo(write_template(path))


@app.command()
def validate(study: Annotated[Path, typer.Argument(help="The study file.")]) -> None:
    """Check a study file: every problem at once, with its place."""
    from tuner.commands import describe
    from tuner.spec_file import load_spec

    typer.echo(describe(load_spec(study)))


@app.command()
def plan(study: StudyArgument, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """Say what tuning would do and take; start nothing. Exit 8 if the budget is too small for one trial and a proof."""
    from tuner.assemble import preflight
    from tuner.commands import find_study, plan_text

    spec, history = find_study(study, storage)
    preflight(spec)
    typer.echo(plan_text(spec, history))


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
    from tuner.commands import find_study, render, tune_study, write_report

    spec, _ = find_study(study, storage)
    with orderly_stop():
        answer = tune_study(spec, storage, _stderr(), quiet=quiet, verbose=verbose)
    if report is not None:
        write_report(answer, report)
    typer.echo(render(answer, json=json))
    raise typer.Exit(answer.exit_code)


@app.command()
def recommend(study: StudyArgument, storage: StorageOption = DEFAULT_STORAGE, json: JsonOption = False) -> None:
    """Print a study's answer as it stands; the exit code says what it rests on, as for tune."""
    from tuner.commands import answer_now, find_study, render

    answer = answer_now(*find_study(study, storage))
    typer.echo(render(answer, json=json))
    raise typer.Exit(answer.exit_code)


@app.command()
def status(
    study: Annotated[str | None, typer.Argument(help="A study file or name; without it, all studies.")] = None,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Show the trials of a study, or list the studies in the storage."""
    from tuner.commands import find_study, list_studies, status_text

    typer.echo(list_studies(storage) if study is None else status_text(*find_study(study, storage)))


@app.command()
def report(
    study: StudyArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="FILE.html, FILE.md or FILE.csv.")] = Path(
        "report.html"
    ),
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Write a study as a self-contained HTML page, a Markdown summary, or a table of its trials."""
    from tuner.commands import answer_now, find_study, write_report

    typer.echo(write_report(answer_now(*find_study(study, storage)), output))


@app.command()
def prices(study: StudyArgument, storage: StorageOption = DEFAULT_STORAGE) -> None:
    """Show the prices a study buys at, with their dates and sources."""
    from tuner.commands import find_study, prices_text

    typer.echo(prices_text(find_study(study, storage)[0]))


@app.command()
def schema() -> None:
    """Print the JSON Schema of study files."""
    from tuner.spec_schema import study_schema

    typer.echo(study_schema())


@app.command()
def doctor() -> None:
    """Check what this machine can do for the local runner. Exit 7 if something needed is missing."""
    from tuner.assemble import check_machine

    findings = check_machine()
    for finding in findings:
        mark = "ok" if finding.ok else "missing" if finding.needed else "note"
        typer.echo(f"{mark:8s}{finding.what}: {finding.detail}")
    raise typer.Exit(0 if all(finding.ok or not finding.needed for finding in findings) else 7)


@app.command()
def clean(
    runner: Annotated[RunnerChoice, typer.Option("--runner", help="Whose leftovers.")] = RunnerChoice.LOCAL,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List, remove nothing.")] = False,
) -> None:
    """Remove what a crash left behind: servers, cgroups, temporary folders."""
    from tuner.assemble import remove_leftovers

    for line in remove_leftovers(runner.value, dry_run=dry_run):
        typer.echo(line)


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
        _stderr().print(Text("stopped; the same command goes on from here"), soft_wrap=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if os.environ.get("SERVETUNE_DEBUG"):
            raise
        message = f"servetune has a bug: {type(error).__name__}: {error} (SERVETUNE_DEBUG=1 shows where)"
        _stderr().print(Text(message), soft_wrap=True)
        sys.exit(1)
