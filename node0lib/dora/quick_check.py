"""The quick check of dora.dev: answers on its scales to one score from 0 to 10, and the means of industries beside it.

Answers 1 to 6 lie evenly on 0 to 10; percentages 0 to 100 on 10 to 0; the score is the mean over what is answered.
Measured numbers are turned into answers here, which the site leaves to people:

- A duration of exactly a bound ("less than one hour") belongs to the next answer.
- 5 is "between once per hour and once per day" and 6 "on demand (multiple deploys per day)", which overlap. A measured
  frequency is 5 from one a day on and 6 only above one an hour: on demand is a way of working that no count shows.
  ``on_demand`` takes every frequency above one a day for 6.

Source: dora-team/dora.dev (Apache-2.0), the answers and the 2025 benchmarks of its quick check. There shares are kept
as instability; here 10 is best everywhere.

>>> round(score({"leadtime": 6, "deployfreq": 6, "failurerecovery": 6, "changefailure": 5.0, "rework": 10.0}), 2)
9.7
>>> score({}) is None
True
>>> answers({"change_lead_time": 1800.0, "deployment_frequency": 3.0, "change_fail_rate": 0.05})
{'leadtime': 6, 'deployfreq': 5, 'changefailure': 5.0}
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from node0lib.errors import DataError

_SPANS = (3600.0, 86_400.0, 604_800.0, 2_592_000.0, 15_724_800.0)
"""An hour, a day, a week, a month of 30 days, half a year: less than the first is 6, at least the last is 1."""
_PER_DAY = (1 / 182, 1 / 30, 1 / 7, 1.0)
_HOURLY = 24.0
_SCALES = ("leadtime", "deployfreq", "failurerecovery")
_SHARES = ("changefailure", "rework")
QUESTIONS: Mapping[str, str] = {
    "leadtime": "change_lead_time",
    "deployfreq": "deployment_frequency",
    "failurerecovery": "failed_deployment_recovery_time",
    "changefailure": "change_fail_rate",
    "rework": "deployment_rework_rate",
}


@dataclass(frozen=True)
class Benchmark:
    """Mean and standard deviation of the scores (10 is best) of an industry's answers, by question."""

    name: str
    scores: Mapping[str, tuple[float, float]]

    @property
    def score(self) -> float:
        """The mean over the five questions."""
        return sum(mean for mean, _ in self.scores.values()) / len(self.scores)


def answer_score(question: str, answer: float) -> float:
    """Return 0..10 for an answer 1..6 or a percentage 0..100; raises DataError for anything else."""
    low, high = (1.0, 6.0) if question in _SCALES else (0.0, 100.0)
    if question not in QUESTIONS:
        raise DataError(f"the quick check asks nothing called {question!r}; it asks {', '.join(QUESTIONS)}")
    if not low <= answer <= high:
        raise DataError(f"{question}: the answer {answer:g} lies outside {low:g} to {high:g}")
    share = (answer - low) / (high - low)
    return 10.0 * (share if question in _SCALES else 1.0 - share)


def score(given: Mapping[str, float | None]) -> float | None:
    """Return the mean score of the answers given, None without any; raises DataError as ``answer_score`` does."""
    scores = [answer_score(question, answer) for question, answer in given.items() if answer is not None]
    return sum(scores) / len(scores) if scores else None


def answers(measured: Mapping[str, float | None], *, on_demand: bool = False) -> dict[str, float]:
    """Return the answers that measured metrics (per day, seconds, shares; None: no data) amount to."""
    found: dict[str, float] = {}
    for question, metric in QUESTIONS.items():
        value = measured.get(metric)
        if value is None:
            continue
        if question in _SHARES:
            found[question] = 100.0 * value
        elif question == "deployfreq":
            found[question] = _frequency(value, on_demand=on_demand)
        else:
            found[question] = 6 - bisect_right(_SPANS, value)
    return found


def _frequency(per_day: float, *, on_demand: bool) -> int:
    if per_day > (1.0 if on_demand else _HOURLY):
        return 6
    return 1 + bisect_right(_PER_DAY, per_day)


def _benchmark(name: str, *pairs: tuple[float, float]) -> Benchmark:
    """From the published means: the last two are percentages over ten, where 0 is best."""
    upright = [(mean if place < 3 else round(10 - mean, 1), std) for place, (mean, std) in enumerate(pairs)]
    return Benchmark(name, dict(zip((*_SCALES, *_SHARES), upright, strict=True)))


BENCHMARKS_2025: Mapping[str, Benchmark] = {
    "all": _benchmark("All industries", (5.5, 2.4), (4.8, 2.8), (7.4, 2.1), (1.9, 2.1), (2.2, 2.2)),
    "consumer": _benchmark("Retail/Consumer/e-Commerce", (5.9, 2.3), (5.3, 2.7), (7.8, 1.8), (1.7, 2.0), (2.0, 1.9)),
    "media_entertainment": _benchmark(
        "Media & Entertainment", (5.8, 2.4), (5.2, 2.7), (7.6, 2.1), (1.8, 1.8), (1.8, 1.7)
    ),
    "non_profit": _benchmark("Non-profit", (5.9, 2.7), (4.5, 2.6), (7.5, 1.8), (2.2, 2.8), (2.1, 2.5)),
    "technology": _benchmark("Technology", (5.7, 2.4), (4.9, 2.8), (7.4, 2.1), (1.9, 2.0), (2.3, 2.2)),
    "telecommunications": _benchmark("Telecommunications", (5.2, 2.4), (4.7, 2.6), (7.2, 2.3), (2.4, 2.5), (2.6, 2.5)),
    "other": _benchmark("Other", (5.7, 2.4), (5.0, 2.7), (7.6, 2.0), (1.6, 1.9), (2.0, 2.0)),
    "education": _benchmark("Education", (5.5, 2.6), (4.5, 2.9), (6.6, 2.6), (2.7, 2.4), (2.9, 2.3)),
    "financial_services": _benchmark("Financial Services", (5.4, 2.3), (5.1, 2.6), (7.7, 1.9), (1.7, 2.1), (1.9, 1.9)),
    "healthcare_pharmaceuticals": _benchmark(
        "Healthcare & Pharmaceuticals", (5.0, 2.6), (4.3, 2.8), (7.1, 2.2), (2.5, 2.3), (2.6, 2.4)
    ),
    "energy": _benchmark("Energy", (5.4, 2.5), (4.5, 2.7), (7.2, 1.9), (1.8, 1.8), (2.1, 1.9)),
    "government": _benchmark("Government", (4.8, 2.6), (4.3, 3.0), (7.0, 2.1), (2.1, 2.2), (2.4, 2.2)),
    "insurance": _benchmark("Insurance", (4.8, 2.2), (4.4, 2.5), (7.5, 1.8), (1.7, 2.0), (1.8, 1.9)),
    "industrials_manufacturing": _benchmark(
        "Industrials & Manufacturing", (4.9, 2.6), (3.7, 2.7), (6.5, 2.3), (2.0, 1.9), (2.4, 2.3)
    ),
}
"""Lead time, frequency, recovery, fail rate and rework of each industry, 2025."""
