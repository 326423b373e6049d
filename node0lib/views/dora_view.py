"""A study of delivery in words and tables: what is asked, trends, forecasts, targets, definitions.

Whatever is simulated says SIMULATED in its caption. What is not known is a dash; "no evidence" and "cannot forecast"
come with their reasons.

>>> needed(0.05, None).text.splitlines()[2].split()
['0', '59', '0.0%', '59']
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from node0lib.dora.enough import deployments_for, deployments_needed, spans_needed
from node0lib.dora.forecast import Ahead, Forecast
from node0lib.dora.profiles import METRICS, NODE0, PROFILES
from node0lib.dora.report import Metric
from node0lib.dora.trends import Trend
from node0lib.simulate.delivery import KINDS, WHAT
from node0lib.simulate.delivery_study import Defined, DeliveryStudy
from node0lib.simulate.delivery_trials import Found, Trials
from node0lib.sli.intervals import Estimate, wilson
from node0lib.views import words
from node0lib.views.alarms import lasting
from node0lib.views.display import Display
from node0lib.views.tables import Column, table

FREQUENCY, LEAD, FAILS, RECOVERY, REWORK = METRICS
NAMES: Mapping[str, str] = {
    FREQUENCY: "deployments a week",
    LEAD: "lead time",
    FAILS: "change fail rate",
    RECOVERY: "recovery time",
    REWORK: "rework rate",
}
"""What a metric's number of one week is called: medians of times."""
_STARTS = {"committer": "commit", "author": "author's commit", "merge": "merge", "pull_request": "pull request"}


def amount(name: str, value: float | None) -> str:
    """One week's number of a metric."""
    if value is None:
        return "-"
    if name == FREQUENCY:
        return f"{value:.3g}"
    return lasting(value) if name in (LEAD, RECOVERY) else words.percent(value)


def ranged(name: str, value: float | None, low: float | None, high: float | None) -> str:
    """A number with its interval; a question mark for an end that the data cannot give, a dash without a number."""
    if value is None:
        return "-"
    ends = " to ".join("?" if end is None else amount(name, end) for end in (low, high))
    return f"{amount(name, value)} ({ends})"


def told(asked: DeliveryStudy) -> str:
    """Say whose numbers these are: what captions begin with."""
    if asked.is_simulated:
        return f"SIMULATED history ({asked.name}, seed {asked.seed})"
    return f"Real history ({asked.name})"


def question(asked: DeliveryStudy) -> Display:
    """Say what is looked at."""
    history = asked.history
    services = ", ".join(history.services)
    facts = (
        ("history", f"{asked.name}: {WHAT[asked.name]}" if asked.is_simulated else asked.name),
        ("made by", f"SIMULATED, seed {asked.seed}" if asked.is_simulated else "people: real events"),
        ("looked at", f"the last {asked.weeks} whole ISO weeks before {words.moment(asked.at)}"),
        ("service", services),
        ("events", f"{len(history.finished):,} deployments with {len(history.owner):,} changes, {_incidents(asked)}"),
        ("target", f"at most {words.objective(asked.target)} of deployments fail"),
        ("forecast", f"{asked.ahead} weeks, intervals that hold in {words.percent(asked.level, 0)} of cases"),
    )  # fmt: skip
    return table("What is asked", (Column("what"), Column("value")), facts)


def _incidents(asked: DeliveryStudy) -> str:
    count = len(asked.history.opened)
    return f"{count:,} incidents" if count else "no incidents: rates of failure know of rollbacks only"


def in_short(
    asked: DeliveryStudy, found: Mapping[str, Trend], coming: Mapping[str, Forecast], metrics: Mapping[str, Metric]
) -> Display:
    """Say in a few sentences whether it gets better, what comes next, and whether the target is kept."""
    lines = [f"{told(asked)}, {asked.weeks} weeks."]
    for verdict in ("rising", "falling"):
        shown = [f"{NAMES[n]} by {_by(n, t)} a week" for n, t in found.items() if t.verdict == verdict]
        if shown:
            lines.append(f"{verdict.capitalize()}: {'; '.join(shown)}.")
    if none := [NAMES[name] for name, one in found.items() if one.verdict == "no evidence"]:
        lines.append(f"No evidence of a trend: {', '.join(none)}.")
    lines += [_next(asked, coming[FREQUENCY]), _kept(asked, metrics[FAILS])]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return Display(f"<ul>{items}</ul>", "\n".join(lines))


