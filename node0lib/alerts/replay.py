"""What would these alerts have done on this series? The only evaluator of alerts that node0 has.

Two kinds of series:
- scraped counters, evaluated as Prometheus 2.x or 3.x evaluates ``sum(rate(bad[w])) / sum(rate(total[w]))``, or
  ``1 - sum(rate(good[w])) / sum(rate(total[w]))``, with extrapolation, gaps, resets and several series under the sum;
- good/total buckets, whose windows are plain sums: the embedded store's own.

An alert's condition is ``long > threshold and short > threshold`` and, with ``min_bad``, at least that many bad events
in the long window (``increase``, extrapolated too, on counters); it fires once the condition has held for ``hold``.
Evaluations are equally spaced; 0/0 and a range with fewer than two samples are no data, on which nothing fires.

>>> from node0lib.alerts.policy import workbook_policy
>>> minutes = np.arange(1, 181) * 60_000
>>> outage = np.where((minutes > 3_600_000) & (minutes <= 5_400_000), 10.0, 0.0)
>>> series = BucketSeries(minutes, outage, np.full(180, 10.0))
>>> evaluations = Evaluations.within(*series.span, 60_000)
>>> firing = replay_buckets(workbook_policy(0.999), series, evaluations)
>>> firing.shape, int(firing[0].argmax()) - 59
((4, 180), 1)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from node0lib.alerts import bucket_kernel, kernel
from node0lib.alerts.policy import AlertPolicy, BurnAlert
from node0lib.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Semantics = Literal[2, 3]
Function = Literal["rate", "increase"]
_MILLISECOND = timedelta(milliseconds=1)
MOST_EVALUATIONS = 20_000_000
"""Thirty-eight years of minutes: more is a mistyped time."""
_A = TypeVar("_A")
_B = TypeVar("_B")


@dataclass(frozen=True)
class Evaluations:
    """The instants begin, begin + step, ... (``count`` of them), in milliseconds since the epoch."""

    begin_ms: int
    step_ms: int
    count: int

    @classmethod
    def within(cls, start_ms: int, end_ms: int, step_ms: int) -> Evaluations:
        """Return the multiples of ``step_ms`` in [start, end]; raises DataError if there is none."""
        begin = -(-start_ms // step_ms) * step_ms
        if begin > end_ms:
            raise DataError("the series is shorter than one evaluation interval: there is nothing to evaluate")
        count = (end_ms - begin) // step_ms + 1
        if count > MOST_EVALUATIONS:
            first, last = (np.datetime64(ms, "ms") for ms in (start_ms, end_ms))
            raise DataError(
                f"from {first}Z to {last}Z there are {count:,} evaluations, more than {MOST_EVALUATIONS:,}; is a time "
                "mistyped? Else take a longer interval"
            )
        return cls(begin, step_ms, count)

    @property
    def instants_ms(self) -> Ints:
        """All of them, (count,)."""
        return self.begin_ms + self.step_ms * np.arange(self.count, dtype=np.int64)

    @property
    def numbers(self) -> tuple[int, int, int]:
        """First instant, step and count."""
        return self.begin_ms, self.step_ms, self.count


@dataclass(frozen=True)
class CounterSeries:
    """Samples of one pair of counters: ``events`` (bad or good ones, see ``form``) and ``total``.

    Shapes (n,); times rise strictly; NaN is a sample that this counter does not have. A value below the one before is
    a reset. Raises DataError for anything else.
    """

    times_ms: Ints
    events: Floats
    total: Floats
    form: Literal["bad", "good"] = "bad"

    def __post_init__(self) -> None:
        _check(self.times_ms, self.events, self.total)

    @property
    def span(self) -> tuple[int, int]:
        """The first and the last sample's time."""
        return int(self.times_ms[0]), int(self.times_ms[-1])

    @cached_property
    def together(self) -> bool:
        """Whether every sample has both counters."""
        return bool(np.isfinite(self.events).all() and np.isfinite(self.total).all())

    def cumulated(self) -> tuple[Floats, Floats]:
        """Return bad and total events (n,) since the first sample, resets undone, nothing extrapolated."""
        events, total = (_since_first(values) for values in (self.events, self.total))
        return (np.maximum(total - events, 0.0) if self.form == "good" else events), total

    @cached_property
    def more_events_than_total(self) -> int:
        """Between how many pairs of scrapes events rose more than the total, which cannot be."""
        seen = np.isfinite(self.events) & np.isfinite(self.total)
        events, total = (np.diff(_since_first(values[seen])) for values in (self.events, self.total))
        return int((events > total).sum())


