import re

import pytest

from reports.figures import charts_of
from reports.study_report import study_report
from reports.svg_text import themed
from tests.builders import a_level, a_trial
from tests.studies import PROVENANCE, SLOS, a_long_history, a_proven_report, a_told_spec
from tuner.domain.trial import Failed, Measured

FRAME = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9">{}</svg>'


def drawn(svg: str, mark: str) -> int:
    """How many points one series of marks has."""
    return sum(block.count("<use ") for block in re.findall(rf'<g class="mark-{mark}">(.*?)</g></g>', svg))


@pytest.fixture(scope="module")
def svgs() -> dict[str, str]:
    return {chart.name: chart.svg for chart in charts_of(a_proven_report())}


def test_the_latency_figure_has_a_point_for_each_level_and_three_for_the_recommended(svgs: dict[str, str]):
    assert drawn(svgs["latency"], "too_slow") == 1
    assert drawn(svgs["latency"], "plausible") == 1
    assert [drawn(svgs["latency"], f"recommended-{name}") for name in ("p50", "p95", "p99")] == [4, 4, 4]
    assert svgs["latency"].count('class="mark-limit"') == 1


def test_the_cost_figure_has_a_mark_for_every_trial(svgs: dict[str, str]):
    found = {name: drawn(svgs["cost"], name) for name in ("passed", "plausible", "too_slow", "cannot_serve", "failed")}
    assert found == {"passed": 3, "plausible": 2, "too_slow": 1, "cannot_serve": 1, "failed": 1}
    assert drawn(svgs["cost"], "ring") == 4


def test_the_progress_figure_has_a_mark_for_every_trial_and_rings_for_proofs(svgs: dict[str, str]):
    names = ("passed", "plausible", "too_slow", "cannot_serve", "failed", "ring")
    assert [drawn(svgs["progress"], name) for name in names] == [3, 2, 1, 1, 1, 3]


def test_the_time_figure_has_three_bars_for_every_trial(svgs: dict[str, str]):
    assert [svgs["time"].count(f'class="mark-{part}"') for part in ("deploy", "load", "stop")] == [8, 8, 8]


def test_no_colour_is_left_in_a_drawing(svgs: dict[str, str]):
    for svg in svgs.values():
        assert not re.search(r"#[0-9a-f]{6}\b|rgb\(|style=", svg)


def test_ids_of_different_figures_never_meet(svgs: dict[str, str]):
    ids = [name for svg in svgs.values() for name in re.findall(r'\bid="([^"]+)"', svg)]
    assert len(ids) == len(set(ids))


def test_where_nothing_was_measured_only_progress_and_time_are_drawn():
    report = study_report(a_told_spec(), (a_trial(0, outcome=Failed(error="no")),), None, PROVENANCE)
    assert [chart.name for chart in charts_of(report)] == ["progress", "time"]


def test_infinite_latencies_are_drawn_on_a_line_of_their_own_and_told():
    trial = a_trial(0, outcome=Measured(levels=(a_level(1, requests=200, failed=200, slos=SLOS),)))
    chart = charts_of(study_report(a_told_spec(), (trial,), None, PROVENANCE))[0]
    assert 'class="mark-no-answer"' in chart.svg
    assert drawn(chart.svg, "too_slow") == 1
    assert "∞" in chart.description


def test_a_long_study_costs_few_bytes_a_trial():
    charts = charts_of(study_report(a_told_spec(), a_long_history(2000), None, PROVENANCE))
    assert sum(len(chart.svg) for chart in charts) < 800_000


def test_a_colour_without_a_theme_is_an_error():
    with pytest.raises(ValueError, match="#123456"):
        themed(FRAME.format('<path style="fill: #123456"/>'), name="x", title="", description="", colours={})


def test_title_and_description_are_escaped_and_come_first():
    svg = themed(FRAME.format("<g/>"), name="x", title="</svg><script>", description="a & b", colours={})
    assert svg.startswith('<svg viewBox="0 0 9 9" role="img" aria-labelledby="x-title x-desc" class="chart"><title id')
    assert "&lt;/svg&gt;&lt;script&gt;" in svg
    assert "a &amp; b" in svg


def test_only_what_is_referred_to_keeps_its_id():
    body = '<defs><path id="m1"/></defs><g id="mark-x"><use xlink:href="#m1"/></g><g id="axes" clip-path="url(#m1)"/>'
    svg = themed(FRAME.format(body), name="x", title="t", description="d", colours={})
    assert 'id="x-m1"' in svg
    assert 'href="#x-m1"' in svg
    assert 'clip-path="url(#x-m1)"' in svg
    assert '<g class="mark-x">' in svg
    assert "axes" not in svg
