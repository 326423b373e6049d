"""An Argo AnalysisTemplate as node0's margins, where its conditions say one; the rest is left over, with reasons.

A margin is relative to the control measured at the same time. So a metric is one only if its query is the same
expression for two arguments, the canary's divided by the control's (as the Rollout of the same input says, or else
their names), and its condition an upper bound above 1:

- ``histogram_quantile(0.95, ...)`` is latency_p95, 0.99 latency_p99; a quotient of two counts is error_rate.
- ``successCondition: result[0] <= 1.05`` or ``failureCondition: result[0] > 1.05`` is +5%.

An absolute limit (``result[0] <= 0.05``) is none: a bad hour of the whole service would take every canary back, and a
canary twice as bad would pass in a good one.

>>> quotient = "sum(rate(bad{pod=\\"{{args.%s}}\\"}[5m])) / sum(rate(all{pod=\\"{{args.%s}}\\"}[5m]))"
>>> margin_of(f"({quotient % ('new', 'new')}) / ({quotient % ('old', 'old')})", "result[0] <= 1.05", None)
('error_rate', 0.05)
>>> margin_of(quotient % ("new", "new"), "result[0] <= 0.05", None)
Traceback (most recent call last):
...
node0lib.slo.formats.account.InexpressibleError: is an absolute limit, or compares arms that are no arguments; a \
margin of node0's is relative to the control measured at the same time
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal

import promql_parser as promql

from node0lib.errors import ConfigError
from node0lib.shell.canary_leftovers import Leftovers
from node0lib.shell.mistakes import Source
from node0lib.shell.yaml_lines import KeyPath
from node0lib.slo.formats.account import InexpressibleError
from node0lib.slo.formats.promql import LONGEST_QUERY, children, parsed

QUANTILES = {0.95: "latency_p95", 0.99: "latency_p99"}
_ARGUMENT = re.compile(r"\{\{\s*args\.([\w-]+)\s*\}\}")
_RESULT = r"(?:len\(result\)\s*>\s*0\s*&&\s*)?(?:result(?:\[0\])?|asFloat\(result\))"
_CONDITION = re.compile(rf"\s*{_RESULT}\s*(<=?|>=?)\s*([0-9]+(?:\.[0-9]+)?)\s*")
_HELD = {"successCondition": "<", "failureCondition": ">"}
_WORDS = {
    "Latest": ("canary", "latest", "new", "candidate", "experiment"),
    "Stable": ("stable", "control", "baseline", "old", "primary"),
}
_WIDEST = Decimal(10)
_METRIC = (
    "name", "provider", "interval", "initialDelay", "count", "successCondition", "failureCondition", "failureLimit",
    "inconclusiveLimit", "consecutiveErrorLimit", "consecutiveSuccessLimit",
)  # fmt: skip


def import_template(
    found: Leftovers, source: Source, path: KeyPath = (), roles: Mapping[str, str] | None = None
) -> dict[str, float]:
    """Return the margins of the template at ``path``, by their names in ``canary:`` of slo.yaml.

    ``roles`` maps arguments to the arm that a Rollout gives them: Stable or Latest.
    """
    spec = source.document.at((*path, "spec"))
    at = (*path, "spec", "metrics")
    metrics = spec.get("metrics") if isinstance(spec, Mapping) else None
    if not isinstance(metrics, list) or not metrics:
        found.mistakes.add(source, at, "has no metrics; an AnalysisTemplate needs one at least")
        return {}
    dry = _dry(spec)
    margins: dict[str, float] = {}
    for n, metric in enumerate(metrics):
        if not isinstance(metric, Mapping) or not isinstance(metric.get("name"), str):
            found.mistakes.add(source, (*at, n), "is no metric with a name; write - name: and its name")
            continue
        for key in (key for key in metric if key not in _METRIC):
            found.mistakes.add(source, (*at, n, key), f"is no key of a metric; known are {', '.join(_METRIC)}")
        try:
            name, margin = _margin(metric, dry, roles or {})
            if name in margins:
                raise InexpressibleError(f"is a second margin for {name}; node0 has one")
            margins[name] = margin
        except InexpressibleError as error:
            found.add(source, (*at, n), str(error))
    return margins


def _dry(spec: object) -> list[str]:
    listed = spec.get("dryRun") if isinstance(spec, Mapping) else None
    return [str(d.get("metricName")) for d in listed if isinstance(d, Mapping)] if isinstance(listed, list) else []


def _margin(metric: Mapping[str, object], dry: list[str], roles: Mapping[str, str]) -> tuple[str, float]:
    if any(re.search(pattern, str(metric["name"])) for pattern in dry if _is_pattern(pattern)):
        raise InexpressibleError("is a dry run, which decides nothing; node0's margins decide")
    provider = metric.get("provider")
    kind = next(iter(provider), "none") if isinstance(provider, Mapping) else "none"
    asked = provider.get(kind) if isinstance(provider, Mapping) else None
    if kind != "prometheus" or not isinstance(asked, Mapping) or not isinstance(asked.get("query"), str):
        raise InexpressibleError(f"asks the provider {kind}; node0 reads margins from a Prometheus query only")
    conditions = [metric.get(key) for key in _HELD]
    success, failure = (text if isinstance(text, str) else None for text in conditions)
    return margin_of(asked["query"], success, failure, roles)


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return len(text) < 200


def margin_of(
    query: str, success: str | None, failure: str | None, roles: Mapping[str, str] | None = None
) -> tuple[str, float]:
    """Return the margin's name and size (0.05 is +5%); raises InexpressibleError with the reason if it is none."""
    bound = _bound(success, failure)
    try:
        if len(query) > LONGEST_QUERY:
            raise ConfigError(f"is longer than {LONGEST_QUERY:,} characters")
        name = _compared(parsed(query), roles or {})
    except InexpressibleError:
        raise
    except ConfigError as error:
        raise InexpressibleError(f"has a query that cannot be read: it {error}") from None
    if not 1 < bound <= 1 + _WIDEST:
        raise InexpressibleError(f"bounds the ratio by {bound}; a margin of node0's lies above 1, and up to 11")
    return name, float(bound - 1)


