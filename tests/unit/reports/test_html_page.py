import base64
import hashlib
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from reports.html_page import page
from reports.study_report import StudyReport, study_report
from tests.builders import a_level, a_trial
from tests.specs import a_price, space_of
from tests.studies import PROVENANCE, SLOS, a_long_history, a_proven_report, a_proven_study, a_told_spec, search_trials
from tests.unit.reports.pages import Page, read
from tuner.domain.deployment import ModelRef
from tuner.domain.recommendation import NothingFeasible, NoVerdict
from tuner.domain.trial import Failed, Infeasible, Measured, Outcome

ROOT = Path(__file__).parents[3]
# What may refer to something outside of the page, or bring code or style into it.
REFERRING = ("src", "href", "srcset", "data", "poster", "action", "formaction", "background", "xlink:href", "ping")


@pytest.fixture(scope="module")
def html() -> str:
    return page(a_proven_report())


def assert_closed(found: Page) -> None:
    """No request, no code, no style but the hashed one; every id once, every reference to an id of the page."""
    assert {tag for tag, _ in found.tags} & {
        "script",
        "link",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "img",
    } == set()
    for tag, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        for name in REFERRING:
            assert attributes.get(name, "#").startswith("#"), (tag, attributes)
    assert "http-equiv" not in {name for tag, one in found.tags if tag != "meta" for name in one}
    assert not re.search(r"url\(\s*['\"]?(?!#)|@import|@font-face", found.style)
    ids = found.attributes("id")
    assert len(ids) == len(set(ids))
    used = [value.removeprefix("#") for value in found.attributes("href")]
    used += [name for _, one in found.tags for value in one.values() for name in re.findall(r"url\(#([^)]+)\)", value)]
    used += [name for value in found.attributes("aria-labelledby") for name in value.split()]
    assert set(used) <= set(ids)


def test_the_page_refers_to_nothing_outside_itself(html: str):
    assert_closed(read(html))


def test_the_policy_forbids_everything_but_the_pages_own_style(html: str):
    found = read(html)
    policies = [one["content"] for tag, one in found.tags if one.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(found.style.encode()).digest()).decode()
    assert policies == [
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    ]


def test_the_first_screen_has_the_answer(html: str):
    text = read(html).text
    first = text[: text.index("Why not cheaper")]
    for part in (
        "Proven at 99 % confidence",
        "1 replica carries 90 requests per second for 0.1000 USD an hour",
        "cpu_cores2",
        "73.00 USD",
        "tested, 10 % headroom100 rps",
        "p99 ≤ 100 ms",
        "6,000",
    ):
        assert part in first


def test_every_figure_has_title_description_and_its_numbers(html: str):
    found = read(html)
    charts = [one for tag, one in found.tags if tag == "svg" and one.get("class") == "chart"]
    assert [one["aria-labelledby"] for one in charts] == [
        f"{name}-title {name}-desc" for name in ("latency", "cost", "progress", "time")
    ]
    assert all(one["role"] == "img" for one in charts)
    assert len(re.findall(r"<figure>.*?<title id=.*?<desc id=.*?<details>.*?<table>.*?</figure>", html, re.DOTALL)) == 4


def test_colours_come_from_the_style_sheet_so_that_dark_mode_works(html: str):
    found = read(html)
    assert "prefers-color-scheme: dark" in found.style
    colours = [one[name] for _, one in found.tags for name in ("fill", "stroke") if name in one]
    assert set(colours) == {"none"}
    classes = {name for value in found.attributes("class") for name in value.split() if name[:2] in ("f-", "s-")}
    assert classes <= set(re.findall(r"\.([fs]-[a-z]+) \{", found.style))


def test_print_opens_the_tables(html: str):
    assert "@media print" in html
    assert "details::details-content { content-visibility: visible" in html


def test_method_provenance_and_the_command_are_on_the_page(html: str):
    text = read(html).text
    for part in ("grid, seed 7", "f" * 64, "2026-11-01", "made up for tests", PROVENANCE.command, "a server 1.0"):
        assert part in text


def test_the_same_study_gives_the_same_bytes_in_another_process(html: str):
    code = (
        "import sys; from reports.html_page import page; from tests.studies import a_proven_report;"
        "sys.stdout.buffer.write(page(a_proven_report()).encode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT, env={"PYTHONHASHSEED": "77"}
    )
    assert done.stdout == html.encode()


