"""The text of ``node0 slo status``: 80 columns whatever the numbers are, and everything said that they do not say."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from node0lib.sli.series import Counts
from node0lib.slo.budget import SloStatus, status
from node0lib.slo.catalogue import BURN_WINDOWS, BudgetPolicy, Composite
from node0lib.slo.composite import composite_status
from node0lib.slo.maintenance import Maintenance
from node0lib.slo.objective import Objective
from node0lib.timespan import Calendar
from node0lib.views.slo_table import Overview, exhausted, lasting, overview

AT = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOUR, MONTH = timedelta(hours=1), timedelta(days=30)
LONG = "an_slo_whose_name_is_as_long_as_any_name_may_be_in_this_yaml_63"


def _status(slo: Objective, own: Counts, other: Counts | None = None) -> SloStatus:
    return status(slo, {**dict.fromkeys(BURN_WINDOWS, other or own), slo.window: own}, BudgetPolicy(), AT)


def _shown(seen: Overview) -> str:
    out = Console(file=io.StringIO(), width=80)
    for part in overview(seen):
        out.print(part)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def _overview(*pairs: tuple[Objective, SloStatus], composites: tuple[Composite, ...] = ()) -> Overview:
    found = tuple(s for _, s in pairs)
    made = tuple(composite_status(c, found, BudgetPolicy()) for c in composites)
    slos = tuple(slo for slo, _ in pairs)
    move = Maintenance(AT - HOUR, AT + HOUR, "the database moves", ("web",))
    return Overview(AT, "prometheus at https://prometheus.internal:9090", False, slos, found, made, (move,))


def test_the_widest_numbers_fit_into_80_columns() -> None:
    """A long name is folded, and neither an interval nor an overspent budget nor a quarter pushes a column out."""
    quarter = Calendar("quarter", "Europe/Berlin")
    slo = Objective(LONG, "latency", 0.9999, quarter.nominal, calendar=quarter, threshold_s=0.1)
    found = _status(slo, Counts(99_000.0, 100_000.0, 0.99999, good_most=99_993.0))
    shown = _shown(_overview((slo, found), composites=(Composite(LONG[:-3], {LONG: 1.0}),)))
    assert max(map(len, shown.splitlines())) <= 80 and "…" not in shown
    for text in ("99.000-99.993%", "-9900.0%", "quarter", ">99%", "breached", "gone", "prometheus.internal:9090"):
        assert text in shown
    assert "from 2026-09-30 22:00 UTC to 2026-12-31 23:00 UTC" in " ".join(shown.split())


def test_what_a_number_does_not_say_is_said_below() -> None:
    """Why there is no data, notes, clamps and composites' weights; what is true of several is said once."""
    a, b, web = (Objective(name, "ratio", 0.99, MONTH) for name in ("a", "b", "web"))
    blind, clamped = Counts.nothing("HTTP 503"), Counts(11.0, 10.0, 1.0, note="one series began anew")
    pairs = (a, _status(a, blind)), (b, _status(b, blind)), (web, _status(web, clamped))
    shown = " ".join(_shown(_overview(*pairs, composites=(Composite("all", {"a": 1.0, "web": 2.0}),))).split())
    assert "a, b: no data: HTTP 503" in shown and shown.count("HTTP 503") == 2
    assert "web: more good (or bad) events than events in all: clamped 1 time" in shown
    assert "web: one series began anew" in shown and "all: 1 a + 2 web" in shown
    assert "all: no data for a (HTTP 503)" in shown
    assert "MAINTENANCE until 2026-11-25 13:00 UTC: the database moves (web)" in shown


@pytest.mark.parametrize(
    ("month", "hour", "said"),
    [
        (0.0, 0.0, "-"),
        (0.0, 0.001, "-"),
        (0.0, 0.012, "25d Dec 20 12:00"),
        (0.02, 0.0, "gone"),
        (0.005, 0.5, "7h Nov 25 19:12"),
    ],
)
def test_the_end_of_a_budget_is_a_time_and_how_long_until_then(month: float, hour: float, said: str) -> None:
    """A dash where it does not end (a burn under 1 never exhausts a rolling window), gone where it has ended."""
    slo = Objective("a", "ratio", 0.99, MONTH)
    own, recent = (Counts(1e12 * (1 - errors), 1e12, 1.0) for errors in (month, hour))
    assert exhausted(_status(slo, own, recent), AT) == said


@pytest.mark.parametrize(
    ("minutes", "said"), [(0, "0m"), (179, "179m"), (180, "3h"), (72 * 60 - 1, "71h"), (72 * 60, "3d")]
)
def test_a_duration_is_never_rounded_up(minutes: int, said: str) -> None:
    """Minutes until three hours, hours until three days, then days."""
    assert lasting(timedelta(minutes=minutes)) == said
