"""`servetune gate` and `servetune baseline`: registered by `tuner.cli`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tuner.cli_options import (
    DEFAULT_STORAGE,
    ContextOption,
    JsonOption,
    KubeconfigOption,
    QuietOption,
    StorageOption,
    StudyArgument,
)
from tuner.cli_output import say, say_and_exit, stderr
from tuner.interruption import orderly_stop
from tuner.place import ClusterAccess

LOCK_NAME = "serving-baseline.lock.json"
LockOption = Annotated[Path, typer.Option("--lock", help="The lock file.")]
baseline = typer.Typer(help="The lock file that releases are compared with.", no_args_is_help=True)


class OnInconclusiveChoice(StrEnum):
    """What an open question means to the build."""

    FAIL = "fail"
    WARN = "warn"


CheckOption = Annotated[bool, typer.Option("--check", help="Seconds: recompute limits and cost, send no load.")]
VerifyOption = Annotated[bool, typer.Option("--verify", help="Minutes: measure deployed and candidate by turns.")]
RetuneOption = Annotated[bool, typer.Option("--retune", help="Hours: the whole study anew, warm-started.")]
DeployedOption = Annotated[
    Path | None, typer.Option("--deployed", help="verify: the study file of the deployed revision.")
]
MaxDurationOption = Annotated[
    str | None, typer.Option("--max-duration", help="At most so long; verify: 20m, retune: what the study allows.")
]
MaxCostOption = Annotated[float | None, typer.Option("--max-cost", help="At most so much money for servers.")]
OnInconclusiveOption = Annotated[
    OnInconclusiveChoice, typer.Option("--on-inconclusive", help="warn: exit 0 instead of 4.")
]
AcceptOption = Annotated[
    list[str] | None, typer.Option("--accept", help="verify: a fingerprint field that may differ: machine.")
]
CacheDirOption = Annotated[
    Path | None, typer.Option("--cache-dir", help="verify: keep measured pairs there, and use them again.")
]
CacheAgeOption = Annotated[str, typer.Option("--cache-age", help="Older pairs are measured anew: 12h.")]
NoCacheOption = Annotated[bool, typer.Option("--no-cache", help="Measure everything, keep nothing.")]
ProposeOption = Annotated[
    Path | None, typer.Option("--propose", help="retune: where the proposed lock file is written.")
]
GateJsonOption = Annotated[Path | None, typer.Option("--gate-json", help="Write gate.json there.")]
JunitOption = Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML there.")]
MarkdownOption = Annotated[Path | None, typer.Option("--markdown", help="Write a pull-request comment there.")]
OpenMetricsOption = Annotated[Path | None, typer.Option("--openmetrics", help="Write a GitLab metrics report.")]
GithubOption = Annotated[bool, typer.Option("--github", help="Step summary and annotations of GitHub Actions.")]


@baseline.command("update")
def update(
    study: StudyArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why it changes; kept in the file.")],
    lock: LockOption = Path(LOCK_NAME),
    storage: StorageOption = DEFAULT_STORAGE,
    rule: Annotated[
        list[str] | None, typer.Option("--set", help="METRIC=off|warn|error[:MARGIN]: latency_p99_ms=error:0.15.")
    ] = None,
    waive: Annotated[
        list[str] | None, typer.Option("--waive", help="METRIC=LIMIT for now, with --owner and --expires.")
    ] = None,
    owner: Annotated[str, typer.Option("--owner", help="Who answers for the waivers.")] = "",
    expires: Annotated[
        datetime | None, typer.Option("--expires", formats=["%Y-%m-%d"], help="The waivers' last day.")
    ] = None,
    max_hourly_cost: Annotated[
        float | None, typer.Option("--max-hourly-cost", help="More than this fails the gate.")
    ] = None,
) -> None:
    """Write the lock file of a study's proven answer. Rules, waivers and the cost limit of the old one stay."""
    from tuner.baseline_command import LockOrder, update_baseline

    order = LockOrder(
        path=lock,
        reason=reason,
        rules=tuple(rule or ()),
        waivers=tuple(waive or ()),
        owner=owner,
        expires=expires.date() if expires else None,
        max_hourly_cost=max_hourly_cost,
    )
    say_and_exit(*update_baseline(study, storage, order))


@baseline.command("show")
def show(lock: LockOption = Path(LOCK_NAME)) -> None:
    """Check a lock file and show it; exit 6 if it cannot be used."""
    from tuner.baseline_command import show_baseline

    say(show_baseline(lock))


def gate(
    study: StudyArgument,
    check: CheckOption = False,
    verify: VerifyOption = False,
    retune: RetuneOption = False,
    lock: LockOption = Path(LOCK_NAME),
    deployed: DeployedOption = None,
    max_duration: MaxDurationOption = None,
    max_cost: MaxCostOption = None,
    on_inconclusive: OnInconclusiveOption = OnInconclusiveChoice.FAIL,
    accept: AcceptOption = None,
    cache_dir: CacheDirOption = None,
    cache_age: CacheAgeOption = "336h",
    no_cache: NoCacheOption = False,
    propose: ProposeOption = None,
    gate_json: GateJsonOption = None,
    junit: JunitOption = None,
    markdown: MarkdownOption = None,
    openmetrics: OpenMetricsOption = None,
    github: GithubOption = False,
    storage: StorageOption = DEFAULT_STORAGE,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Compare with the lock file: exit 0 passed, 3 failed, 4 inconclusive, 5 nothing feasible, 6 lock file, 7, 8."""
    from tuner.gate_command import run_gate
    from tuner.gate_order import GateWords, gate_order
    from tuner.gate_outputs import GateFiles, gate_text, refuse_files, write_files

    files = GateFiles(gate_json=gate_json, junit=junit, markdown=markdown, openmetrics=openmetrics, github=github)
    refuse_files(files)
    modes = [name for name, asked in (("check", check), ("verify", verify), ("retune", retune)) if asked]
    words = GateWords(
        modes=modes, max_duration=max_duration, cache_age=cache_age, on_inconclusive=on_inconclusive.value
    )
    access = ClusterAccess(kubeconfig=kubeconfig, context=context)
    order = gate_order(
        study, words, lock=lock, storage=storage, deployed=deployed, max_cost=max_cost, accepted=accept or (),
        cache_dir=None if no_cache else cache_dir, propose=propose, access=access,
    )  # fmt: skip
    with orderly_stop("stopped; servers are taken down, and the gate has no verdict"):
        result = run_gate(order, stderr(), quiet=quiet)
    write_files(files, result)
    say_and_exit(gate_text(result, json=json), result.exit_code)