HOSTILE = {
    "script": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "svg end": "</svg></style></title><script>alert(1)</script>",
    "attribute": '" onmouseover="alert(1)" x=\'',
    "math": "$x^2$ \\frac{a}{b} $$",
    "template": "{{ 7 * 7 }} {% raw %} {# x #}",
    "long": "n" * 10_000,
    "right to left": "שלום عالم \N{RIGHT-TO-LEFT OVERRIDE}abc",
    "emoji": "🦊👩‍🚀 名前",
    "control": "a\x00b\x1b[31mc\x08\ufffe",
}


def a_hostile_report(text: str, outcome: Outcome | None = None) -> StudyReport:
    """The text in every field that a user, a server or a price book fills."""
    spec = replace(
        a_told_spec(space=space_of(**{"cpu_cores": (1, 2), f"env.{text}": (text, "other")})),
        name=text,
        model=ModelRef(name=text, path="x.onnx", digest=text),
        fingerprint=text,
    )
    book = replace(spec.pricing.book, currency=text, prices=(replace(a_price(), source=text, as_of=text),))
    spec = replace(spec, pricing=replace(spec.pricing, book=book))
    knobs = {"cpu_cores": 1, f"env.{text}": text}
    broken = a_level(1, failed=20, slos=SLOS)
    level = replace(broken, measurement=replace(broken.measurement, first_error=text))
    measured = Measured(levels=(level,), facts=((text, text),))
    held = Measured(levels=(a_level(1, slos=SLOS),), facts=((text, text),))
    trials = (
        replace(a_trial(0, configuration=knobs, outcome=outcome or measured), started_at=text),
        a_trial(1, configuration=knobs | {"cpu_cores": 2}, outcome=held),
        a_trial(2, configuration=knobs, outcome=Infeasible(reason=text)),
        a_trial(3, configuration=knobs, outcome=Failed(error=text)),
    )
    provenance = replace(PROVENANCE, command=text, versions=((text, text),))
    return study_report(spec, trials, None, provenance)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_foreign_text_stays_text(text: str):
    html = page(a_hostile_report(text))
    found = read(html)
    assert_closed(found)
    assert "49" not in found.text.split()
    assert "\x00" not in html
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in html
    assert len(html) < 400_000


DEGENERATE: dict[str, tuple[Outcome | None, ...]] = {
    "none": (),
    "one": (None,),
    "one failed": (Failed(error="no"),),
    "all failed": (Failed(error="no"),) * 3,
    "all infeasible": (Infeasible(reason="no"),) * 3,
    "no level": (Measured(levels=()),),
    "infinite": (Measured(levels=(a_level(1, requests=200, failed=200, slos=SLOS),)),) * 2,
}


@pytest.mark.parametrize("outcomes", DEGENERATE.values(), ids=DEGENERATE.keys())
def test_degenerate_studies_have_a_page(outcomes: tuple[Outcome | None, ...]):
    trials = tuple(a_trial(number, outcome=outcome) for number, outcome in enumerate(outcomes))
    assert_sound(page(study_report(a_told_spec(), trials, None, PROVENANCE)))


@pytest.mark.parametrize("conclusion", [NoVerdict(reason="no"), NothingFeasible(reason="no", closest=None)], ids=repr)
def test_conclusions_without_a_candidate_have_a_page(conclusion: NoVerdict | NothingFeasible):
    trials = (a_trial(0, outcome=Failed(error="no")),)
    assert_sound(page(study_report(a_told_spec(), trials, conclusion, PROVENANCE)))


def assert_sound(html: str) -> None:
    found = read(html)
    assert_closed(found)
    assert "nan" not in found.text.lower().split()
    assert "None" not in found.text


def test_a_free_configuration_can_be_drawn():
    trials = tuple(a_trial(number, unit_cost_per_hour=number * 10.0) for number in range(3))
    assert_closed(read(page(study_report(a_told_spec(), trials, None, PROVENANCE))))


def test_two_hundred_trials_stay_under_a_megabyte_and_a_half():
    spec, _, conclusion = a_proven_study()
    html = page(study_report(spec, a_long_history(200), conclusion, PROVENANCE))
    assert len(html.encode()) < 1_500_000
    assert_closed(read(html))


def test_the_open_study_says_that_it_runs():
    assert "Still running" in read(page(study_report(a_told_spec(), search_trials(), None, PROVENANCE))).text
