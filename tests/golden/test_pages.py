"""The whole text of a page and of a summary, as committed.

Geometry is scrubbed, because it follows the drawing library's version; what is drawn is counted in its place. So is the
style sheet with its hash. `UPDATE_GOLDEN=1` writes the files anew: read the difference before committing it.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pytest

from reports.html_page import page
from reports.markdown_summary import summary
from reports.study_report import study_report
from tests.studies import PROVENANCE, a_proven_report, a_told_spec, search_trials

FOLDER = Path(__file__).parent / "pages"


def scrubbed(html: str) -> str:
    html = re.sub(r"<style>.*?</style>", "<style/>", html, flags=re.DOTALL)
    html = re.sub(r"sha256-[A-Za-z0-9+/=]+", "sha256-...", html)
    return re.sub(r'<svg [^>]*class="chart">.*?</svg>', _drawing, html, flags=re.DOTALL)


def _drawing(match: re.Match[str]) -> str:
    """Title, description, labels in words, and how many elements each series of marks has."""
    svg = match[0]
    words = re.findall(r"<(title|desc) [^>]*>(.*?)</", svg)
    series = Counter(re.findall(r'class="[^"]*(mark-[a-z0-9_-]+)', svg))
    labels = [text for text in re.findall(r"<text [^>]*>(.*?)</text>", svg) if not re.fullmatch(r"[\d.,]*", text)]
    lines = [f"{tag}: {text}" for tag, text in words] + [f"{name} x{n}" for name, n in sorted(series.items())]
    return "\n".join(["[drawing]", *lines, f"labels: {', '.join(labels)}", "[end]"])


PAGES = {
    "proven.html": lambda: scrubbed(page(a_proven_report())),
    "running.html": lambda: scrubbed(page(study_report(a_told_spec(), search_trials(), None, PROVENANCE))),
    "proven.md": lambda: summary(a_proven_report()),
}


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_as_committed(name: str, tmp_path: Path):
    golden, actual = FOLDER / name, PAGES[name]()
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(actual, encoding="utf-8")
    (tmp_path / name).write_text(actual, encoding="utf-8")
    assert actual == golden.read_text(encoding="utf-8"), f"compare {golden} with {tmp_path / name}"
