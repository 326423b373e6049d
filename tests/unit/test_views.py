"""The views of a cycle: figures, tables and the one screen."""

import base64
import io
import re
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import view_samples as samples
from bs4 import BeautifulSoup
from rich.console import Console

from node0lib.canary.walk import Walked
from node0lib.cycle import Decision, Series
from node0lib.gates import Gates
from node0lib.optimize.estimate import Estimate
from node0lib.sli.series import Counts
from node0lib.slo.budget import status
from node0lib.slo.catalogue import Alerting, BudgetPolicy
from node0lib.views import burndown, figures, headlines, tables, words
from node0lib.views.display import Display
from node0lib.views.screen import lines, screen

FILES = {
    "audit report": "reports/20261124T120000Z.audit.html",
    "investor report": "reports/20261124T120000Z.investor.html",
    "attestation": "evidence/poi-attestations/20261124T120000Z-7f3a.json",
    "provenance": "evidence/slsa-provenance/20261124T120000Z-7f3a.dsse.json",
    "sbom": "evidence/sbom/20261124T120000Z-7f3a.cdx.json",
}
KINDS: tuple[Any, ...] = tuple(words.KINDS)


def every_figure() -> list[Display]:
    seen = samples.statuses()
    return [
        figures.budgets_left(seen, BudgetPolicy()),
        figures.burn_rates(seen, Alerting()),
        burndown.burn_down(samples.given(), samples.SLOS[0]),
        figures.improvement(samples.proposal()),
        figures.canary(samples.rollout()),
    ]


def svg(figure: Display) -> str:
    found = re.search(r"base64,([^\"]+)", figure.html)
    assert found
    return base64.b64decode(found[1]).decode("utf-8")


def test_figures_are_the_same_bytes_for_the_same_numbers() -> None:
    """A figure drawn twice is the same value, so a stored notebook can be compared."""
    assert every_figure() == every_figure()


def test_figures_carry_no_date_and_no_version() -> None:
    """An SVG says neither when nor by which version it was drawn."""
    for figure in every_figure():
        assert "<dc:date>" not in svg(figure)
        assert "matplotlib v" not in svg(figure).lower()


def test_every_figure_has_a_caption_and_an_alternative_text_with_numbers() -> None:
    """Each picture is described in words that state its numbers, and the plain text is that description."""
    for figure in every_figure():
        page = BeautifulSoup(figure.html, "html.parser")
        assert page.figure and page.img and page.figcaption
        assert re.search(r"\d", str(page.img["alt"]))
        assert page.img["alt"] == figure._repr_mimebundle_()["text/plain"] == repr(figure)
        assert figure._repr_html_() == figure.html


def test_figures_use_no_pyplot() -> None:
    """Drawing leaves no global state behind: pyplot is never imported."""
    code = "import node0lib.views.figures, node0lib.views.burndown, sys; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_screen_is_light() -> None:
    """The screen can be shown without importing matplotlib or nbconvert."""
    code = "import node0lib.views.screen, sys; print({'matplotlib', 'nbconvert'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_budget_figure_states_overspending_and_missing_data() -> None:
    """A budget below zero keeps its number, and a budget nobody knows is not drawn as zero."""
    text = figures.budgets_left(samples.statuses(), BudgetPolicy()).text
    assert "mcp_tools_availability -30.0%, breached" in text
    assert "agent_coordination_latency no data" in text
    assert "25%" in text and "50%" in text


def test_the_burn_figure_knows_the_alert_factors_and_a_broken_invariant() -> None:
    """The factors are derived from the alert pairs; an infinite burn is said to be infinite."""
    broken = status(samples.SLOS[-1], {timedelta(hours=1): Counts(1, 2, 1), timedelta(days=30): Counts(1, 2, 1)},
                    BudgetPolicy())  # fmt: skip
    text = figures.burn_rates((*samples.statuses(), broken), Alerting()).text
    assert "14.4 (critical)" in text and "6 (warning)" in text
    assert "ihsan_compliance 1h inf" in text


@pytest.mark.parametrize("figure", [
    figures.budgets_left((), BudgetPolicy()),
    figures.burn_rates((), Alerting()),
    figures.improvement(None),
    figures.canary(None),
    figures.canary(Walked((), "rolled_back", ("telemetry is lost",), 0)),
    burndown.burn_down(samples.given(), samples.SLOS[1]),
    burndown.burn_down(samples.given(), samples.SLOS[3]),
    burndown.burn_down(samples.given(), samples.SLOS[-1]),
])  # fmt: skip
def test_what_cannot_be_drawn_says_why(figure: Display) -> None:
    """Without data there is a sentence and no empty picture."""
    assert "<img" not in figure.html
    assert figure.text.endswith(".")
    assert len(figure.text) > 10


