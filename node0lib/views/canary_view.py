"""A study of canaries in words and tables: what is asked, what judges do, what that costs, what nobody can see.

>>> judges(Plan()).text.splitlines()[0]
'The judges, on the same simulated rollouts'
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from node0lib.simulate.canary_study import Need, Noisy, Outcome, Outcomes, Study, requests
from node0lib.simulate.canary_walk import JUDGES, Judge, Plan
from node0lib.simulate.degradation import HARMLESS, WHAT, NoiseKind
from node0lib.sli.intervals import Estimate
from node0lib.views import words
from node0lib.views.alarms import estimated, lasting
from node0lib.views.display import Display
from node0lib.views.tables import Column, table

_NOISE: dict[NoiseKind, str] = {
    "iid": "independent failures",
    "bursts": "failures come in bursts of one client",
    "overdispersed": "each arm's error rate changes from look to look",
    "autocorrelated": "each arm's error rate wanders by itself",
    "swings": "both arms' error rate wanders, the same way",
}


def question(asked: Study) -> Display:
    """Say what is asked: traffic, stages, noise, how much is simulated."""
    plan, world = asked.plan, asked.plan.world
    sent = requests(plan)
    stages = "/".join(words.percent(share, 0) for share in plan.shares)
    told = f"; judges are told its design effect, {plan.design_effect:g}" if plan.design_effect > 1 else ""
    margin = words.percent(plan.margin - 1, 0)
    facts = (
        ("traffic", f"{world.per_second:g} requests a second; {plan.users:,} users, each keeps to one version"),
        ("errors", f"{words.percent(world.error_rate, 2)} of the control's requests fail; {margin} more is harmless"),
        ("stages", f"{stages} of the traffic, {lasting(plan.stage)} each, a look every {lasting(world.look)}"),
        ("canary requests", f"{sent[0]:,.0f} by the end of the first stage, {sent[-1]:,.0f} by the end of the last"),
        ("noise", f"{world.noise.kind}: {_NOISE[world.noise.kind]}{told}"),
        ("alpha, beta", f"{words.percent(plan.alpha, 0)} for a rollout, of which errors have "
                        f"{words.percent(plan.errors_alpha, 1)}; {words.percent(plan.beta, 0)}"),
        ("simulated", f"{asked.rollouts:,} rollouts for each of {len(asked.kinds)} degradations and for none, and for "
                      f"each judge; seed {asked.seed}"),
    )  # fmt: skip
    return table("What is asked. Everything below is SIMULATED.", (Column("what"), Column("value")), facts)


def judges(plan: Plan) -> Display:
    """Say how each judge is asked, and what it does with the answer."""
    look, points = lasting(plan.world.look), f"{plan.looks} points"
    meant = (
        ("sequential", f"every {look}",
         "harm above the margin is shown, or the canary does not get its share, or is not heard of",
         f"if it passes; else the stage's time once more, and then if harm above {plan.harm_cap:g} times is excluded; "
         "else a person is asked (inconclusive)"),
        ("kayenta", "at the end of each stage, on its error rates of each look",
         f"the {points} of the canary rank above the control's (Mann-Whitney, 98%, tolerance 25%), or there are none",
         "in all other cases"),
        ("naive", f"every {look}, on all since the beginning",
         f"the canary's error rate is above {plan.margin:g} times the control's", "in all other cases"),
    )  # fmt: skip
    columns = (Column("judge"), Column("looks"), Column("rolls back if"), Column("goes on"))
    return table("The judges, on the same simulated rollouts", columns, meant)


def degradations(asked: Study) -> Display:
    """Say what goes wrong in each kind of degradation."""
    told = ((name, WHAT[name]) for name in (HARMLESS, *asked.kinds))
    return table("The degradations", (Column("degradation"), Column("what is wrong with the canary")), told)


def in_short(asked: Study, found: Outcomes) -> Display:
    """Say in a few sentences what each judge does."""
    harmless = found[HARMLESS]
    lines = [
        f"Harmless canaries rolled back: {', '.join(f'{j} {_share(harmless[j].rolled_back)}' for j in JUDGES)}.",
        *(_in_short(name, found[name]) for name in asked.kinds),
    ]
    items = "".join(f"<li>{escape(line[:1].upper() + line[1:])}</li>" for line in lines)
    return Display(f"<ul>{items}</ul>", "\n".join(lines))


def _in_short(name: str, found: Mapping[Judge, Outcome]) -> str:
    return f"{name}: " + "; ".join(f"{judge} {_told(found[judge])}" for judge in JUDGES[:2]) + "."


def _told(found: Outcome) -> str:
    if math.isinf(found.delay.value):
        others = ((found.promoted, "promotes"), (found.held, "holds"), (found.rolled_back, "rolls back"))
        return ", ".join(f"{does} {_whole(share.value)}" for share, does in others if share.value >= 0.005)
    of_them = "" if found.detected.value > 0.995 else f" ({_whole(found.detected.value)} of them)"
    return f"rolls back after {lasting(found.delay.value)}{of_them}"


def _whole(share: float) -> str:
    return words.nearly(share, 0)


def _share(found: Estimate) -> str:
    return estimated(found, words.percent)


_ENDS = (
    Column("degradation"), Column("judge"),
    *(Column(head, number=True) for head in ("rolled back", "of these too early", "inconclusive", "promoted")),
)  # fmt: skip


def outcomes(asked: Study, found: Outcomes) -> Display:
    """Show how rollouts end, for each degradation and judge."""
    lines = []
    for name, by_judge in found.items():
        for judge, outcome in by_judge.items():
            early = outcome.rolled_back.value - outcome.detected.value
            lines.append(
                (
                    name, judge, _share(outcome.rolled_back),
                    "all" if name == HARMLESS and outcome.rolled_back.value else words.percent(early),
                    _share(outcome.held), _share(outcome.promoted),
                )
            )  # fmt: skip
    caption = (
        f"How {asked.rollouts:,} simulated rollouts of each kind end (95% intervals). Too early: "
        "before there was any harm, so for a wrong reason"
    )
    return table(caption, _ENDS, lines)


_COSTS = (
    Column("degradation"), Column("judge"),
    *(Column(head, number=True) for head in (
        "detected", "median", "nine of ten within", "users exposed", "failed requests", "rollout lasts")),
)  # fmt: skip


def costs(asked: Study, found: Outcomes) -> Display:
    """Show how soon each degradation is told, and what it costs until the end of the rollout."""
    lines = [(name, judge, *_cost(name, one)) for name, by_judge in found.items() for judge, one in by_judge.items()]
    caption = (
        f"Until the end of the rollout, {asked.rollouts:,} simulated rollouts of each kind (95% intervals): time from "
        "the beginning of the harm to the rollback, users who met the canary (median), requests that failed users "
        "beyond what the control would have failed (mean), length (median)"
    )
    return table(caption, _COSTS, lines)


def _cost(name: str, found: Outcome) -> tuple[str, ...]:
    told = (_share(found.detected), estimated(found.delay, lasting), estimated(found.late, lasting))
    return (
        *(("-", "-", "-") if name == HARMLESS else told),
        estimated(found.exposed, _count),
        estimated(found.failed, _few),
        estimated(found.lasted, lasting),
    )


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _few(value: float) -> str:
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"
    return text.replace("-0.0", "0.0") if text == "-0.0" else text


def noises(asked: Study, found: Sequence[Noisy], looks: int = 180) -> Display:
    """Show what noise does to judges of harmless canaries."""
    columns = (
        Column("noise"), Column("what it is"), Column("design effect", number=True),
        Column("sequential, told", number=True), Column("not told", number=True), Column("naive", number=True),
    )  # fmt: skip
    lines = [
        (
            one.noise.kind, _NOISE[one.noise.kind], f"{one.noise.told:g}", _share(one.told),
            _share(one.untold) if one.noise.told > 1 else "-", _share(one.naive),
        )
        for one in found
    ]  # fmt: skip
    limit, share = words.percent(asked.plan.errors_alpha, 1), words.percent(asked.plan.shares[0], 0)
    caption = (
        f"Harmless canaries that are ever stopped in {looks} looks at {share} of the traffic, {asked.rollouts:,} "
        f"simulated rollouts (95% intervals); the sequential judge promises at most {limit}, and keeps that only "
        "if it is told of the noise"
    )
    return table(caption, columns, lines)


def needs(plan: Plan, found: Sequence[Need]) -> Display:
    """Show how many canary requests it takes to tell a harm, and how long that is at the first stage's share."""
    per_second = plan.world.per_second * plan.shares[0]

    def told(count: float) -> str:
        return "never" if math.isinf(count) else f"{_rounded(count)} ({lasting(count / per_second)})"

    columns = (Column("errors of the canary"), *(Column(head, number=True) for head in (
        "one look at a planned sample", "sequential: a harmless canary is shown to be better",
        "sequential: one as bad is rolled back")))  # fmt: skip
    lines = [(_more(n.ratio), told(n.fixed), told(n.excluded), told(n.caught)) for n in found]
    share = words.percent(plan.shares[0], 0)
    sent = requests(plan)
    caption = (
        f"Canary requests (and how long they take at {share} of {plan.world.per_second:g} a second) to tell a harm "
        f"with a power of 80%, at {words.percent(plan.world.error_rate, 2)} errors. There are {sent[0]:,.0f} by the "
        f"end of the first stage and {sent[-1]:,.0f} by the end of the last"
    )
    return table(caption, columns, lines)