def _by(name: str, one: Trend) -> str:
    slope, ends = _slope(name, one)
    return f"{slope} ({ends})"


def _next(asked: DeliveryStudy, coming: Forecast) -> str:
    if not coming.ahead:
        return f"Deployments of the next week: {coming.reason}."
    one = coming.ahead[0]
    return (
        f"Next week {amount(FREQUENCY, one.low)} to {amount(FREQUENCY, one.high)} deployments, "
        f"with {words.percent(asked.level, 0)}."
    )


def _kept(asked: DeliveryStudy, fails: Metric) -> str:
    if fails.value is None:
        return "No deployment, so no share of them failed."
    failed = fails.detail["failed"]
    return (
        f"{failed} of {fails.n} deployments failed, {ranged(FAILS, fails.value, fails.low, fails.high)}: "
        f"the target of {words.objective(asked.target)} is {fails.verdict}."
    )


def kinds() -> Display:
    """Show the kinds of simulated history."""
    columns = (Column("kind"), Column("what happens"), Column("deployments a week", number=True))
    rows = [(name, WHAT[name], f"{team.per_week:g}") for name, team in KINDS.items()]
    return table("Kinds of SIMULATED history", columns, rows)


def meanings() -> Display:
    """Say what each metric means here."""
    columns = (Column("metric"), Column("node0's definition"))
    return table("What is counted", columns, [(NAMES[n], text) for n, text in NODE0.definitions.items()])


_TRENDS = (
    Column("metric"),
    *(Column(head, number=True) for head in ("weeks", "change a week", "95%", "p")),
    Column("trend", state=True),
    Column("why"),
)


def trends(asked: DeliveryStudy, found: Mapping[str, Trend]) -> Display:
    """Show the trend of each metric, with the reason."""
    rows = [
        (NAMES[name], str(one.n), *_slope(name, one), "-" if one.p is None else f"{one.p:.2g}", one.verdict, one.reason)
        for name, one in found.items()
    ]
    return table(f"{told(asked)}: Theil-Sen slopes and Mann-Kendall tests on disjoint weeks", _TRENDS, rows)


def _slope(name: str, one: Trend) -> tuple[str, str]:
    """The slope and its interval."""
    if one.slope is None:
        return "-", "-"
    ends = " to ".join("?" if end is None else _change(name, end) for end in (one.low, one.high))
    return _change(name, one.slope), ends


def _change(name: str, value: float) -> str:
    """What a week changes: deployments, a time, or percentage points."""
    if name in (LEAD, RECOVERY):
        return f"{'-' if value < 0 else '+'}{lasting(abs(value))}"
    text = f"{value:+.2f}" if name == FREQUENCY else f"{value * 100:+.2f}"
    return (text.replace("-", "+") if not text.strip("+-0.") else text) + ("" if name == FREQUENCY else " pp")


def found_trends(trials: Mapping[str, Trials]) -> Display:
    """Show how often a trend is found in each kind of history; of what is steady that is a false one."""
    one = next(iter(trials.values()))
    columns = (Column("kind"), *(Column(NAMES[name], number=True) for name in METRICS))
    rows = [(kind, *(_verdicts(run.metrics[name], run) for name in METRICS)) for kind, run in trials.items()]
    steady = trials["steady"].metrics.values()
    false, tests = sum(found.rising + found.falling for found in steady), one.histories * len(METRICS)
    share = wilson(false, tests)
    ends = "" if share is None else f", {words.percent(share.value)} ({_ends(share)})"
    caption = (
        f"Trends found in {one.histories} SIMULATED histories of each kind, {one.weeks} weeks: rising / falling. In "
        f"the steady ones {false} of {tests} tests are false{ends}; 5% at most are promised in the long run (over 600 "
        "histories it was 4.5%), and so few stray from it by luck"
    )
    return table(caption, columns, rows)


def _ends(share: Estimate) -> str:
    return f"95% interval {words.percent(share.low)} to {words.percent(share.high)}"


def _verdicts(found: Found, run: Trials) -> str:
    return " / ".join(words.percent(count / run.histories, 0) for count in (found.rising, found.falling))


def forecasts(asked: DeliveryStudy, coming: Mapping[str, Forecast]) -> Display:
    """Show the next week and the last one that is forecast, of each metric, or why there is none."""
    columns = (Column("metric"), Column("next week", number=True), Column("furthest", number=True), Column("why"))
    rows = [(NAMES[name], *_weeks(name, one), one.reason) for name, one in coming.items()]
    level = words.percent(asked.level, 0)
    return table(f"{told(asked)}: intervals for a coming week that hold in {level} of cases", columns, rows)


