import pytest

from reports.markdown_summary import escaped, summary
from reports.study_report import study_report
from tests.studies import PROVENANCE, a_proven_report, a_told_spec, search_trials
from tests.unit.reports.test_html_page import HOSTILE, a_hostile_report
from tuner.domain.recommendation import NoVerdict


def test_the_summary_has_answer_evidence_and_why_not_cheaper():
    text = summary(a_proven_report())
    assert text.startswith("## fake: 1 replica carries 90 requests per second for 0.1000 USD an hour\n")
    assert "**Proven at 99 % confidence.** Rests on 3 fresh deployments, 6,000 requests" in text
    assert "| cpu\\_cores | 2 |" in text
    assert "| cost per month of 730 h | 73.00 USD |" in text
    assert "- p99 ≤ 100 ms: pass, 0 of 6,000 broke it (1 % allowed, design effect 1.0)" in text
    assert "cannot serve; out of memory" in text
    assert text.count("\n") < 40


def test_a_running_study_and_one_without_a_verdict_have_a_summary():
    assert "**Still running.**" in summary(study_report(a_told_spec(), search_trials(), None, PROVENANCE))
    empty = study_report(a_told_spec(), (), NoVerdict(reason="no trial was measured"), PROVENANCE)
    assert (
        summary(empty)
        == "## fake: There is nothing to recommend\n\n**No verdict.** No trial was measured.\n\nNo trial yet.\n"
    )


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_foreign_text_cannot_format_the_summary(text: str):
    shown = summary(a_hostile_report(text))
    assert "<script" not in shown.replace("\\<", "")
    assert shown.count("\n") < 60
    assert all(line.count("|") - line.count("\\|") == 3 for line in shown.splitlines() if line.startswith("| "))


def test_nobody_is_mentioned_and_no_issue_is_linked():
    assert "@team" not in escaped("ask @team about #12")
    assert "#12" not in escaped("ask @team about #12")


def test_one_line_stays_one_line():
    assert escaped("a\n# b\r\n- c") == f"a #{chr(0x200B)} b - c"
