"""A study of alerts in words and tables: what counts, each alert pair, arithmetic beside simulation, quiet services.

>>> definitions(QualityRules()).text.splitlines()[1].split()
['term', 'what', 'it', 'means', 'here']
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from html import escape

from node0lib.alerts.quality import Quality, QualityRules
from node0lib.simulate.gallery import WHAT
from node0lib.simulate.months import PAGE, PAGING
from node0lib.simulate.scenario import Fault
from node0lib.simulate.study import (
    HEALTHY,
    Beside,
    Exhaustion,
    LowTraffic,
    Runs,
    Study,
    mean_per_hour,
    together,
)
from node0lib.timespan import format_duration
from node0lib.views import alarms, words
from node0lib.views.alarms import estimated, lasting
from node0lib.views.display import Display
from node0lib.views.tables import Column, table


def in_short(asked: Study, runs: Runs) -> Display:
    """Say in a few sentences what the chosen policy does with the gallery."""
    found = {fault: run[asked.chosen] for fault, run in runs.items() if fault != HEALTHY}
    significant = {fault: run for fault, run in found.items() if run[PAGE].events}
    total = together(runs, asked.chosen)
    lines = [
        f"Over {total.months:g} simulated months the policy {asked.chosen} brings "
        f"{estimated(total.false_pages, alarms.amount)} false pages a month, and {estimated(total.precision, _whole)} "
        "of its pages are true.",
        *(_fault_in_short(asked, fault, run) for fault, run in significant.items()),
    ]
    if quiet := [fault for fault in found if fault not in significant]:
        spent = words.percent(asked.rules.significant, 0)
        lines.append(f"{', '.join(quiet)}: under {spent} of the budget is seen to be spent, so no page is asked for.")
    items = "".join(f"<li>{escape(line[:1].upper() + line[1:])}</li>" for line in lines)
    return Display(f"<ul>{items}</ul>", "\n".join(lines))


def _fault_in_short(asked: Study, fault: str, run: Mapping[str, Quality]) -> str:
    page = run[PAGE]
    if page.detected * 2 > page.events and page.detection is not None:
        spent = page.spent_at_detection
        cost = "" if spent is None else f", having spent {words.percent(spent.value)} of the budget"
        missed = "" if page.detected == page.events else f"; missed in {page.events - page.detected} of {page.events}"
        return f"{fault}: paged after {lasting(page.detection.value)}{cost}{missed}."
    others = [alert.name for alert in asked.policy.alerts if 2 * run[alert.name].detected > run[alert.name].events]
    if not others:
        how = f"told in {page.detected} of {page.events} months only" if page.detected else "told by no alert"
        return f"{fault}: {how}."
    times = ((name, run[name].detection) for name in others)
    first, soonest = min(((name, t.value) for name, t in times if t is not None), key=lambda pair: pair[1])
    return f"{fault}: paged in {page.detected} of {page.events} months, but told by {first} after {lasting(soonest)}."


def _whole(share: float) -> str:
    return words.percent(share, 0)


def definitions(rules: QualityRules) -> Display:
    """Say what counts, with the numbers that are used."""
    share = words.percent(rules.significant, 0)
    grace, gap = format_duration(rules.grace), format_duration(rules.merge_gap)
    severities = " or ".join(PAGING)
    meant = (
        ("page", f"an interval in which any alert of severity {severities} fires"),
        ("merge gap", f"an onset less than {gap} after the end of the last page belongs to it"),
        ("flap", "an onset that was merged away so: the page went down and came up again"),
        ("true page", f"one that overlaps [start, end + {grace}] of an incident, however small; all others are false"),
        ("grace", f"{grace}: a short incident may be over before its page comes"),
        ("significant event", f"an incident that spends at least {share} of the period's budget: only these must page"),
        ("detection", "from an event's start to the onset of its first true page; 0 if that was up before"),
        ("missed event", "censored: it stays in the sample, later than any other, so missing improves no median"),
        ("reset", "from an incident's end to the end of its last page; none if all its pages had ended before"),
        ("recall, precision", "share of significant events detected, share of pages true; Wilson's 95% intervals"),
        ("false pages a month", "per 30 days; Garwood's exact 95% intervals"),
        ("medians", "95% intervals from order statistics; ? where the sample is too small for an end"),
    )  # fmt: skip
    return table("What counts", (Column("term"), Column("what it means here")), meant)


def question(asked: Study) -> Display:
    """Say what is asked: objective, traffic, floor, policy, how much is simulated."""
    policy, floor, traffic = asked.policy, asked.usual.floor, asked.usual.traffic
    allowance = policy.budget * mean_per_hour(asked.usual) * (policy.period / timedelta(hours=1))
    alerts = "; ".join(_alert(asked, number) for number in range(len(policy.alerts)))
    facts = (
        ("objective", f"{asked.slo} over {format_duration(policy.period)}"),
        ("traffic", f"{traffic.per_hour:,.0f} requests an hour on a working day, fewer at night and on weekends; "
                    f"{mean_per_hour(asked.usual):,.0f} over the month"),
        ("error floor", f"{words.percent(floor.rate, 3)}, in clusters of {format_duration(floor.correlation)} (its "
                        f"rate has a coefficient of variation of {floor.dispersion:g})"),
        ("budget", f"{allowance:,.0f} failures in {format_duration(policy.period)}; the floor alone spends "
                   f"{words.percent(floor.rate / policy.budget, 0)}"),
        ("policy", f"{asked.chosen}: {alerts}"),
        ("simulated", f"{asked.months} months for each of {len(asked.faults)} faults and for none, seed {asked.seed}"),
    )  # fmt: skip
    return table("What is asked. Everything below is simulated.", (Column("what"), Column("value")), facts)


def _alert(asked: Study, number: int) -> str:
    alert = asked.policy.alerts[number]
    wait = f" for {format_duration(alert.hold)}" if alert.hold else ""
    guard = f", {alert.min_bad:g} bad events" if alert.min_bad else ""
    windows = format_duration(alert.long) + (f"/{format_duration(alert.short)}" if alert.short < alert.long else "")
    return f"{alert.name} burns > {alert.factor:.3g} over {windows}{wait}{guard}"


_MEASURES = ("detected", "detection", "reset", "budget spent")
_PAIR = (Column("fault"), Column("alert"), *(Column(head, number=True) for head in _MEASURES))


def faults(asked: Study) -> Display:
    """Say what goes wrong in each kind of fault."""
    told = ((name, WHAT.get(name) or "; ".join(map(_happens, kind))) for name, kind in asked.faults.items())
    return table("The faults", (Column("fault"), Column("what happens")), told)


def _happens(fault: Fault) -> str:
    """A fault of somebody's own scenario, in words."""
    parts = [f"{words.percent(fault.errors)} of requests fail in {words.percent(fault.share)} of the traffic"]
    if fault.traffic != 1:
        parts.append(f"traffic is {fault.traffic:g} of usual")
    if not fault.telemetry:
        parts.append("nobody counts")
    when = f"{fault.shape}, {format_duration(fault.onset)} in, for {format_duration(fault.length)}"
    return f"{', '.join(parts)} ({when})"


