"""The analysis report of a rollout: whatever happened, the page and the document tell it, whole and safely."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from types import MappingProxyType

import pytest
from bs4 import BeautifulSoup
from toy_service import Shop, quiet

from node0lib.canary.record import Deed, Return, RolloutRecord
from node0lib.canary.rollout import Abort, Command, Event, Revised, Rollout
from node0lib.canary.walk import Change, Minutes, Seen, Watch, walk
from node0lib.errors import DataError
from node0lib.evidence.canonical import policy_bytes, sha256
from node0lib.ports import Look, Policy, Target
from node0lib.simulate.service import POLICY, EmbeddedNode
from node0lib.slo.catalogue import CanaryRules, Catalogue, ChangeClass, ChangeRule
from node0lib.views.canary_report import document, incident, incident_text, page

NODE, NOON = EmbeddedNode(seed=7), datetime(2026, 11, 24, 12, tzinfo=UTC)
IMPATIENT: Policy = {**POLICY, "llm_timeout_ms": 50, "llm_retries": 0}
OTHER: Policy = {**POLICY, "cache_ttl_s": 31}
RULES = Catalogue(()).classes
L, M, H = RULES[ChangeClass.L], RULES[ChangeClass.M], RULES[ChangeClass.H]
HOSTILE = '<script>alert(1)</script> & "quoted" \u202e'


class _Deaf(Minutes):
    """A split whose telemetry cannot be had from the third look on."""

    def look(self) -> Look:
        if self._next >= 3:
            raise DataError("the server answers 503")
        return super().look()


class _Seconds(Minutes):
    """A split that is looked at every second."""

    def look(self) -> Look:
        seen = super().look()
        return replace(seen, minute=seen.minute / 60, length=1 / 60)


def record(
    candidate: Policy = IMPATIENT,
    rule: ChangeRule = M,
    target: Target = NODE,
    split: type[Minutes] = Minutes,
    events: Mapping[int, Event] = MappingProxyType({}),
    limit: float = 0.0144,
) -> RolloutRecord:
    """Walk a rollout, and write down what an orchestrator would; a command takes 0.2 s."""
    change = Change(POLICY, candidate, rule, CanaryRules(), limit, NOON, seed=1)
    seen: list[Seen] = []
    deeds: list[Deed] = []

    def told(rollout: Rollout, command: Command, done: bool) -> None:
        if done:
            deeds[-1] = replace(deeds[-1], confirmed=deeds[-1].decided + timedelta(seconds=0.2))
        else:
            deeds.append(Deed(command, NOON + timedelta(minutes=rollout.minute), None))

    coming = dict(events)

    def pulse(_: Rollout) -> Event | None:
        return coming.pop(len(seen), None)

    walked = walk(change, split(change, target, quiet), change.plan(), Watch(pulse, seen.append, told))
    backs = [deed for deed in deeds if deed.command.kind == "roll_back"]
    back = Return(backs[0].decided, backs[0].confirmed or NOON, 1, 30.0, 0) if backs else None
    end = NOON + timedelta(minutes=walked.minutes)
    return RolloutRecord(
        "c-17", "M", ("a retry changes",), change, target.name, True, NOON, end, tuple(seen), tuple(deeds), walked, back
    )


@cache
def samples() -> dict[str, RolloutRecord]:
    """Rollouts of every kind, really walked."""
    quick = replace(M, stages=(0.5, 1.0), stage_duration=timedelta(minutes=2))
    promoted = record(POLICY)
    return {
        "promoted": promoted,
        "rolled_back": record(),
        "slow_harm": record(OTHER, target=Shop(harm=1.5), limit=0.05),
        "held": record(POLICY, H),
        "silent": record(OTHER, target=Shop(silent_from=3), limit=0.05),
        "deaf": record(POLICY, split=_Deaf),
        "aborted": record(POLICY, events={20: Abort("ada says stop")}),
        "watched": record(IMPATIENT, L),
        "seconds": record(OTHER, quick, Shop(traffic=100), _Seconds, limit=0.05),
        "never": record(OTHER, target=Shop(silent_from=0), limit=0.05),
        "error": replace(promoted, walked=None, looks=promoted.looks[:9], error="the traffic could not be taken back"),
        "nothing": replace(promoted, walked=None, looks=(), deeds=(), error="the target is not there"),
        "real": replace(record(), simulated=False, notes=("the guard was on duty",)),
    }


KINDS = pytest.mark.parametrize(
    "kind",
    ("promoted", "rolled_back", "slow_harm", "held", "silent", "deaf", "aborted", "watched", "seconds", "never")
    + ("error", "nothing", "real"),
)


def _soup(record: RolloutRecord) -> BeautifulSoup:
    return BeautifulSoup(page(record), "html.parser")


@KINDS
def test_the_document_is_strict_json_with_every_look(kind: str) -> None:
    """Whatever happened, the document has no NaN and no Infinity, every look and every deed, and UTC times with a Z."""
    record = samples()[kind]
    found = json.loads(json.dumps(document(record), allow_nan=False))
    assert found["schema"] == "node0-canary-report/1"
    assert (len(found["looks"]), len(found["deeds"])) == (len(record.looks), len(record.deeds))
    assert found["ending"] == (record.walked.ending if record.walked else None)
    assert all(deed[at].endswith("Z") for deed in found["deeds"] for at in ("decided", "confirmed"))
    assert [one["canary"]["requests"] for one in found["looks"]] == [s.look.canary.requests for s in record.looks]
    assert sum(one["canary"]["requests"] for one in found["looks"]) == found["exposed"]["requests"]


def test_the_document_says_what_a_look_showed_and_what_was_changed() -> None:
    """A look has the state, the shares, each metric's interval, verdict and need; a change its policies and digests."""
    found = document(samples()["promoted"])
    first = found["looks"][0]
    assert (first["state"], first["share"], first["minute"], first["length"]) == ("observing", 0.05, 0, 1)
    assert first["got"] == first["canary"]["requests"] / (first["canary"]["requests"] + first["control"]["requests"])
    error = first["metrics"][0]
    assert error["metric"] == "error_rate" and error["low"] < error["ratio"] < error["high"]
    assert error["verdict"] == "inconclusive" and error["need"] > 100_000 and error["margin"] == 1.05
    assert document(samples()["rolled_back"])["looks"][0]["metrics"][0]["high"] is None, "no harm was excluded"
    change = document(samples()["rolled_back"])["change"]
    assert change["after"]["digest"] == sha256(policy_bytes(IMPATIENT)) != change["before"]["digest"]
    assert [one["knob"] for one in change["differs"]] == ["llm_timeout_ms", "llm_retries"]
    assert found["plan"]["stages"] == [0.05, 0.25, 0.5, 1.0] and found["plan"]["length_minutes"] == 15