@dataclass(frozen=True)
class BucketSeries:
    """Bad and total events of buckets that end at ``ends_ms``; shapes (n,), NaN where nobody observed.

    Bad above total is clamped. Raises DataError for times that do not rise or negative events.
    """

    ends_ms: Ints
    bad: Floats
    total: Floats

    def __post_init__(self) -> None:
        _check(self.ends_ms, self.bad, self.total)
        half = np.isnan(self.bad) != np.isnan(self.total)
        if half.any():  # half an observation is none: bad events of an unknown total would be infinitely many
            object.__setattr__(self, "bad", np.where(half, np.nan, self.bad))
            object.__setattr__(self, "total", np.where(half, np.nan, self.total))
        if (over := self.bad > self.total).any():
            object.__setattr__(self, "bad", np.where(over, self.total, self.bad))

    @property
    def span(self) -> tuple[int, int]:
        """The first and the last bucket's end."""
        return int(self.ends_ms[0]), int(self.ends_ms[-1])

    @cached_property
    def step_ms(self) -> int | None:
        """The buckets' length, if they follow one another without a hole."""
        steps = np.diff(self.ends_ms)
        return int(steps[0]) if steps.size and (steps == steps[0]).all() else None

    @cached_property
    def sums(self) -> RunningSums:
        """Its running sums, made once, however many policies are replayed on it."""
        return RunningSums.of(self.bad, self.total)

    def cumulated(self) -> tuple[Floats, Floats]:
        """Return running sums (n,) of bad and total events."""
        return self.sums.bad[1:], self.sums.total[1:]


@dataclass(frozen=True)
class RunningSums:
    """Bad and total events before each bucket and after the last one, (n + 1,); a window's events are a difference."""

    bad: Floats
    total: Floats

    @classmethod
    def of(cls, bad: Floats, total: Floats) -> RunningSums:
        """Return the sums of buckets (n,), NaN where nobody observed; counts as they are drawn, nothing is checked."""
        return cls(bucket_kernel.running_sums(bad), bucket_kernel.running_sums(total))

    def part(self, start: int, stop: int) -> RunningSums:
        """Return the sums of the buckets start..stop-1."""
        return RunningSums(self.bad[start : stop + 1], self.total[start : stop + 1])

    def with_more_bad(self, first: int, more: Floats) -> RunningSums:
        """Return the sums with ``more`` bad events from bucket ``first`` on, (..., k); further axes lead."""
        bad = np.broadcast_to(self.bad, (*more.shape[:-1], self.bad.size)).copy()
        added, after = np.cumsum(more, axis=-1), first + 1 + more.shape[-1]
        bad[..., first + 1 : after] += added
        bad[..., after:] += added[..., -1:]
        return RunningSums(bad, self.total)


def replay_counters(
    policy: AlertPolicy,
    series: Sequence[CounterSeries],
    evaluations: Evaluations,
    semantics: Semantics = 3,
    function: Function = "rate",
) -> Bools:
    """Return which alerts fire at which evaluation, (alerts, count), with all series under one ``sum``.

    ``semantics`` is Prometheus's major version. Raises DataError without series or for mixed forms.
    """
    if len({one.form for one in series}) != 1:
        raise DataError("the series must be one or more, all of good events or all of bad events")
    if any(alert.scaling != "static" for alert in policy.alerts):
        raise DataError("alerts that traffic scales are replayed on good/total buckets only; sum the counters up first")
    form = (series[0].form == "good", semantics == 3, function == "rate")
    alone = len(series) == 1 and series[0].together
    evaluate = _alone(series[0], evaluations, form) if alone else _summed(series, evaluations, form)
    return _each_alert(policy, evaluations.step_ms, evaluations.count, evaluate)


def replay_buckets(policy: AlertPolicy, series: BucketSeries, evaluations: Evaluations) -> Bools:
    """Return which alerts fire at which evaluation, (alerts, count).

    A window (t - w, t] has the buckets that end in it.
    """
    if _in_step(policy, series, evaluations):
        first = (evaluations.begin_ms - series.span[0]) // evaluations.step_ms
        return replay_sums(policy, series.sums, evaluations.step_ms, first, evaluations.count)
    bad, total, numbers = series.sums.bad, series.sums.total, evaluations.numbers
    period = policy.period // _MILLISECOND

    def evaluate(alert: BurnAlert, windows: tuple[int, int], threshold: float, met: Bools) -> None:
        guard = float(alert.min_bad)
        if alert.scaling == "traffic":
            sized = (*windows, period)
            bucket_kernel.weighted_buckets(series.ends_ms, bad, total, numbers, sized, threshold, guard, met)
        else:
            bucket_kernel.buckets(series.ends_ms, bad, total, numbers, windows, threshold, guard, met)

    return _each_alert(policy, evaluations.step_ms, evaluations.count, evaluate)


