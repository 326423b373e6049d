"""Do the statistics of delivery hold what they promise? Intervals, tests and forecasts over many simulated histories.

    python tests/benchmarks/dora_coverage.py                        # all three, about ten minutes of one core
    python tests/benchmarks/dora_coverage.py intervals --most 20    # intervals of 5 to 20 deployments
    python tests/benchmarks/dora_coverage.py kinds --histories 200  # false and found trends, forecasts, by kind

- ``intervals``: nominal 95% intervals of every metric, at every n from 5 on, 5,000 histories each, from events to
  interval, with rare and frequent failures and recoveries that are mostly still open. Ends with an error below 93%.
- ``kinds``: trends found and forecasts held for each kind of history, as the notebook shows them, over many more. Ends
  with an error if steady teams have more false trends than 5% and luck.
- ``neighbours``: false trends where each week resembles the one before.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1] / "oracles"))
from delivery_windows import World, coverage, frequency_coverage

from node0lib.dora.trends import trend
from node0lib.simulate.delivery import KINDS
from node0lib.simulate.delivery_trials import trials

PROMISED, HISTORIES, STEADY = 0.93, 5000, ("steady", "small team")
WORLDS = {"usual": World(), "rare": World(0.01, 0.02, 0.05), "often, mostly open": World(0.4, 0.3, 1.5)}


def intervals(most: int) -> bool:
    """Print the least coverage of each metric and at which n; whether all keep the promise."""
    good = True
    for name, world in WORLDS.items():
        least: dict[str, tuple[float, int]] = {}
        for n in range(5, most + 1):
            for metric, (share, _) in coverage(world, n, HISTORIES, seed=n).items():
                least[metric] = min(least.get(metric, (2.0, 0)), (share, n))
        print(f"{name}: " + ", ".join(f"{metric} {share:.1%} (n = {n})" for metric, (share, n) in least.items()))
        good &= all(share >= PROMISED for share, _ in least.values())
    rates = {mean: frequency_coverage(float(mean), HISTORIES, seed=mean) for mean in range(5, most + 1)}
    share, mean = min((share, mean) for mean, share in rates.items())
    print(f"frequency {share:.1%} ({mean} expected)")
    return good and share >= PROMISED


def kinds(histories: int, weeks: int) -> bool:
    """Print trends found and forecasts held by kind and metric; whether steady teams have no more than 5% and luck."""
    good = True
    for kind, team in KINDS.items():
        found = trials(team, weeks=weeks, histories=histories, seed=11)
        print(f"{kind}, {histories} histories of {weeks} weeks")
        for name, one in found.metrics.items():
            held = ", ".join(f"{week.held / max(1, week.asked):.0%} of {week.asked}" for week in one.forecast)
            print(f"  {name}: rising {one.rising / histories:.1%}, falling {one.falling / histories:.1%}; held {held}")
            false = one.rising + one.falling
            good &= kind not in STEADY or false <= stats.binom.ppf(0.999, histories, 0.05)
    return good


def neighbours(histories: int, weeks: int) -> bool:
    """Print how often a trend is found in weeks that each keep a share of the one before, and how often with doubt."""
    rng = np.random.default_rng(12)
    for share in (0.0, 0.3, 0.6):
        found = []
        for _ in range(histories):
            noise = rng.normal(size=weeks + 100)
            for at in range(1, len(noise)):
                noise[at] += share * noise[at - 1]
            found.append(trend(noise[100:].tolist()))
        false = [one for one in found if one.verdict != "no evidence"]
        told = sum("resemble" in one.reason for one in false)
        print(f"resemblance {share:g}: {len(false) / histories:.1%} false trends, {told} of {len(false)} with doubt")
    return True


def main() -> int:
    """Print what was asked for; 1 if a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("intervals", "kinds", "neighbours"))
    parser.add_argument("--most", type=int, default=60, help="deployments up to which intervals are tried")
    parser.add_argument("--histories", type=int, default=1000, help="of each kind")
    parser.add_argument("--weeks", type=int, default=26)
    asked = parser.parse_args()
    parts = {
        "intervals": lambda: intervals(asked.most),
        "kinds": lambda: kinds(asked.histories, asked.weeks),
        "neighbours": lambda: neighbours(asked.histories, asked.weeks),
    }
    kept = [run() for name, run in parts.items() if asked.part in (None, name)]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