def _bound(success: str | None, failure: str | None) -> Decimal:
    given = {"successCondition": success, "failureCondition": failure}
    bounds = set()
    for key, text in given.items():
        if text is None:
            continue
        match = _CONDITION.fullmatch(text) if len(text) < 200 else None
        if match is None:
            raise InexpressibleError(f"has a {key} that is no comparison of the result with a number: {text[:60]!r}")
        if not match[1].startswith(_HELD[key]):
            raise InexpressibleError(f"has a {key} that bounds the result from below; a margin does from above")
        bounds.add(Decimal(match[2]))
    if not bounds:
        raise InexpressibleError("has no condition, so it decides nothing")
    if len(bounds) > 1:
        raise InexpressibleError("has two bounds with a doubtful range between; node0's margin is one")
    return bounds.pop()


def _compared(tree: promql.Expr, roles: Mapping[str, str]) -> str:
    """What a query compares between two arms."""
    while isinstance(tree, promql.ParenExpr):
        tree = tree.expr
    sides = [tree.lhs, tree.rhs] if isinstance(tree, promql.BinaryExpr) and str(tree.op) == "/" else []
    texts = [side.prettify() for side in sides]
    used = [set(_ARGUMENT.findall(text)) for text in texts]
    own = [only - other for only, other in zip(used, reversed(used), strict=True)]
    if len(own) != 2 or not all(own):
        text = "is an absolute limit, or compares arms that are no arguments; a margin of node0's is relative to the"
        raise InexpressibleError(f"{text} control measured at the same time")
    if _without(texts[0], own[0]) != _without(texts[1], own[1]):
        raise InexpressibleError("divides two different expressions, which compares no arms")
    arms = [{_role(name, roles) for name in one} for one in own]
    if arms != [{"Latest"}, {"Stable"}]:
        text = "does not divide the canary by the control, as far as its arguments"
        raise InexpressibleError(f"{text} {', '.join(sorted(set().union(*own)))} say")
    return _named(sides[0])


def _role(name: str, roles: Mapping[str, str]) -> str:
    if name in roles:
        return roles[name]
    return next((role for role, words in _WORDS.items() if any(word in name.lower() for word in words)), "")


def _without(text: str, arguments: set[str]) -> str:
    return _ARGUMENT.sub(lambda match: "" if match[1] in arguments else match[0], text)


def _named(side: promql.Expr) -> str:
    while isinstance(side, promql.ParenExpr):
        side = side.expr
    if isinstance(side, promql.Call) and side.func.name == "histogram_quantile":
        quantile = side.args[0].val if isinstance(side.args[0], promql.NumberLiteral) else None
        if quantile in QUANTILES:
            return QUANTILES[quantile]
        raise InexpressibleError(f"compares the quantile {quantile}; node0's margins are of p95 and p99")
    if not isinstance(side, promql.BinaryExpr) or str(side.op) != "/":
        raise InexpressibleError("compares neither a share of errors nor a quantile of latency")
    if any(_is_bucket(one) for one in _selectors(side)):
        raise InexpressibleError("compares shares of slow requests; node0's margins are of quantiles")
    return "error_rate"


def _selectors(node: promql.Expr) -> Iterator[promql.VectorSelector]:
    inner = node.vector_selector if isinstance(node, promql.MatrixSelector) else node
    if isinstance(inner, promql.VectorSelector):
        yield inner
    for child in children(node):
        yield from _selectors(child)


def _is_bucket(selector: promql.VectorSelector) -> bool:
    return str(selector.name or "").endswith("_bucket") or any(m.name == "le" for m in selector.matchers.matchers)
