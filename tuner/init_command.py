"""`servetune init`: a study file to start from, a plain one or one for a Deployment that is already there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.assemble_cluster import read_existing
from tuner.commands import refuse_unwritable, write_text
from tuner.domain.errors import UsageError
from tuner.manifests.cluster.existing.service import ExistingService, existing_service
from tuner.place import Place
from tuner.prices import default_price_book, load_price_book
from tuner.spec_cluster_model import DIGEST_PATTERN
from tuner.spec_template import study_template
from tuner.study_from_cluster import StudySetup, gpu_name_of, study_text, template_text

_DEPLOYMENT = re.compile(r"(?:deploy|deployment|deployments)(?:\.apps)?/([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStart:
    """What `init --from-cluster` is told. Empty: not said."""

    deployment: str
    place: Place
    container: str = ""
    model: str = ""
    load_image: str = ""
    gpu_label: str = ""
    not_secret: Sequence[str] = ()


def write_template(path: Path) -> str:
    """Write a study file to start from, and the price book it names. Raises UsageError if either is there already."""
    refuse_unwritable(path)
    book = path.with_name("prices.csv")
    for wanted in (path, book):
        if wanted.exists():
            raise UsageError(f"{wanted} is there already", hint="name another file, in another folder")
    return "\n".join([write_text(path, study_template()), write_text(book, default_price_book())])


def init_from_cluster(path: Path, start: ClusterStart) -> str:
    """Write a study file, the template it starts from, and a price book where there is none; says what was written.

    Raises UsageError: nothing is written then. TransientFailure where the cluster does not answer.
    """
    named = _DEPLOYMENT.fullmatch(start.deployment)
    if named is None:
        raise UsageError(f"--from-cluster {start.deployment}: not understood", hint="deploy/NAME")
    if start.load_image and not re.fullmatch(DIGEST_PATTERN, start.load_image):
        raise UsageError(f"--load-image {start.load_image} is no image by digest", hint="NAME@sha256:...")
    template, book = path.with_name(f"{path.stem}.template.yaml"), path.with_name("prices.csv")
    for wanted in (path, template):
        refuse_unwritable(wanted)
        if wanted.exists():
            raise UsageError(f"{wanted} is there already", hint="name another file by --output")
    read, where = read_existing(start.place, named[1])
    service = existing_service(read, container=start.container, not_secret=start.not_secret, gpu_label=start.gpu_label)
    setup = StudySetup(
        template_file=template.name,
        model=start.model,
        load_image=start.load_image,
        where=f" of {where}",
        priced=_priced(book),
    )
    texts = [(template, template_text(service, setup)), (path, study_text(service, setup))]
    texts += [] if book.exists() else [(book, default_price_book())]
    said = [write_text(file, text) for file, text in texts]
    return "\n".join([*said, *_unpriced(service, setup, book)])


def _priced(book: Path) -> tuple[str, ...]:
    """The GPU types of the price book that the study will use. Raises UsageError, SpecError for a broken one."""
    if book.exists():
        prices = load_price_book(book, currency="USD", term="on_demand").prices
        return tuple(sorted({price.sku for price in prices if price.resource == "gpu"}))
    rows = [line.split(",") for line in default_price_book().splitlines() if line.startswith("gpu,")]
    return tuple(sorted({row[1] for row in rows}))


def _unpriced(service: ExistingService, setup: StudySetup, book: Path) -> list[str]:
    if service.gpu is None:
        return []
    name = gpu_name_of(service.gpu.label, setup.priced)
    if name in setup.priced:
        return []
    return [f"{book} has no price for a {name}: add one, for an unknown price is never 0"]
