"""Other people's PromQL becomes counts with $window, or is refused with the reason."""

import subprocess
import sys

import pytest

from node0lib.errors import ConfigError
from node0lib.slo.formats.account import InexpressibleError
from node0lib.slo.formats.promql import canonical, counted, counters, parsed, plain_of
from node0lib.slo.formats.shapes import Latency, latency_of, parts, quantile_of, quotient_of

W = "{{.window}}"
COUNTS = {
    f"sum(rate(a[{W}]))": "sum(increase(a[$window]))",
    "sum(rate(a[{{ .window }}]))": "sum(increase(a[$window]))",
    "sum(rate(a[${window}]))": "sum(increase(a[$window]))",
    f"sum(\n  rate(a[{W}])  # rate(b)\n)": "sum(increase(a[$window]))",
    f"rate(a[{W}])": "sum(increase(a[$window]))",
    f"sum by (x) (rate(a[{W}]))": "sum(sum by (x) (increase(a[$window])))",
    f"sum(rate(a[{W}])) or vector(0)": "sum(increase(a[$window])) or vector(0)",
    f"sum(rate(a[{W}])) - sum(rate(b[{W}]))": "sum(increase(a[$window])) - sum(increase(b[$window]))",
    f"sum(rate(a[{W}] offset 1h))": "sum(increase(a[$window] offset 1h))",
    f'sum(rate(a{{x="rate(b[5m])"}}[{W}]))': 'sum(increase(a{x="rate(b[5m])"}[$window]))',
    f"sum by (rate) (rate(rate[{W}]))": "sum(sum by (rate) (increase(rate[$window])))",
    f"sum(rate(a{{x=~`\\d+`}}[{W}]))": 'sum(increase(a{x=~"\\\\d+"}[$window]))',
    f"sum(rate(a[{W}]) * on (pod) group_left info)": "sum(increase(a[$window]) * on (pod) group_left info)",
    f"sum(increase(a[{W}])) * 60": "sum(increase(a[$window])) * 60",
    f"count_over_time((up == 0)[{W}:1m])": "sum(count_over_time((up == 0)[$window:1m]))",
}


@pytest.mark.parametrize("text", COUNTS)
def test_sums_of_rates_are_counts(text: str) -> None:
    """A sum of rates becomes the sum of increases, and nothing else in the text changes."""
    assert counted(text) == COUNTS[text]


@pytest.mark.parametrize("text", COUNTS)
def test_counting_again_changes_nothing(text: str) -> None:
    """What was counted once is node0's already."""
    assert counted(COUNTS[text]) == COUNTS[text]


@pytest.mark.parametrize(
    ("text", "reason"),
    {
        f"sum(rate(a[{W}])) / sum(rate(b[{W}]))": "no sum of rates",
        f"max(rate(a[{W}]))": "takes the max of rates",
        f"sum(rate(a[{W}])) * 60": "scales a rate",
        f"rate(a[{W}]) > 0": "joins a rate by >",
        f"rate(a[{W}]) + up": "joins a rate by +",
        f"sum(irate(a[{W}]))": "irate() is none of",
        f"avg_over_time(up[{W}])": "avg_over_time() is none of",
        f"histogram_count(sum(rate(a[{W}])))": "histogram_count() to events",
        f"sum(rate(a[{W}])) + sum(increase(b[{W}]))": "increase() to events",
        f"sum(rate(a[{W}])) * sum(rate(b[{W}]))": "no sum of rates",
    }.items(),
)
def test_what_counts_nothing_is_refused(text: str, reason: str) -> None:
    """An expression whose value is no number of events is refused, and the reason names what is in the way."""
    with pytest.raises(InexpressibleError) as error:
        counted(text)
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    {
        "sum(rate(a[5m]))": "no window variable",
        "sum(a)": "no window variable",
        "$window": "no window variable",
        f"sum(rate(a[5m])) + sum(rate(b[{W}]))": "no sum of rates|fixed range",
        f"sum(rate(a[{W}])": "unclosed left parenthesis",
        f"sum(rate(a[{W}])) {{{{.other}}}}": "is not PromQL",
        "sum(rate(a[86399001ms]))": "stands for the window",
        "+".join(["a"] * 5000): "operators and brackets",
        "a" * 10_001: "longer than",
    }.items(),
)
def test_what_nobody_could_ask_is_malformed(text: str, reason: str) -> None:
    """A query that is not PromQL, has no window or is too much is malformed, not merely inexpressible."""
    with pytest.raises(ConfigError) as error:
        counted(text)
    assert not isinstance(error.value, InexpressibleError)
    assert any(part in str(error.value) for part in reason.split("|"))


def test_a_hostile_chain_ends_the_query_and_not_the_program() -> None:
    """A chain of operators that overflows a parser's stack is refused before any parser sees it."""
    program = "from node0lib.slo.formats.promql import counted; counted('+'.join(['x'] * 4900) + '[$window]')"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, encoding="utf-8")
    assert ran.returncode == 1
    assert "operators and brackets" in ran.stderr


def test_counters_are_asked_for_their_increase() -> None:
    """A plain counter becomes its increase, whatever joins it, and back again."""
    query = counted('sum(a{x="1"}) + sum(b)', counter=True)
    assert query == 'sum(increase(a{x="1"}[$window])) + sum(increase(b[$window]))'
    assert counters(query) == 'sum(a{x="1"}) + sum(b)'