def test_an_estimate_that_is_not_shown_says_so() -> None:
    """The figure and the table of an interval that includes 0 both say that nothing is shown."""
    weak = samples.proposal(-0.01)
    assert "nothing is shown" in figures.improvement(weak).text
    assert "not shown by the data" in tables.proposal(samples.LIVE, weak, None).text


def test_an_estimate_without_spread_can_be_drawn() -> None:
    """An interval of no width, at 0, is drawn and does not fail."""
    flat = replace(samples.proposal(), estimate=Estimate(0.0, 0.0, 0.0, 0.0, 2))
    assert "0.0%" in figures.improvement(flat).text


def test_an_unbounded_harm_is_not_drawn_as_bounded() -> None:
    """A canary interval without an upper end says so."""
    assert "no upper bound" in figures.canary(samples.rollout()).text


def test_the_burn_down_ends_at_the_budget_left_and_shows_gaps() -> None:
    """The last point is the window's budget left, and unobserved time is said to be unobserved."""
    figure = burndown.burn_down(samples.given(), samples.SLOS[0])
    series = samples.given().series["api_availability"]
    bad = sum(t - g for t, g in zip(series.total, series.good, strict=True) if t is not None and g is not None)
    events = sum(t for t in series.total if t is not None)
    assert words.percent(1 - bad / (0.001 * events)) in figure.text
    assert "3.3% of the window was not observed" in figure.text
    assert "no gaps" in burndown.burn_down(samples.given(gap=False), samples.SLOS[0]).text


def test_the_burn_down_of_a_budget_far_overspent_is_drawn() -> None:
    """A budget of minus many hundred percent keeps its number, and the page its size."""
    seen = samples.given()
    series = Series(seen.at - timedelta(days=30), timedelta(days=15), (5.0, 0.0), (10.0, 10.0))
    assert "-74900.0% left now" in burndown.burn_down(
        replace(seen, series={"api_availability": series}), samples.SLOS[0]
    ).html


def test_the_tightest_budget_is_the_one_drawn() -> None:
    """Of the SLOs whose series was read, the one with the least budget left is drawn; without any, that is said."""
    seen = samples.given()
    other = replace(seen.series["api_availability"])
    both = replace(seen, series={**seen.series, "mcp_tools_availability": other})
    assert "of mcp_tools_availability" in burndown.tightest(both, samples.statuses(), samples.CATALOGUE).text
    assert "of api_availability" in burndown.tightest(seen, samples.statuses(), samples.CATALOGUE).text
    assert "No budget" in burndown.tightest(replace(seen, series={}), samples.statuses(), samples.CATALOGUE).text


def test_the_burn_down_never_rises() -> None:
    """A budget that is spent does not come back within its window."""
    total = np.array([10.0, np.nan, 10.0, 0.0, 10.0])
    left = burndown.remaining(total - np.array([1, 0, 0, 0, 2]), total, 0.5)
    assert (np.diff(left[np.isfinite(left)]) <= 0).all()
    assert left[-1] == pytest.approx(1 - 3 / (0.5 * 30))


def test_the_burn_down_of_gaps_at_both_ends_and_single_buckets_is_drawn() -> None:
    """A series that begins and ends unobserved, and one of a single bucket, are drawn."""
    for total in ((None, 5.0, None, 4.0, None), (5.0,)):
        good = tuple(None if t is None else t - 1 for t in total)
        seen = samples.given()
        series = Series(seen.at - timedelta(days=30), timedelta(days=30) / len(total), good, total)
        figure = burndown.burn_down(replace(seen, series={"api_availability": series}), samples.SLOS[0])
        assert "<img" in figure.html


def every_table() -> list[Display]:
    return [
        tables.given(samples.given()),
        tables.statuses(samples.statuses()),
        tables.ihsan(samples.IHSAN),
        tables.gates(samples.CLOSED),
        tables.rollout(samples.rollout()),
    ]


def test_tables_head_their_columns_and_rows_and_read_well_as_text() -> None:
    """A table has a caption, heads with a scope, and a text in aligned columns without trailing blanks."""
    for shown in every_table():
        page = BeautifulSoup(shown.html, "html.parser")
        assert page.caption and page.find("th", scope="col") and page.find("th", scope="row")
        assert all(line == line.rstrip() for line in shown.text.splitlines())
        assert len(shown.text.splitlines()) == 1 + len(page.find_all("tr"))


