"""How fast is the replay? Against ``promtool test rules`` on the same month in the same run, and on many months.

    python tests/benchmarks/alert_replay.py            # a month against promtool (some minutes), and 10..10,000 months
    python tests/benchmarks/alert_replay.py --days 7   # a shorter race
    python tests/benchmarks/alert_replay.py --no-promtool

The race: one SLO at one-minute resolution through the workbook's four pairs. promtool evaluates rules of the same
expressions; what it is asked to confirm are the number of firing minutes of each alert and the state on both sides of
each onset and end, all taken from the replay: if the answers differ, promtool fails and so does this program.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import psutil

from node0lib.alerts.policy import AlertPolicy, BurnAlert, workbook_policy
from node0lib.alerts.replay import (
    BucketSeries,
    CounterSeries,
    Evaluations,
    in_order,
    replay_buckets,
    replay_counters,
)
from node0lib.timespan import format_duration

MINUTE, DAY = 60_000, 1440
POLICY = workbook_policy(0.999)
FASTER = {"counters": 20_000, "buckets": 100_000}
SECONDS = {"counters": 5.0, "buckets": 1.0}
"""What the product promises; a run that misses it ends with an error."""


def month(seed: int, days: int) -> tuple[np.ndarray, np.ndarray]:
    """Bad and total events (minutes,) of a month with a day's rhythm, a floor of errors and some outages."""
    rng = np.random.default_rng(seed)
    n = days * DAY
    total = rng.poisson(600 * (1 + 0.5 * np.sin(np.arange(n) * 2 * np.pi / DAY)))
    bad = rng.binomial(total, 0.0003)
    for _ in range(max(1, days // 6)):
        start, length, share = rng.integers(0, n - 300), rng.integers(5, 240), rng.choice([0.02, 0.1, 0.5, 1.0])
        bad[start : start + length] = rng.binomial(total[start : start + length], share)
    return bad.astype(float), total.astype(float)


def counter_series(bad: np.ndarray, total: np.ndarray) -> CounterSeries:
    """The same month as it is scraped, once a minute from zero on."""
    return CounterSeries(np.arange(bad.size) * MINUTE, np.cumsum(bad) - bad[0], np.cumsum(total) - total[0])


def bucket_series(bad: np.ndarray, total: np.ndarray) -> BucketSeries:
    """The same month as buckets that end at each minute."""
    return BucketSeries(np.arange(bad.size) * MINUTE, bad, total)


def fresh(series: CounterSeries | BucketSeries) -> CounterSeries | BucketSeries:
    """The same numbers as a new value: nothing that an earlier run computed is used again."""
    return replace(series)


def best_seconds(run: Callable[[], object], times: int) -> float:
    """The shortest of several warm runs."""
    run()
    lasted = []
    for _ in range(times):
        begun = time.perf_counter()
        run()
        lasted.append(time.perf_counter() - begun)
    return min(lasted)


def rule(alert: BurnAlert, policy: AlertPolicy, kind: str) -> dict[str, str]:
    """The alerting rule of one pair, on counters or on gauges that hold a bucket's events."""
    threshold = repr(policy.threshold(alert))

    def ratio(window: timedelta) -> str:
        if kind == "counters":
            text = format_duration(window)
            return f"sum(rate(bad_total[{text}])) / sum(rate(total_total[{text}]))"
        text = format_duration(window - timedelta(milliseconds=1))  # 2.x closes ranges on both sides
        return f"sum(sum_over_time(bad[{text}])) / sum(sum_over_time(total[{text}]))"

    expr = f"{ratio(alert.long)} > {threshold} and {ratio(alert.short)} > {threshold}"
    return {"alert": alert.name, "expr": expr}


def promtool_seconds(kind: str, bad: np.ndarray, total: np.ndarray, firing: np.ndarray) -> float:
    """Run promtool on the month, asking it to confirm the replay's answer; returns its wall time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rules = [rule(alert, POLICY, kind) for alert in POLICY.alerts]
        groups = {"groups": [{"name": "burn", "interval": "1m", "rules": rules}]}
        (folder / "rules.json").write_text(json.dumps(groups), "utf-8")
        (folder / "test.json").write_text(json.dumps(_unit_test(kind, bad, total, firing)), "utf-8")
        begun = time.perf_counter()
        done = subprocess.run(
            ["promtool", "test", "rules", "test.json"], cwd=folder, capture_output=True, text=True, check=False
        )
        lasted = time.perf_counter() - begun
    if done.returncode:
        sys.exit(f"promtool does not agree:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return lasted


def _unit_test(kind: str, bad: np.ndarray, total: np.ndarray, firing: np.ndarray) -> dict[str, object]:
    def values(numbers: np.ndarray) -> str:
        return " ".join(f"{int(v)}" for v in numbers)

    if kind == "counters":
        pairs = [("bad_total", np.cumsum(bad) - bad[0]), ("total_total", np.cumsum(total) - total[0])]
    else:
        pairs = [("bad", bad), ("total", total)]
    n = bad.size
    counts = [
        {
            "expr": f'sum(count_over_time(ALERTS{{alertname="{alert.name}",alertstate="firing"}}[{n}m])) or vector(0)',
            "eval_time": f"{n - 1}m",
            "exp_samples": [{"labels": "{}", "value": int(row.sum())}],
        }
        for alert, row in zip(POLICY.alerts, firing, strict=True)
    ]
    states = []
    for alert, row in zip(POLICY.alerts, firing, strict=True):
        edges = np.flatnonzero(np.diff(row.astype(np.int8)))
        for minute in sorted({int(m) for edge in edges for m in (edge, edge + 1)}):
            alerts = [{"exp_labels": {}}] if row[minute] else []
            states.append({"eval_time": f"{minute}m", "alertname": alert.name, "exp_alerts": alerts})
    return {
        "rule_files": ["rules.json"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values(numbers)} for name, numbers in pairs],
                "promql_expr_test": counts,
                "alert_rule_test": states,
            }
        ],
    }


def race(days: int) -> None:
    """One month against promtool, on counters and on buckets."""
    bad, total = month(1, days)
    evaluations = Evaluations(0, MINUTE, bad.size)
    counters, buckets = counter_series(bad, total), bucket_series(bad, total)
    runs = {
        "counters": lambda: replay_counters(POLICY, [fresh(counters)], evaluations, 2),
        "buckets": lambda: replay_buckets(POLICY, fresh(buckets), evaluations),
    }
    for kind, run in runs.items():
        firing = run()
        ours = best_seconds(run, 20)
        theirs = promtool_seconds(kind, bad, total, firing)
        minutes = int(firing.sum())
        print(
            f"{days} days on {kind}: replay {ours * 1000:.2f} ms, promtool {theirs:.1f} s, the same {minutes} firing "
            f"minutes: {theirs / ours:,.0f} times faster",
            flush=True,
        )
        if days == 30 and theirs / ours < FASTER[kind]:
            sys.exit(f"the replay must be {FASTER[kind]:,} times faster than promtool on {kind}")


def many_months(kind: str, months: int, workers: int) -> None:
    """Evaluate many months, drawn from 50 different ones, on all cores."""
    drawn = [month(seed, 30) for seed in range(50)]
    evaluations = Evaluations(0, MINUTE, 30 * DAY)
    make = counter_series if kind == "counters" else bucket_series
    pool = [make(*one) for one in drawn]

    def one(series: CounterSeries | BucketSeries) -> np.ndarray:
        if isinstance(series, CounterSeries):
            return replay_counters(POLICY, [fresh(series)], evaluations)
        return replay_buckets(POLICY, fresh(series), evaluations)

    def all_of_them() -> Iterator[CounterSeries | BucketSeries]:
        for n in range(months):
            yield pool[n % len(pool)]

    one(pool[0])
    begun = time.perf_counter()
    fired = sum(int(firing.any(axis=1).sum()) for firing in in_order(one, all_of_them(), workers))
    lasted = time.perf_counter() - begun
    memory = psutil.Process().memory_info().rss / 2**20
    print(
        f"{months:6d} months on {kind}: {lasted:.3f} s, {lasted / months * 1000:.2f} ms a month on {workers} threads, "
        f"{fired} alerts fired; {memory:.0f} MiB",
        flush=True,
    )
    if months == 1000 and lasted > SECONDS[kind]:
        sys.exit(f"1,000 months on {kind} must take at most {SECONDS[kind]} s")
    if memory > 2048:
        sys.exit("the months must fit into 2 GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30, help="length of the race")
    parser.add_argument("--no-promtool", action="store_true", help="only the many months")
    options = parser.parse_args()
    workers = psutil.cpu_count() or 1
    for kind in ("buckets", "counters"):
        for months in (10, 100, 1000, 10_000):
            many_months(kind, months, workers)
    if options.no_promtool:
        return
    if shutil.which("promtool") is None:
        sys.exit("install Debian's prometheus, which brings promtool, for the race")
    race(options.days)


if __name__ == "__main__":
    main()