def test_what_was_not_excluded_is_that_of_the_last_comparison() -> None:
    """Each metric that did not pass is named with the harm that is left; without a comparison that is not known."""
    promoted = samples()["promoted"]
    assert promoted.walked is not None
    left = document(promoted)["not_excluded"]
    compared = promoted.walked.stages[2].verdicts
    assert [(one["metric"], one["up_to"]) for one in left] == [(v.metric, v.high) for v in compared if v.kind != "pass"]
    assert all(one["share"] == 0.5 for one in left)
    assert document(samples()["watched"])["not_excluded"] is None
    assert "no harm is excluded" in page(samples()["never"])


@KINDS
def test_the_page_is_whole_and_loads_nothing(kind: str) -> None:
    """One heading, contents that lead somewhere, a description to every picture; no script, nothing from elsewhere."""
    soup = _soup(samples()[kind])
    assert len(soup.find_all("h1")) == 1 and not soup.find_all(["script", "iframe", "link", "object"])
    assert all(soup.find(id=str(a["href"])[1:]) for a in soup.select("nav a"))
    assert all(len(str(image["alt"])) > 60 and str(image["src"]).startswith("data:") for image in soup.find_all("img"))
    assert not re.search(r"(src|href)=.https?:|@import|url\(", str(soup))
    assert "nan" not in re.findall(r"[a-z]+", soup.get_text().lower())