def test_tables_escape_what_they_are_told() -> None:
    """Markup in a reason is text and nothing else."""
    hostile = "<script>alert(1)</script>"
    for shown in (
        tables.decision(Decision("held", (hostile,), {})),
        tables.table(hostile, (tables.Column(hostile), tables.Column("b")), [(hostile, hostile)]),
        figures.picture(lambda page: None, height=1, alt=f'"{hostile}', caption=hostile),
    ):
        assert "<script" not in shown.html
        assert BeautifulSoup(shown.html, "html.parser").find("script") is None


def test_missing_values_are_dashes() -> None:
    """What was not measured is a dash; it is never 0 and never 100%."""
    row = next(line for line in tables.statuses(samples.statuses()).text.splitlines() if "coordination" in line)
    assert row.split() == ["agent_coordination_latency", "no", "data", "90%", *"-----", "1h", "0%"]


def test_the_proposal_names_only_the_knobs_that_change() -> None:
    """Live value and candidate stand side by side; a knob that stays is not listed."""
    text = tables.proposal(samples.LIVE, samples.proposal(), samples.result().classified).text
    assert "cache_ttl_s" in text and "180" in text
    assert "batch_size" not in text
    assert "M: retry is a class M change" in text
    assert ">99.9%" not in text and "confidence 99.9%" in text


def test_nothing_to_tell_is_told() -> None:
    """Without a proposal or a rollout the tables say that there was none, and whether a gate is the reason."""
    assert "nothing better" in tables.proposal({}, None, None).text
    assert "nothing better" in tables.proposal({}, None, None, samples.GATES).text
    assert "a gate is closed" in tables.proposal({}, None, None, samples.CLOSED).text
    assert "No rollout" in tables.rollout(None).text


@pytest.mark.parametrize(("value", "text"), [
    (None, "-"), (float("nan"), "-"), (0.0, "0.00"), (0.001, "<0.01"), (14.4, "14.4"), (1234.5, "1234"),
    (float("inf"), "inf"),
])  # fmt: skip
def test_rates_in_words(value: float | None, text: str) -> None:
    """A burn rate keeps about three figures; a tiny one is not shown as 0."""
    assert words.rate(value) == text


def test_percent_has_no_negative_zero() -> None:
    """A share just below 0 that rounds to 0 has no sign, a real negative keeps it."""
    assert (words.percent(-0.0001), words.percent(-0.3), words.percent(float("-inf"))) == ("0.0%", "-30.0%", "-inf%")


@pytest.mark.parametrize(("share", "text"), [
    (1.0, "100.0%"), (0.99999, ">99.9%"), (0.999, "99.9%"), (None, "-"), (0.0, "0.0%"), (float("nan"), "-"),
])  # fmt: skip
def test_what_is_not_whole_is_not_called_whole(share: float | None, text: str) -> None:
    """A share that only rounds to 100% is said to be above the last step below it."""
    assert words.nearly(share) == text


def test_a_measurement_has_one_digit_more_than_its_promise() -> None:
    """99.9% is compared with two digits, 95% with one."""
    assert (words.measured(0.9998, 0.999), words.measured(0.98312, 0.95)) == ("99.98%", "98.3%")


def test_long_reasons_get_a_structure() -> None:
    """What a stage says stands under that stage, joined reasons stand apart, and nothing is lost."""
    reason = "at 25%: error_rate: inconclusive, 900 more; not excluded: any harm; latency_p95: fine"
    (head, parts), *_ = words.outline([reason])
    assert head == "at 25% of the traffic"
    assert parts == ("error_rate: inconclusive, 900 more, not excluded: any harm", "latency_p95: fine")
    assert words.outline(["at 25%: only one"]) == (("at 25%: only one", ()),)
    html = tables.decision(Decision("inconclusive", (reason,), {})).html
    assert BeautifulSoup(html, "html.parser").select("li ul li")[1].get_text() == "latency_p95: fine"


def test_a_stage_of_the_rollout_table_says_bound_and_margin() -> None:
    """Each metric is a ratio over its margin; what a reason says besides is not lost."""
    text = tables.rollout(samples.rollout()).text
    assert "1.04/1.05" in text and "up to inf/1.05" in text
    extended = "at 5%: error_rate: bad; extended once, no harm above 2 times is left"
    assert words.beyond(extended, samples.rollout().stages[0].verdicts) == (
        "extended once, no harm above 2 times is left",
    )


def test_other_words() -> None:
    """Times, moments, windows and knobs are written as people read them."""
    assert (words.seconds(None), words.seconds(0.01), words.seconds(2.34)) == ("-", "<0.1 s", "2.3 s")
    assert words.moment(samples.AT) == "2026-11-24 12:00 UTC"
    assert words.window(timedelta(days=1)) == "24h"
    assert words.setting(212.345) == "212.3"
    assert words.banner(True, False) == "SIMULATED TELEMETRY"
    assert words.banner(False, False) is None
    assert words.outcome("unheard of")[0] == "Failed: unheard of"


