"""The only importer of jinja2: a StudyReport in, one self-contained page out."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.figures import charts_of
from reports.study_report import StudyReport


def page(report: StudyReport) -> str:
    """One HTML file without scripts, style attributes, or a single network request; same report, same bytes."""
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style = files("reports").joinpath("templates", "style.css").read_text(encoding="utf-8")
    return environment.get_template("page.html.j2").render(
        report=report,
        charts=charts_of(report),
        style=Markup(style),  # noqa: S704 - our own file
        content_security_policy=content_security_policy(style),
    )


def content_security_policy(style: str) -> str:
    """Nothing may be fetched or run; the one style sheet is allowed by its hash."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