def pairs(asked: Study, runs: Runs) -> Display:
    """Show for every fault each alert that tells it, and those faults that nothing tells."""
    lines = []
    for fault, run in runs.items():
        found = run[asked.chosen]
        told = [alert.name for alert in asked.policy.alerts if found[alert.name].detected]
        lines += [(fault, name, *_pair(found[name])) for name in told]
        if not told and fault != HEALTHY:
            lines.append((fault, "none" if found[PAGE].events else "none: not significant", "-", "-", "-", "-"))
    caption = f"Alert by alert, {asked.months} simulated months of each fault: medians (95% intervals)"
    return table(caption, _PAIR, lines)


def _pair(quality: Quality) -> tuple[str, str, str, str]:
    return (
        f"{quality.detected} of {quality.events}",
        estimated(quality.detection, lasting),
        estimated(quality.reset, lasting),
        estimated(quality.spent_at_detection, words.percent),
    )


def months(asked: Study, runs: Runs) -> Display:
    """Show what pages, fault by fault and over all months together."""
    found = {fault: run[asked.chosen][PAGE] for fault, run in runs.items()}
    found["all together"] = together(runs, asked.chosen)
    total = found["all together"].months
    caption = f"Pages of the policy {asked.chosen} over {total:g} simulated months, with 95% intervals"
    return alarms.qualities(found, caption)


