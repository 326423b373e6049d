"""What each of the five metrics means: node0's definitions, and peers' under their names, to compare a dashboard with.

A profile chooses where a lead time begins, which incident belongs to which deployment, what a recovery time spans and
what is counted as frequency. It is a definition, not an imitation: faults of the tools are told in ``faults`` and not
computed. Under every profile a deployment fails once at most, open incidents are censored and not dropped, negative
spans are counted, every number has an interval, and no data is null.

Sources: dora.dev (guide to the metrics); dora-team/fourkeys (METRICS.md, queries); Apache DevLake (DORA plugin, 2023
benchmarks); GitLab (DORA metrics API).

>>> profile("node0").lead, profile("gitlab").lead
('committer', 'merge')
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Literal

from node0lib.errors import ConfigError
from node0lib.timespan import format_duration

Lead = Literal["committer", "author", "merge", "pull_request"]
METRICS = (
    "deployment_frequency",
    "change_lead_time",
    "change_fail_rate",
    "failed_deployment_recovery_time",
    "deployment_rework_rate",
)
_LEADS: Mapping[Lead, str] = {
    "committer": "its commit (committer's time)",
    "author": "its commit (author's time)",
    "merge": "the merge of its merge request",
    "pull_request": "the first commit of its pull request (the sum of coding, review and deployment time)",
}


@dataclass(frozen=True)
class Profile:
    """Definitions under a name.

    ``link_within`` bounds the time rule for incidents that name no deployment: None is no bound, and ``timed`` False
    is no time rule. ``recovery_from`` is the failed deployment's finish or the incident's opening. ``days`` counts the
    days on which something was deployed instead of deployments. ``maturity`` is how long a deployment may still fail.
    """

    name: str
    about: str
    lead: Lead = "committer"
    timed: bool = True
    link_within: timedelta | None = timedelta(hours=24)
    recovery_from: Literal["deployment", "incident"] = "deployment"
    days: bool = False
    whole_minutes: bool = False
    maturity: timedelta = timedelta(hours=24)
    faults: tuple[str, ...] = field(default=())

    @property
    def definitions(self) -> dict[str, str]:
        """What each metric is, in words."""
        sentences = (self._frequency(), self._lead(), self._fails(), self._recovery(), _REWORK)
        return dict(zip(METRICS, sentences, strict=True))

    def _frequency(self) -> str:
        what = "Days on which at least one deployment" if self.days else "Deployments that"
        text = f"{what} succeeded, of kind normal or hotfix, per day of the window; retries, rollbacks, and deployments"
        return f"{text} that by their own outcome were rolled back or never arrived, are counted apart."

    def _lead(self) -> str:
        rounded = " Each part is rounded up to a minute; a negative part is dropped." if self.whole_minutes else ""
        start = f"from {_LEADS[self.lead]} to the finish of the first deployment that brought it there"
        text = f"For each change, once, the time {start}; the median, and the 0.9 quantile"
        return f"{text}. Negative times are dropped and counted.{rounded}"

    def _fails(self) -> str:
        rule = "that names it"
        if self.timed:
            within = f" at most {format_duration(self.link_within)}" if self.link_within else ""
            rule = f"linked to it (named, or else it is the service's latest deployment{within} before the incident)"
        return f"The share of deployments, rollbacks aside, rolled back or with an incident {rule}; each once."

    def _recovery(self) -> str:
        if self.recovery_from == "incident":
            return "From the opening of a linked incident to its resolution; Kaplan-Meier median, open ones censored."
        ends = "the first of rollback, hotfix and resolution of a linked incident"
        return f"From the finish of a failed deployment to {ends}; Kaplan-Meier median, what has not ended is censored."


_REWORK = (
    "The share of all deployments, rollbacks included, that nobody planned and an incident caused (named, or else one "
    "of the service was open when the deployment started)."
)
NODE0 = Profile("node0", "node0's own definitions, after dora.dev's five metrics")
_FOURKEYS = Profile(
    "fourkeys",
    "Four Keys: lead time from each commit, incidents through what they name, restore time of incidents",
    timed=False,
    recovery_from="incident",
    faults=(
        "Four Keys drops incidents that are open, so a long outage makes the time to restore look better.",
        "Four Keys counts a change again with every deployment that lists it; node0 counts the first.",
        "An incident that names no change counts nowhere, so a team that links nothing has a fail rate of 0.",
        "Lead times of 0 or less are left in or out depending on the panel, uncounted.",
    ),
)
_DEVLAKE = Profile(
    "devlake-2023",
    "Apache DevLake with the 2023 benchmarks: cycle time of pull requests, days with a deployment, latest deployment",
    lead="pull_request",
    link_within=None,
    days=True,
    whole_minutes=True,
    faults=(
        "The cycle time of a pull request that was never deployed is stored too, without the deployment's part.",
        "What the first deployment of a scope brought is deployed at no time, since there is nothing to compare with.",
        "A part that is negative is dropped uncounted and the sum goes on without it.",
        "An incident is laid at the door of the latest deployment, however long ago that was.",
        "Its own bands close the gaps of the report's (2021: lead times from an hour to a week are high).",
    ),
)
_GITLAB = Profile(
    "gitlab",
    "GitLab: lead time from the merge, incidents per deployment, time that incidents were open",
    lead="merge",
    link_within=None,
    recovery_from="incident",
    faults=(
        "GitLab divides incidents by deployments, so its rate can exceed 100%; node0 counts a deployment once.",
        "Its lead time leaves out everything before the merge, and takes negative ones as 0.",
        "Its time to restore is a median over days' values and leaves out incidents that are open.",
    ),
)
PROFILES: Mapping[str, Profile] = {one.name: one for one in (NODE0, _FOURKEYS, _DEVLAKE, _GITLAB)}


def profile(name: str, *, author: bool = False) -> Profile:
    """Return the profile of that name, with ``author`` counting from author time; raises ConfigError."""
    found = PROFILES.get(name)
    if found is None:
        raise ConfigError(f"there is no profile {name!r}; choose {', '.join(PROFILES)}")
    if author and found.lead not in ("committer", "author"):
        raise ConfigError(f"the profile {name} does not count from a commit's own time; author time is of no use to it")
    return replace(found, lead="author") if author else found