def shown(kind: Any, **how: Any) -> str:
    console = Console(file=io.StringIO(), width=80, **how)
    console.print(screen(samples.result(kind), FILES))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return str(text)


@pytest.mark.parametrize("kind", KINDS)
def test_the_screen_is_one_screen(kind: Any) -> None:
    """Whatever was decided, it fits on 45 lines of 80 columns and names decision, SLOs, gates and files."""
    text = shown(kind)
    assert len(text.splitlines()) <= 46
    assert max(len(line) for line in text.splitlines()) <= 80
    assert words.outcome(kind)[0].upper() in text
    for name in (*(s.name for s in samples.SLOS), *FILES.values()):
        assert name in text


def test_the_screen_stays_one_screen_at_its_worst() -> None:
    """Long reasons everywhere do not push the verdict off the screen."""
    long = "a reason that goes on and on " * 30
    gates = Gates(tuple(replace(v, open=False, reason=long) for v in samples.GATES.verdicts))
    closed = replace(samples.result("blocked"), gates=gates)
    walked = samples.rollout("rolled_back")
    stages = tuple(replace(s, reason=long, outcome="held") for s in walked.stages)
    decision = Decision("rolled_back", (long,), {})
    walked = replace(walked, stages=stages)
    for worst in (closed, replace(samples.result("rolled_back"), rollout=walked, decision=decision)):
        assert len(list(lines(worst, FILES))) <= 48


def test_the_screen_says_simulated_and_only_then() -> None:
    """Simulated target and telemetry are announced in capitals; real ones are not."""
    assert "SIMULATED TARGET, SIMULATED TELEMETRY" in shown("applied")
    real = replace(samples.result(), simulated=False, target_simulated=False)
    assert "SIMULATED" not in "\n".join(line.plain for line in lines(real, {}))


def test_the_screen_tells_why_a_gate_is_closed() -> None:
    """A closed gate's reason is there, wrapped and not cut after one line."""
    text = shown("blocked")
    assert "closed  error_budget" in text
    assert text.count("api_availability has 30%") >= 2
    assert "BLOCKED BY A GATE" in text


class _Narrow(io.TextIOWrapper):
    """A stream as a Windows console has it: encodes strictly, and refuses what it does not know."""


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii", "utf-8"])
def test_the_screen_survives_a_console_that_knows_few_characters(encoding: str) -> None:
    """A name that the console's encoding does not have is shown with question marks and raises nothing."""
    raw = io.BytesIO()
    stream = _Narrow(raw, encoding=encoding, errors="strict")
    foreign = replace(samples.result(), decision=Decision("held", ("опасно → 危険",), {}))
    Console(file=stream, width=80).print(screen(foreign, FILES))
    stream.flush()
    assert "WAITING FOR APPROVAL" in raw.getvalue().decode(encoding)


def test_the_screen_of_plain_values_is_ascii() -> None:
    """Node0's own words and layout need no more than ASCII."""
    for kind in KINDS:
        assert shown(kind).isascii()


@pytest.mark.parametrize("kind", KINDS)
def test_headlines_and_caveats_follow_from_the_result(kind: Any) -> None:
    """Headlines are three texts each, and a simulated cycle always carries that caveat."""
    seen = samples.result(kind)
    assert all(len(h) == 3 and all(h) for h in headlines.headlines(seen))
    assert any("simulated" in c for c in headlines.caveats(seen))


def test_caveats_name_what_was_not_seen() -> None:
    """Short coverage and missing data are named; no change is called a good outcome."""
    told = " ".join(headlines.caveats(samples.result("blocked")))
    assert "alpha_availability 93%" in told
    assert "agent_coordination_latency (the query returned no series)" in told
    assert "No change is a good outcome" in told
    assert "not shown to be better" in " ".join(headlines.caveats(samples.result("no_change")))


def test_a_pass_is_not_shown_above_its_margin() -> None:
    """A verdict was reached at the margin itself; a coarse interval that ends just beyond it must not contradict it."""
    passed = replace(samples.rollout().stages[1].verdicts[0], high=1.0512, margin=1.05)
    assert words.bound(passed) == "1.05/1.05"
    assert words.allowed(replace(passed, kind="fail", low=1.04))[0] == 1.05
    assert words.bound(replace(passed, kind="inconclusive", high=1.2)) == "up to 1.20/1.05"
    assert words.bound(replace(passed, kind="no_data")) == "no data"