def replay_sums(policy: AlertPolicy, sums: RunningSums, step_ms: int, first: int, count: int) -> Bools:
    """Do what ``replay_buckets`` does after each of the buckets first..first + count - 1, all ``step_ms`` long.

    Every window must be a whole number of buckets, and no alert scaled by traffic; raises DataError otherwise.
    """
    if not whole_buckets(policy, step_ms):
        raise DataError("every window must be a whole number of buckets, and no alert scaled by traffic")

    def evaluate(alert: BurnAlert, windows: tuple[int, int], threshold: float, met: Bools) -> None:
        sizes = (windows[0] // step_ms, windows[1] // step_ms)
        bucket_kernel.regular_buckets(sums.bad, sums.total, first, count, sizes, threshold, float(alert.min_bad), met)

    return _each_alert(policy, step_ms, count, evaluate)


def in_order(work: Callable[[_A], _B], many: Iterable[_A], workers: int) -> Iterator[_B]:
    """Yield ``work(one)`` for each of many, in their order, on that many threads (the kernels release the GIL).

    At most four times as many are held as there are workers, so that ten thousand months fit into little memory.
    """
    if workers <= 1:
        yield from map(work, many)
        return
    waiting: deque[Future[_B]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for one in many:
            waiting.append(pool.submit(work, one))
            if len(waiting) >= 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


_Evaluate = Callable[[BurnAlert, tuple[int, int], float, Bools], None]


def _each_alert(policy: AlertPolicy, step_ms: int, count: int, evaluate: _Evaluate) -> Bools:
    firing = np.zeros((len(policy.alerts), count), np.bool_)
    for alert, met in zip(policy.alerts, firing, strict=True):
        windows = (alert.short // _MILLISECOND, alert.long // _MILLISECOND)
        evaluate(alert, windows, policy.threshold(alert), met)
        if alert.hold:
            bucket_kernel.held(met, step_ms, alert.hold // _MILLISECOND)
    return firing


def _alone(series: CounterSeries, evaluations: Evaluations, form: tuple[bool, bool, bool]) -> _Evaluate:
    times, numbers = series.times_ms, evaluations.numbers
    samples = (series.events, series.total, kernel.resets(series.events), kernel.resets(series.total))

    def evaluate(alert: BurnAlert, windows: tuple[int, int], threshold: float, met: Bools) -> None:
        kernel.one_counter(times, *samples, numbers, windows, threshold, float(alert.min_bad), form, met)

    return evaluate


def _summed(
    series: Sequence[CounterSeries], evaluations: Evaluations, form: tuple[bool, bool, bool]
) -> _Evaluate:
    """Lay all counters one after the other, each without the samples that it does not have."""
    pairs = [(one.times_ms, values) for one in series for values in (one.events, one.total)]
    kept = [(times[seen], values[seen]) for times, values in pairs for seen in [np.isfinite(values)]]
    starts = np.cumsum([0, *(times.size for times, _ in kept)])
    times, values = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    lost = np.concatenate([kernel.resets(part) for _, part in kept])

    def evaluate(alert: BurnAlert, windows: tuple[int, int], threshold: float, met: Bools) -> None:
        guard, numbers = float(alert.min_bad), evaluations.numbers
        kernel.counters(times, values, lost, starts, numbers, windows, threshold, guard, form, met)

    return evaluate


def _in_step(policy: AlertPolicy, series: BucketSeries, evaluations: Evaluations) -> bool:
    """Whether every evaluation falls on a bucket's end and every window is a whole number of buckets."""
    step = series.step_ms
    if step is None or step != evaluations.step_ms or not whole_buckets(policy, step):
        return False
    offset = evaluations.begin_ms - series.span[0]
    return offset % step == 0 and 0 <= offset // step <= series.ends_ms.size - evaluations.count


def whole_buckets(policy: AlertPolicy, step_ms: int) -> bool:
    """Return whether ``replay_sums`` can evaluate the policy on buckets of that length."""
    windows = [window // _MILLISECOND for alert in policy.alerts for window in (alert.short, alert.long)]
    return all(w % step_ms == 0 for w in windows) and all(a.scaling == "static" for a in policy.alerts)


def _check(times_ms: Ints, *columns: Floats) -> None:
    """Raise DataError unless times rise strictly, shapes agree and no value is negative or infinite."""
    if times_ms.ndim != 1 or times_ms.size == 0:
        raise DataError("the series has no rows")
    if any(values.shape != times_ms.shape for values in columns):
        raise DataError(f"the columns differ in length: {times_ms.size} times, {[v.size for v in columns]} values")
    back = np.flatnonzero(np.diff(times_ms) <= 0)
    if back.size:
        at = np.datetime64(int(times_ms[back[0] + 1]), "ms")
        raise DataError(f"times must rise: {at}Z (row {back[0] + 2}) is not after the row before it")
    for values in columns:
        wrong = np.flatnonzero((values < 0) | np.isinf(values))
        if wrong.size:
            at = np.datetime64(int(times_ms[wrong[0]]), "ms")
            raise DataError(f"{values[wrong[0]]:g} at {at}Z (row {wrong[0] + 1}): events are finite and never negative")


def _since_first(values: Floats) -> Floats:
    """Return a counter's rise since its first sample, resets undone; where it has no sample, what it was before."""
    seen = np.flatnonzero(np.isfinite(values))
    risen = np.zeros(values.size)
    if seen.size:
        kept = values[seen]
        risen[seen] = kept - kept[0] + kernel.resets(kept)
        np.maximum.accumulate(risen, out=risen)
    return risen
