"""Does the canary's judge keep its promises? Harmless canaries by the ten thousand, and bad ones by the thousand.

    python tests/benchmarks/canary_aa.py                  # all of it, some minutes
    python tests/benchmarks/canary_aa.py --rollouts 2000  # quicker and less sure

Promises; if one is missed, it is said, and the exit code is 1:

- Of 10,000 harmless rollouts that are looked at 180 times, at most 5% are ever stopped (the upper end of Wilson's 95%
  interval too): at 0.1%, 1% and 5% errors, for canaries of 1%, 5% and 25% and in stages of 5/25/50%, with a canary
  equal to the control and with one at the margin exactly, with iid failures, with bursts, overdispersion and
  autocorrelation of design effect 3, of which the judge is told, and with swings of both arms, which cancel.
- The same for the three metrics of a rollout together.
- At 100 requests/s, 1% errors and stages of 5 minutes, looked at each second, a doubling of the errors is rolled back
  within about 3 minutes in the median, x5 within about 30 s, x20 within about 10 s (a third more at most).
- One configuration of 10,000 x 180 takes at most 20 s on 2 cores.

Beside it: the naive rule (1.05 x the control, point estimates) on the same rollouts, Kayenta on the first thousand of
them, and what happens to a judge that is not told of the noise.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator

import numpy as np
import psutil

from node0lib.simulate.canary_walk import Plan, walk
from node0lib.simulate.degradation import Degradation, Noise, NoiseKind
from node0lib.simulate.harmless import NEVER, Question, family_stopped_by, stopped_by
from node0lib.simulate.rollouts import World
from node0lib.sli.intervals import Estimate, median_interval, wilson

LOOKS, ALPHA, LOOK = 180, 0.05, 5.0
KAYENTA = 1000
RATES, SHARES = (0.001, 0.01, 0.05), ((0.01,), (0.05,), (0.25,), (0.05, 0.25, 0.5))
NOISES: tuple[tuple[NoiseKind, float, float], ...] = (
    ("iid", 1, 1), ("bursts", 3, 3), ("overdispersed", 3, 3), ("autocorrelated", 3, 3), ("swings", 1, 1),
)  # fmt: skip
UNTOLD = tuple((kind, effect, 1.0) for kind, effect, told in NOISES if told > 1)
WITHIN = {2.0: 240.0, 5.0: 40.0, 20.0: 13.0}
"""Seconds until the median rollback: "about" is a third more at most."""
MOST_SECONDS = 20.0


def share_of(stopped: np.ndarray) -> Estimate:
    """The share of rollouts ever stopped, with its interval."""
    found = wilson(int((stopped < NEVER).sum()), stopped.size)
    assert found is not None
    return found


def told(found: Estimate) -> str:
    value, low, high = found
    return f"{value:6.2%} ({low:.2%} to {high:.2%})"


def names(shares: tuple[float, ...]) -> str:
    return "/".join(f"{share:.0%}" for share in shares)


def harmless(kind: NoiseKind, effect: float, given: float, rollouts: int) -> Iterator[tuple[str, bool, float]]:
    """A line of the table for each error rate and share, whether it keeps the promise, and its seconds."""
    for rate in RATES:
        for shares in SHARES:
            world = World(100.0, rate, Noise(kind, effect), LOOK)
            begun = time.perf_counter()
            asked = Question(world, shares, LOOKS // len(shares), rollouts, alpha=ALPHA, design_effect=given)
            equal = stopped_by(asked, kayenta=KAYENTA if given == effect else 0)
            lasted = time.perf_counter() - begun
            margin = stopped_by(Question(world, shares, LOOKS // len(shares), rollouts, Degradation(1.05), alpha=ALPHA,
                                         design_effect=given))  # fmt: skip
            both = share_of(equal["sequential"]), share_of(margin["sequential"])
            naive = [share_of(equal[judge]).value for judge in ("naive", "naive, last look")]
            others = f"{naive[0]:6.1%} {naive[1]:6.1%}"
            others += f" {share_of(equal['kayenta']).value:6.1%}" if "kayenta" in equal else "      -"
            line = f"{kind:<14} {effect:g}/{given:g}  {rate:5.1%} {names(shares):>10}  {told(both[0])}  {told(both[1])}"
            kept = all(one.high is not None and one.high <= ALPHA for one in both)
            yield f"{line}  {others}  {lasted:5.2f} s", kept, lasted


def together(rollouts: int) -> Iterator[tuple[str, bool]]:
    """The three metrics of a rollout."""
    for worst in (False, True):
        for shares in SHARES:
            asked = Question(World(look=LOOK), shares, LOOKS // len(shares), rollouts, alpha=ALPHA)
            found = share_of(family_stopped_by(asked, worst=worst))
            where = "each at its margin" if worst else "equal to the control"
            yield f"{names(shares):>10}  {where:<20}  {told(found)}", found.high is not None and found.high <= ALPHA


def power(ratio: float, alpha: float, rollouts: int) -> tuple[str, float]:
    """A line of the table of degradations, and the median until the rollback in seconds."""
    plan = Plan(World(look=1.0), looks=300, alpha=alpha)
    found = walk(plan, Degradation(ratio), "sequential", rollouts=rollouts, seed=2)
    line, value = delays(f"x{ratio:g}", plan.errors_alpha, found.delays)
    return f"{line}  {found.failed.mean():8.1f}  {np.median(found.exposed):8.0f}", value


def delays(name: str, alpha: float, found: np.ndarray) -> tuple[str, float]:
    """The beginning of such a line, and the median."""
    median = median_interval(found.tolist())
    assert median is not None
    value, low, high = median
    late = float(np.quantile(found, 0.9, method="higher"))
    most = f"{late:6.0f} s" if np.isfinite(late) else "   never"
    share = np.isfinite(found).mean()
    middle = f"{value:4.0f} s ({low:.0f} to {high:.0f})" if np.isfinite(value) else "missed"
    return f"{name:<34} {alpha:5.1%}  {share:6.1%}  {middle:<19}  {most}", value


def begun_late(ratio: float, begins: float, rollouts: int) -> str:
    """A line for a fault that begins in the middle of everything; stages go on by their time alone."""
    plan = Plan(World(look=1.0), looks=300)
    wrong = Degradation(ratio, begins=begins)
    asked = Question(plan.world, plan.shares, plan.looks, rollouts, wrong, alpha=plan.errors_alpha, seed=2)
    at = stopped_by(asked)["sequential"].astype(np.float64) + 1 - begins
    harmed = at[at > 0]  # the others were false
    stage = plan.shares[int(begins // plan.stage)]
    name = f"x{ratio:g} from {begins / 60:g} min on, at {stage:.0%}"
    return delays(name, plan.errors_alpha, np.where(harmed > 1e6, np.inf, harmed))[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=10_000, help="harmless ones for each configuration")
    rollouts = parser.parse_args().rollouts
    stopped_by(Question(World(look=LOOK), (0.05,), 10, 10), kayenta=10)  # compile
    missed, slowest = [], 0.0
    print(f"{rollouts:,} rollouts x {LOOKS} looks of {LOOK:g} s, 100 requests/s, alpha {ALPHA:.0%}; "
          f"{os.cpu_count()} cores, load {psutil.getloadavg()[0]:.1f}")  # fmt: skip
    print("noise        D/told  errors     canary  ever stopped, equal        ever stopped, at +5%       "
          "naive   last Kayenta")  # fmt: skip
    for noise in (*NOISES, *UNTOLD):
        for line, kept, lasted in harmless(*noise, rollouts):
            warned = noise in UNTOLD
            print(line + ("" if kept else "  <- not told of the noise" if warned else "  <- MISSED"), flush=True)
            slowest = max(slowest, lasted)
            missed += [line] if not (kept or warned) else []
    print("\nthree metrics together, alpha divided 80/10/10:")
    for line, kept in together(rollouts):
        print(line + ("" if kept else "  <- MISSED"), flush=True)
        missed += [] if kept else [line]
    many = max(200, rollouts // 5)
    print(f"\n{many:,} bad rollouts: 100 requests/s, 1% errors, stages 5/25/50% of 5 min, a look each second")
    print("errors                             alpha  stopped  median                 90%     failed*    users*")
    for alpha in (0.05 / 0.8, 0.05):
        for ratio, within in WITHIN.items():
            line, median = power(ratio, alpha, many)
            print(line + ("" if median <= within else "  <- MISSED"), flush=True)
            missed += [] if median <= within else [line]
    for ratio in (2.0, 5.0):
        for begins in (150.0, 300.0, 450.0, 600.0, 750.0):
            print(begun_late(ratio, begins, many), flush=True)
    print("* until the end: requests beyond the control's rate, mean; of 10,000 users those who met the canary, median")
    print(f"\nthe slowest configuration took {slowest:.1f} s, naive rule and {KAYENTA:,} times Kayenta included")
    if slowest > MOST_SECONDS:
        missed.append(f"a configuration took {slowest:.1f} s")
    print("every promise is kept" if not missed else f"{len(missed)} promises are missed: {'; '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
