"""``node0 alerts lint``: what is wrong with alerts before they ever fire?

>>> lint.name
'lint'
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node0lib.errors import ConfigError
from node0lib.shell.cli.frame import config_option, console, echo_json, output_option
from node0lib.shell.clocks import SystemClock
from node0lib.timespan import format_instant, parse_duration

if TYPE_CHECKING:  # numpy and the rest take a moment to load; --help does not need them
    from node0lib.alerts.findings import Finding, Subject
    from node0lib.shell.alert_facts import Wanted
    from node0lib.shell.settings import Settings
    from node0lib.slo.objective import Objective

FOUND = 3
"""The exit code where something is wrong."""


@click.command()
@config_option
@click.option("--policy", type=click.Path(path_type=Path), help="Look at this policy, not at the catalogue's alerts.")
@click.option("--slo", "slos", multiple=True, metavar="NAME", help="Only this SLO; repeatable.")
@click.option("--requests-per-hour", type=click.FloatRange(min=0), help="The traffic; default: it is measured.")
@click.option("--scrape-interval", help="How far apart samples are, as 15s; default: it is measured.")
@click.option("--look-back", default="7d", show_default=True, help="How far back telemetry is looked at.")
@click.option("--strict", is_flag=True, help="What could not be checked counts as a warning.")
@output_option
def lint(
    config: Path,
    policy: Path | None,
    slos: tuple[str, ...],
    requests_per_hour: float | None,
    scrape_interval: str | None,
    look_back: str,
    strict: bool,
    output: str,
) -> None:
    """Find what is wrong with alerts before they ever fire.

    Errors: an alert that can never fire (objective <= 1 - 1/factor), a short
    window or a slice that holds fewer than two scrapes. Warnings: an alert
    that one failed request fires (fewer than 1/(factor x B) requests in the
    long window, in the quietest one of the look-back too) and no min_bad of 2
    or more keeps it from that; a min_bad that the traffic never reaches;
    severities in the wrong order; a latency threshold between bucket bounds;
    error series that are missing, or were born above zero; a total without
    series. Notes: windows longer than the retention or the data, short
    windows far from 1/12 of the long one. What could not be measured is
    listed as not checked, with the reason.

    The facts are read from the configured telemetry. A --policy file by
    itself has none: name one --slo of the catalogue for it, or give the
    traffic. Nothing is written.

    Exit codes: 0 neither errors nor warnings (notes do not count), 3 there
    are some, or with --strict something could not be checked, 2 the command
    line or the configuration is wrong.
    """
    from node0lib.alerts.lint import lint as findings_of
    from node0lib.shell.alert_facts import wanted

    if requests_per_hour is not None and not math.isfinite(requests_per_hour):
        raise ConfigError(f"--requests-per-hour: {requests_per_hour} is no number of requests; write for example 3600")
    interval = None if scrape_interval is None else _duration("--scrape-interval", scrape_interval)
    asked = wanted(requests_per_hour, interval, look_back=_duration("--look-back", look_back))
    now = SystemClock().now()
    told, subjects = _subjects(config, policy, slos, asked, now)
    findings = findings_of(subjects)
    if output == "json":
        echo_json(_document(told, now, subjects, findings))
    else:
        _show(told, subjects, findings)
    if any(finding.severity != "note" or (strict and finding.code == "not-checked") for finding in findings):
        click.get_current_context().exit(FOUND)


def _duration(option: str, text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ConfigError as error:
        raise ConfigError(f"{option}: {error}") from error


def _subjects(
    config: Path, policy: Path | None, names: Sequence[str], asked: Wanted, now: datetime
) -> tuple[str, tuple[Subject, ...]]:
    """Return where the facts come from, and what is looked at."""
    from node0lib.shell.alert_facts import bare, subjects
    from node0lib.shell.alert_policy_file import read_alert_policy
    from node0lib.shell.config import load
    from node0lib.shell.observe import told_source

    read = read_alert_policy(policy) if policy is not None else None
    if read is not None and not names:
        return f"{policy}, without telemetry", (bare(read, asked),)
    if read is not None and len(names) > 1:
        raise ConfigError("--policy with several --slo: a policy is for one objective; name one SLO")
    settings = load(config)
    source = told_source(settings)
    told = f"{policy or config}, measured on the {source.name}{' (SIMULATED)' if source.simulated else ''}"
    return told, subjects(settings, _chosen(settings, names), asked, now, read)


def _chosen(settings: Settings, names: Sequence[str]) -> tuple[Objective, ...]:
    if not names:
        return settings.catalogue.slos
    return tuple(settings.catalogue.slo(name) for name in dict.fromkeys(names))


def _document(
    told: str, now: datetime, subjects: Sequence[Subject], findings: Sequence[Finding]
) -> dict[str, Any]:
    count = _count(findings)
    return {
        "source": told,
        "at": format_instant(now),
        "checked": [
            {"slo": one.slo, "alerts": [alert.name for alert in one.policy.alerts] if one.policy else []}
            for one in subjects
        ],
        **{f"{severity}s": n for severity, n in count.items()},
        "findings": [asdict(finding) for finding in findings],
    }


def _count(findings: Sequence[Finding]) -> dict[str, int]:
    return {level: sum(f.severity == level for f in findings) for level in ("error", "warning", "note")}


def _show(told: str, subjects: Sequence[Subject], findings: Sequence[Finding]) -> None:
    out = console()
    alerts = sum(len(one.policy.alerts) for one in subjects if one.policy)
    out.print(f"{told}: {_many(alerts, 'alert')} of {_many(len(subjects), 'objective')}", soft_wrap=True, markup=False)
    for finding, where in _merged(findings):
        out.print(f"\n{finding.severity}: {where}{finding.what} [{finding.code}]", soft_wrap=True, markup=False)
        out.print(f"  {finding.why}", soft_wrap=True, markup=False)
        out.print(f"  -> {finding.advice}", soft_wrap=True, markup=False)
    count = ", ".join(_many(n, level) for level, n in _count(findings).items())
    out.print(f"\n{count}", markup=False)


def _many(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _merged(findings: Sequence[Finding]) -> list[tuple[Finding, str]]:
    """Each finding with where it is; what is the same of several SLOs is said once."""
    same: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        same.setdefault((finding.code, finding.what, finding.why, finding.alert or ""), []).append(finding)
    return [(found[0], _where(found)) for found in same.values()]


def _where(found: Sequence[Finding]) -> str:
    slos = ", ".join(one.slo for one in found if one.slo)
    text = " ".join(part for part in (slos, found[0].alert) if part)
    return f"{text}: " if text else ""