def _rounded(count: float) -> str:
    """Three figures: the models behind are no better."""
    digits = 3 - len(str(round(count)))
    return f"{round(count, min(digits, 0)):,.0f}"


def _more(ratio: float) -> str:
    return f"+{(ratio - 1) * 100:.3g}%" if ratio < 2 else f"x{ratio:g}"


def answer(plan: Plan, found: Sequence[Need]) -> Display:
    """Say when the judge is blind, and how many requests it misses."""
    least, sent = found[0], requests(plan)
    twice = 2 * sent[0]
    caught = next((_more(need.ratio) for need in found if need.caught <= sent[0]), None)
    excluded = next((_more(need.ratio) for need in found if need.excluded <= twice), None)
    lines = (
        f"To tell {_more(least.ratio)} at {words.percent(plan.world.error_rate, 2)} errors takes "
        f"{_rounded(least.fixed)} canary requests at one planned look, and {_rounded(least.excluded)} if one may look "
        f"at any time. This rollout has {sent[-1]:,.0f}. "
        + (
            "A pass at the margin is out of reach, and the judge says so at every stage, with the number of requests "
            "that it misses."
            if least.excluded > sent[-1]
            else "A harmless canary may pass at the margin."
        ),
        f"In the first stage ({sent[0]:,.0f} canary requests) four of five canaries are rolled back "
        + (f"if they have {caught} the errors or more." if caught else "at no size of harm that is listed here."),
        f"With its time taken twice ({twice:,.0f}) "
        + (f"harm of {excluded} and more is excluded" if excluded else "no harm that is listed here is excluded")
        + " for four of five harmless canaries. Such a rollout goes on because large harm is excluded, not because "
        "there is none; what lies below is not known, and the report says that.",
    )
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return Display(f"<ul>{items}</ul>", "\n".join(lines))