def _weeks(name: str, one: Forecast) -> tuple[str, str]:
    if not one.ahead:
        return "-", "-"
    last = one.ahead[-1]
    return _ahead(name, one.ahead[0]), f"week {last.week}: {_ahead(name, last)}"


def _ahead(name: str, one: Ahead) -> str:
    return ranged(name, one.value, one.low, one.high)


def held(trials: Mapping[str, Trials]) -> Display:
    """Show how many of the forecast intervals held, next week and furthest ahead, by kind of history."""
    one = next(iter(trials.values()))
    columns = (Column("kind"), *(Column(NAMES[name], number=True) for name in METRICS))
    rows = [(kind, *(_held(run.metrics[name]) for name in METRICS)) for kind, run in trials.items()]
    about = round(98 / math.sqrt(one.histories))
    caption = (
        f"Held intervals of nominal {words.percent(one.level, 0)} in {one.histories} SIMULATED histories of each kind: "
        f"next week / {len(one.metrics[FREQUENCY].forecast)} weeks ahead. "
        f"Read within {about} points. A dash: forecast in fewer than 20"
    )
    return table(caption, columns, rows)


def _held(found: Found) -> str:
    ends = (found.forecast[0], found.forecast[-1])
    return " / ".join(words.percent(one.held / one.asked, 0) if one.asked >= 20 else "-" for one in ends)


_FAILURES = (0, 1, 2, 3, 5, 10)
_SHARES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.8)


def needed(target: float, per_week: float | None) -> Display:
    """Show what a target of the share of failures takes: failures seen, and failures to be expected."""
    heads = ("failed", "deployments to show it", "true rate", "deployments to show it with 80%")
    weeks = () if per_week is None else (Column(f"weeks at {per_week:.3g} a week", number=True),)
    rows = [
        (str(failures), str(deployments_needed(failures, target)), *_expected(share * target, target, per_week))
        for failures, share in zip(_FAILURES, _SHARES, strict=True)
    ]
    caption = (
        f"What shows at most {words.objective(target)} of failures at 95% (one-sided, exact). A target of a median "
        f"takes {spans_needed()} times that all keep it"
    )
    return table(caption, (*(Column(head, number=True) for head in heads), *weeks), rows)


def _expected(rate: float, target: float, per_week: float | None) -> Sequence[str]:
    n = deployments_for(rate, target)
    shown = "more than 20,000" if n is None else f"{n:,}"
    if per_week is None:
        return words.percent(rate), shown
    return words.percent(rate), shown, "-" if n is None or not per_week else f"{n / per_week:,.0f}"


_DEFINED = (
    Column("profile"),
    Column("lead time from"),
    *(Column(head, number=True) for head in ("deployments a day", "lead time", "fail rate", "recovery time")),
    Column("target of failures", state=True),
    Column("lead time, 2021 / 2024"),
    Column("fail rate, 2021 / 2024"),
)


def definitions(asked: DeliveryStudy, found: Sequence[Defined]) -> Display:
    """Show the same history under every profile, with the bands that the numbers fall into."""
    caption = f"{told(asked)}, {asked.weeks} weeks: one history, other definitions (values with 95% intervals)"
    return table(caption, _DEFINED, [_under(one) for one in found])


def _under(one: Defined) -> Sequence[str]:
    per_day = one.metrics[FREQUENCY].value
    return (
        one.profile,
        _STARTS[one.start],
        "-" if per_day is None else f"{per_day:.2g}",
        _metric(one.metrics[LEAD]),
        _metric(one.metrics[FAILS]),
        _metric(one.metrics[RECOVERY]),
        one.metrics[FAILS].verdict or "-",
        _bands(one.metrics[LEAD]),
        _bands(one.metrics[FAILS]),
    )


def _metric(metric: Metric) -> str:
    return ranged(metric.name, metric.value, metric.low, metric.high)


def _bands(metric: Metric) -> str:
    return " / ".join(metric.bands[edition]["value"] or "-" for edition in ("2021", "2024"))


def peers() -> Display:
    """Say what each profile counts a failure and a recovery by."""
    columns = (Column("profile"), Column("fail rate"), Column("recovery time"))
    rows = [(name, one.definitions[FAILS], one.definitions[RECOVERY]) for name, one in PROFILES.items()]
    return table("What the profiles mean", columns, rows)
