"""The command `servetune plan`: its options, and one call."""

from __future__ import annotations

from tuner.cli_options import (
    DEFAULT_STORAGE,
    ControllerOption,
    ManifestsOption,
    SetOption,
    StorageClaimOption,
    StorageOption,
    StorageSecretOption,
    StudyArgument,
)
from tuner.cli_output import say


def plan(
    study: StudyArgument,
    storage: StorageOption = DEFAULT_STORAGE,
    manifests: ManifestsOption = "",
    settings: SetOption = None,
    controller: ControllerOption = "",
    storage_secret: StorageSecretOption = "",
    storage_claim: StorageClaimOption = "",
) -> None:
    """Say what tuning would do and take; start nothing. Exit 8 if the budget is too small for one trial and a proof."""
    from tuner.assemble import preflight
    from tuner.commands import find_study, plan_text, price_warnings
    from tuner.controller_command import ControllerRequest
    from tuner.plan_command import print_controller, print_manifests

    spec, history = find_study(study, storage)
    preflight(spec)
    if controller or storage_secret or storage_claim:
        request = ControllerRequest(image=controller, storage_secret=storage_secret, storage_claim=storage_claim)
        say(print_controller(spec, study, manifests, request))
    elif manifests or settings:
        say(print_manifests(spec, manifests, settings or ()))
    else:
        say("\n".join([plan_text(spec, history), *price_warnings(spec)]))