def policies(asked: Study, runs: Runs) -> Display:
    """Show all policies over all months together."""
    found = {name: together(runs, name) for name in asked.policies}
    total = next(iter(found.values())).months
    return alarms.qualities(found, f"Policies on the same {total:g} simulated months, with 95% intervals")


_FORMS = [f"{what}, {how}" for what in ("detection", "reset", "spent") for how in ("closed form", "simulated")]
_CLOSED = (Column("failing"), Column("alert"), *(Column(head, number=True) for head in _FORMS))


def beside(asked: Study, found: Sequence[Beside]) -> Display:
    """Show each closed form next to the median that the simulation finds."""
    lines = [
        (
            words.percent(fact.size, 0),
            fact.alert.name,
            _closed(fact.detection_closed),
            estimated(fact.detection, lasting),
            _closed(fact.reset_closed),
            estimated(fact.reset, lasting),
            words.percent(fact.spent_closed),
            estimated(fact.spent, words.percent),
        )
        for fact in found
    ]
    caption = (
        f"Closed forms and medians (95% intervals) over {asked.months} simulated months of steady traffic, faults of "
        "4h; the simulation looks once a minute, so it is later by up to one"
    )
    return table(caption, _CLOSED, lines)


def _closed(seconds: float | None) -> str:
    return "never" if seconds is None else lasting(seconds)


def exhaustion(asked: Study, found: Sequence[Exhaustion]) -> Display:
    """Show how long a budget lasts."""
    columns = (Column("failing"), *(Column(head, number=True) for head in ("burn", "closed form", "simulated")))
    lines = [
        (
            words.percent(one.size, 0),
            words.rate(one.size / asked.policy.budget),
            lasting(one.closed) if math.isfinite(one.closed) else "never",
            estimated(one.simulated, lasting),
        )
        for one in found
    ]
    period = format_duration(asked.policy.period)
    return table(f"Until the budget of {period} is gone, {asked.months} simulated months", columns, lines)


def low_traffic(found: LowTraffic) -> Display:
    """Show the three numbers of a quiet service: false pages without and with a guard, and the guard's price."""
    guard = f"at least {found.min_bad:g} bad events"
    columns = (Column("measured"), Column("plain", number=True), Column(guard, number=True))
    healthy, outages = (found.plain, found.guarded), (found.plain_outage, found.guarded_outage)
    lines = (
        ("false pages in a healthy month", *(estimated(quality.false_pages, _few) for quality in healthy)),
        ("full outage paged after, median", *(estimated(quality.detection, lasting) for quality in outages)),
        ("paged later by, mean", "-", estimated(found.delay, _minutes)),
        ("full outages missed", *(f"{quality.events - quality.detected} of {quality.events}" for quality in outages)),
    )
    rate = found.scenario.traffic.per_hour
    caption = (
        f"{rate:g} requests an hour, 99.9%, a floor of {words.percent(found.scenario.floor.rate, 2)}: "
        f"{found.months} simulated healthy months and {found.months} with a full outage (95% intervals). The floor "
        f"fails {found.errors_a_month:.1f} requests a month, and each of them alone is a page: 1 of {rate:g} is "
        f"{words.percent(1 / rate)}, above 1.4%"
    )
    return table(caption, columns, lines)


def _few(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.2f} min"