@pytest.mark.parametrize(
    ("kind", "headline"),
    [
        ("promoted", "Promoted: 3 of 4 stages went on with something not excluded"),
        ("rolled_back", "Rolled back: at 5%: error rate at least"),
        ("held", "Held: error rate, latency p95, latency p99 not shown to be harmless at 1% of the traffic"),
        ("silent", "Rolled back: no canary requests in minute 3: telemetry is lost"),
        ("deaf", "Rolled back: telemetry is lost: the server answers 503"),
        ("aborted", "Rolled back: ada says stop"),
        ("watched", "Rolled back: at 100%: error rate"),
        ("error", "Ended by an error"),
        ("nothing", "Ended by an error"),
    ],
)
def test_the_headline_says_how_it_ended_and_why(kind: str, headline: str) -> None:
    """The first sentence is the outcome with its reason, in the colour of the outcome."""
    soup = _soup(samples()[kind])
    found = soup.select_one(".verdict .kind")
    assert found is not None and found.get_text().startswith(headline)
    tone = {"Promoted": "good", "Held": "notice"}.get(headline.split(":")[0], "bad")
    assert soup.body is not None and soup.body["class"][0] == tone


def test_a_person_who_let_it_go_on_is_named() -> None:
    """A promotion over a stage that was held says that a person let it go on, and who; any other does not."""
    promoted = samples()["promoted"]
    deeds = [d for d in promoted.deeds if d.command.kind == "send"]
    let = replace(deeds[1], command=replace(deeds[1].command, reason="Zoë says go on"))
    told = _soup(replace(promoted, deeds=(deeds[0], let, *deeds[2:]))).select_one(".verdict")
    assert told is not None and "A person let it go on where the judge did not: Zoë says go on (to 25%)" in told.text
    assert "A person let it go on" not in page(promoted)


def test_looks_that_are_seconds_apart_are_told_in_seconds() -> None:
    """A column of seconds for looks each second, of minutes for looks each minute; a glossary for latencies."""
    seconds, minutes = (_soup(samples()[kind]) for kind in ("seconds", "promoted"))
    assert [soup.select(".looks thead th")[0].text for soup in (seconds, minutes)] == ["second", "minute"]
    assert seconds.select_one(".looks tbody tr").text.strip().startswith("1.0")  # type: ignore[union-attr]
    assert "5%/s times as many" in seconds.get_text()


def test_the_banner_tells_real_from_simulated() -> None:
    """A simulated target is called so on the page and in its title, real traffic is called real."""
    simulated, real = _soup(samples()["rolled_back"]), _soup(samples()["real"])
    for soup, banner in ((simulated, "SIMULATED TARGET"), (real, "REAL TRAFFIC")):
        assert soup.select_one(".running strong").get_text() == banner  # type: ignore[union-attr]
        assert soup.title is not None and banner in soup.title.get_text()
    assert "SIMULATED" not in real.get_text() and "the guard was on duty" in real.get_text()


def test_pictures_state_their_numbers() -> None:
    """The alternative text has every stage's ratio, interval and margin, its traffic and its failures."""
    record = samples()["promoted"]
    assert record.walked is not None
    alts = [str(image["alt"]) for image in _soup(record).find_all("img")]
    assert len(alts) == 5
    verdict = record.walked.stages[0].verdicts[0]
    assert (
        f"at 5% until 30 minutes: {verdict.ratio:.2f}, at least {verdict.low:.2f}, at most {verdict.high:.2f}"
        in alts[0]
    )
    assert "margin 1.05, inconclusive" in alts[0] and "ordered 25%, got 25." in alts[3]
    assert f"of {record.walked.stages[2].canary.requests:,}" in alts[4] and "Absolute limit 1.44%" in alts[4]


def test_another_revision_begins_again() -> None:
    """What was seen of the revision before is told apart: two first stages, and what is left is of the second alone."""
    again = Revised(sha256(policy_bytes(IMPATIENT)), IMPATIENT)
    rec = record(POLICY, events={5: again})
    found = document(rec)
    assert len({one["revision"] for one in found["looks"]}) == 2 and found["ending"] == "rolled_back"
    assert (
        found["not_excluded"][0]["verdict"] == "fail" and found["looks"][4]["metrics"][0]["verdict"] == "inconclusive"
    )
    assert str(_soup(rec).find_all("img")[0]["alt"]).count("at 5% until") == 2


