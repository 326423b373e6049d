"""``node0 alerts search``: which thresholds keep what a team wants, and what each would cost.

>>> search.name
'search'
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from node0lib.alerts.goals import Goals
from node0lib.alerts.policy import AlertPolicy, policy_of
from node0lib.errors import ConfigError
from node0lib.shell.cli.frame import DEFAULT_CONFIG, config_option, console, echo_json, output_option, shown_progress

if TYPE_CHECKING:  # the kernels and Optuna take a moment to load; --help does not need them
    from node0lib.simulate.scenario import Scenario
    from node0lib.simulate.search import Found, Member

_NONE_MEETS = 3


@click.command()
@config_option
@click.option("--goals", type=click.Path(path_type=Path), help="YAML, see below. Default: the three goals below.")
@click.option("--scenario", type=click.Path(path_type=Path), help="YAML: traffic, errors. Default: a usual month.")
@click.option("--slo", help="Take the objective of this SLO of the catalogue. Default: 0.999.")
@click.option("--candidates", type=click.IntRange(1, 10_000), default=300, show_default=True, help="How many to try.")
@click.option("--months", type=click.IntRange(1, 500), default=100, show_default=True, help="Simulated, and again.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=1, show_default=True, help="Equal: equal answers.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the recommended policy here, for --policy.")
@output_option
def search(
    config: Path,
    goals: Path | None,
    scenario: Path | None,
    slo: str | None,
    candidates: int,
    months: int,
    seed: int,
    out: Path | None,
    output: str,
) -> None:
    """Search windows, factors, for and min_bad for what a team wants.

    Shows the Pareto front over detection time, false pages, recall, reset
    time and the budget gone before a ticket: policies of which none is at
    least as good in everything and better beyond chance in something. Says
    why the default policy (the alerting of the configuration) is on it or not.

    The goals, where no file says otherwise:

    \b
    false_pages: 1                    # a month, at most
    outage: {size: 10%, within: 10m}  # paged within
    burn: {size: 1%, before: 5%}      # told before that much budget is gone
    share: 90%                        # of outages and burns keep the promise

    More that a file may ask: recall, reset, and blips: {a_month: 8, size: 5%,
    length: 3m}, failures that happen and are to page nobody. What a file does
    not name is not asked. A goal is met only if the whole 95% interval does.

    All numbers are of simulated months; those shown are of months that the
    search has not seen. Of the members that meet all goals, the one with the
    fewest false pages (then tickets) is recommended, and written to --out.

    Exit codes: 0 a policy meets the goals; 2 the command line or a file is
    wrong; 3 no policy that was tried meets them, and nothing is written.
    """
    from node0lib.simulate.search import Search
    from node0lib.simulate.search import search as searched
    from node0lib.views import front_table

    default, told = _default(config, slo)
    wanted = _goals(goals)
    asked = Search(default, _scenario(scenario), wanted, candidates=candidates, months=months, seed=seed)
    with shown_progress() as progress:
        found = searched(asked, workers=min(os.cpu_count() or 1, 8), progress=progress)
    if output == "json":
        echo_json({"default": {"source": told}, **front_table.document(found)})
    else:
        screen = console()
        for shown in (f"default: {told}", *front_table.shown(found)):
            screen.print(shown)
    chosen = found.recommended
    if chosen is None:
        if out is not None:
            click.echo(f"{out} is not written", err=True)
        click.get_current_context().exit(_NONE_MEETS)
    if out is not None:
        _write(out, found, chosen)


def _default(config: Path, slo: str | None) -> tuple[AlertPolicy, str]:
    """Return the configuration's alerting as a policy, and where it comes from."""
    from node0lib.shell.config import load
    from node0lib.slo.catalogue import Catalogue

    known = config.exists() or config != DEFAULT_CONFIG  # one that was named must be there
    if not known and slo is not None:
        raise ConfigError(f"--slo: there is no configuration {config}; name one with --config")
    catalogue = load(config).catalogue if known else Catalogue(())
    objective = catalogue.slo(slo).objective if slo is not None else 0.999
    told = f"alerting of {config}" if known else "the defaults of alerting"
    return policy_of(objective, catalogue.alerting), told


def _goals(path: Path | None) -> Goals:
    from node0lib.shell.goals_file import read_goals

    return Goals() if path is None else read_goals(path)


def _scenario(path: Path | None) -> Scenario:
    from node0lib.shell.scenario_file import read_scenario
    from node0lib.simulate.gallery import USUAL

    return USUAL if path is None else read_scenario(path)


def _write(out: Path, found: Found, chosen: Member) -> None:
    from node0lib.alerts.search import met
    from node0lib.shell.alert_policy_file import write_alert_policy

    checks = (f"{check.asked}: {check.reason}" for check in met(found.asked.goals, chosen.fresh))
    about = f"Found by node0 alerts search, seed {found.asked.seed}, {found.asked.months} simulated months."
    write_alert_policy(out, chosen.fresh.policy, "\n".join((about, *checks)))
    click.echo(f"written to {out}; try it: node0 alerts replay --policy {out} --from -30d --slo NAME", err=True)