@pytest.mark.parametrize("text", ["a / b", "max(a)", "a * 2", "a offset 5m", "1", '""'])
def test_what_is_no_sum_of_counters_is_refused(text: str) -> None:
    """Counters count events only where they are summed."""
    with pytest.raises(InexpressibleError):
        counted(text, counter=True)


@pytest.mark.parametrize(
    "text", ["sum(sum_over_time(a[$window]))", "sum(increase(a[5m]))", "sum(a)", "sum(increase(a[$window])) > 0"]
)
def test_what_counters_cannot_say_has_none(text: str) -> None:
    """Only sums of increases over the window can be written as counters."""
    assert counters(text) is None


def test_the_canonical_form_compares_queries() -> None:
    """Two spellings of one query have one canonical form."""
    assert canonical('sum(increase(a{x="1",b="2"}[$window]))') == canonical("sum( increase(a{b='2', x='1'}[$window]) )")


def test_trees_and_texts_agree() -> None:
    """The text of a query in one line parses to the tree of the original."""
    text = f"sum(\n rate( a{{x='1'}}[{W}] )\n) # c"
    assert parsed(plain_of(text)).prettify() == parsed(text.replace(W, "$window")).prettify()


GOOD = 'sum(increase(http_seconds_bucket{job="a",le="0.05"}[$window]))'


@pytest.mark.parametrize(
    "total",
    [
        'sum(increase(http_seconds_count{job="a"}[$window]))',
        'sum(increase(http_seconds_bucket{le="+Inf",job="a"}[$window]))',
    ],
)
def test_two_queries_of_one_histogram_are_a_latency(total: str) -> None:
    """A bucket of all of the same histogram is a latency objective at the bucket's bound."""
    assert latency_of(GOOD, total) == Latency('sum by (le) (increase(http_seconds_bucket{job="a"}[$window]))', 0.05)


@pytest.mark.parametrize(
    ("good", "total"),
    [
        (GOOD, 'sum(increase(http_seconds_count{job="b"}[$window]))'),
        (GOOD, 'sum(increase(other_seconds_count{job="a"}[$window]))'),
        (GOOD.replace("seconds", "millis"), 'sum(increase(http_millis_count{job="a"}[$window]))'),
        (GOOD.replace("0.05", "0.0005"), 'sum(increase(http_seconds_count{job="a"}[$window]))'),
        (GOOD.replace("0.05", "+Inf"), 'sum(increase(http_seconds_count{job="a"}[$window]))'),
        (GOOD.replace('le="', 'le!="'), 'sum(increase(http_seconds_count{job="a"}[$window]))'),
        (GOOD + " + 0", 'sum(increase(http_seconds_count{job="a"}[$window]))'),
    ],
)
def test_queries_of_two_things_are_no_latency(good: str, total: str) -> None:
    """Other matchers, another metric, another unit or another form make it a plain ratio."""
    assert latency_of(good, total) is None


@pytest.mark.parametrize("threshold", [0.05, 0.5, 1.0, 2.5, 10.0, 0.001])
def test_parts_of_a_histogram_come_together_again(threshold: float) -> None:
    """Good and total that are written for a threshold are read back as the same threshold and buckets."""
    buckets = 'sum by (le) (increase(http_seconds_bucket{job="a"}[$window]))'
    found = parts(buckets, threshold)
    assert found is not None
    assert latency_of(*found) == Latency(buckets, threshold)


def test_a_whole_bound_is_matched_in_both_spellings() -> None:
    """le="1" and le="1.0" are one bound, and Prometheus 2 keeps them apart."""
    found = parts("sum by (le) (increase(http_seconds_bucket[$window]))", 1.0)
    assert found is not None and 'le=~"1|1\\\\.0"' in found[0]


@pytest.mark.parametrize("buckets", ["sum(increase(h[$window]))", "sum by (le) (increase(h[$window]) > 0)", "h"])
def test_what_is_no_sum_of_buckets_has_no_parts(buckets: str) -> None:
    """A native histogram, or anything else than buckets summed by le, is not taken apart."""
    assert parts(buckets, 1.0) is None


@pytest.mark.parametrize(
    "query",
    ["up", f"histogram_quantile(0.9, rate(a_bucket[{W}]))", f"histogram_quantile(2, sum by (le) (rate(a[{W}])))"],
)
def test_what_is_no_quantile_of_a_histogram_is_none(query: str) -> None:
    """A gauge, series that are not summed, and an impossible quantile are no quantile of one histogram."""
    assert quantile_of(query) is None


def test_quotients_are_taken_apart() -> None:
    """bad / total and 1 - good / total are two counts each; a recorded ratio is none."""
    bad, total = f"sum(rate(e[{W}]))", f"sum(rate(n[{W}]))"
    counts = ("sum(increase(e[$window]))", "sum(increase(n[$window]))")
    assert quotient_of(f"{bad}\n/\n{total}") == ("bad", *counts)
    assert quotient_of(f"1 - ({bad} / {total})") == ("good", *counts)
    for other in ("slo:ratio", f"2 - ({bad} / {total})", f"1 - {bad}", f"rate(a[{W}]) / rate(b[{W}])"):
        assert quotient_of(other) is None