def test_many_looks_are_thinned_on_the_page_and_not_in_the_document() -> None:
    """Of 360 looks a second apart the page shows a few dozen, with the last of every stage, and says so."""
    record = samples()["seconds"]
    table = _soup(record).select("#looks ~ .output table")[0]
    rows = [row.get_text(" ") for row in table.select("tbody tr")]
    assert len(record.looks) == len(document(record)["looks"]) == 360 and 40 <= len(rows) <= 50
    assert f"{len(rows)} of 360 looks" in table.get_text()
    assert [sum(row.startswith(f"{second}.0 ") for row in rows) for second in (120, 240, 360)] == [1] * 3
    assert len(page(record)) < 200_000


def test_foreign_text_is_escaped_everywhere() -> None:
    """An identifier, a reason, a note, a knob or an error that looks like markup is shown as text."""
    plain = record({**POLICY, HOSTILE: HOSTILE}, target=Shop(silent_from=0), limit=0.05)
    assert plain.walked is not None
    walked = replace(plain.walked, reasons=(HOSTILE,), stages=(replace(plain.walked.stages[0], reason=HOSTILE),))
    deeds = tuple(replace(d, command=replace(d.command, reason=HOSTILE)) for d in plain.deeds)
    named = replace(plain, id=HOSTILE, why=(HOSTILE,), target=HOSTILE, notes=(HOSTILE,), walked=walked, deeds=deeds)
    for one in (named, replace(named, walked=None, error=HOSTILE)):
        soup = _soup(one)
        assert not soup.find_all("script") and soup.get_text().count("<script>alert(1)</script>") >= 7
        json.dumps(document(one), allow_nan=False)


@KINDS
def test_an_incident_is_what_was_taken_back_or_ended_by_an_error(kind: str) -> None:
    """A rollback is an incident, and so is traffic that was sent and an error after it; anything else is none."""
    rec = samples()[kind]
    expected = kind == "error" or (rec.walked is not None and rec.walked.ending == "rolled_back")
    found, told = incident(rec, ("poi.json",)), incident_text(rec, ("poi.json",))
    assert (found is not None, told is not None) == (expected, expected)
    if found is not None and told is not None:
        json.dumps(found, allow_nan=False)
        assert found["evidence"] == ["poi.json"] and "Evidence: poi.json" in told and "c-17" in told


def test_the_incident_counts_users_failures_and_seconds() -> None:
    """Canary requests, failures beyond the control's rate, and the seconds to no traffic, as the looks have them."""
    rec = samples()["slow_harm"]
    found, told = incident(rec), incident_text(rec)
    control = [sum(getattr(s.look.control, n) for s in rec.looks) for n in ("requests", "errors")]
    canary = [sum(getattr(s.look.canary, n) for s in rec.looks) for n in ("requests", "errors")]
    assert found is not None and told is not None and rec.back is not None
    beyond = canary[1] - canary[0] * control[1] / control[0]
    assert found["exposed"] == {"requests": canary[0], "failed": canary[1], "beyond_control": pytest.approx(beyond)}
    assert (found["rollback"]["seconds"], found["rollback"]["kept"], found["share"]) == (0.2, True, 0.05)
    assert f"{canary[0]:,} canary requests, {canary[1]:,} of them failed, about {beyond:,.0f} more than" in told
    assert "0.2 s from the decision to no traffic" in told and "(SIMULATED)" in told
    watched = incident(samples()["watched"])
    assert watched is not None and watched["exposed"]["beyond_control"] is None, "there was no control"


def test_a_promise_that_was_not_kept_is_said() -> None:
    """A way back that took too long, or that nobody confirmed, is not called kept."""
    rec = samples()["rolled_back"]
    assert rec.back is not None
    late = replace(
        rec, back=replace(rec.back, confirmed=rec.back.decided + timedelta(seconds=41), attempts=3, after=None)
    )
    text = incident_text(late)
    assert text is not None and "41.0 s" in text and "NOT KEPT" in text and "after 3 attempts" in text
    assert "NOT kept" in page(late) and document(late)["rollback"]["kept"] is False
    assert "The traffic was withdrawn: 0.2 s from the decision" in page(samples()["held"])
    lost = incident_text(replace(rec, back=None))
    assert lost is not None and "it was not confirmed that the canary has no traffic" in lost
