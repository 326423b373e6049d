"""OpenSLO, Sloth and Pyrra files into node0's objectives, with an account of everything that stood in them."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from node0lib.errors import ConfigError
from node0lib.shell import spec_files
from node0lib.shell.spec_files import Content, Import, contents, read_specs
from node0lib.slo.formats.account import Imported
from node0lib.slo.formats.fields import KeyPath
from node0lib.slo.objective import Objective
from node0lib.timespan import Calendar

DATA = Path(__file__).parent.parent / "data"
EXAMPLES = sorted(
    path
    for folder in ("openslo", "pyrra", "sloth/validate/good")
    for path in (DATA / folder).glob("*.yaml")
    if path.name not in {"invalid-apiversion.yaml", "unknown-field.yaml"}
) + [DATA / "sloth" / name for name in ("in-base.yaml", "in-base-k8s.yaml", "in-openslo.yaml")]
COUNTED = "sum(increase({metric}[$window]))"


def _read(text: str, window: timedelta | None = None) -> Import:
    return read_specs([Content("slo.yml", text.encode())], window)


def _one(text: str, window: timedelta | None = None) -> Objective:
    read = _read(text, window)
    assert len(read.objectives) == 1, [note.text for slo in read.slos for note in slo.refusals]
    return read.objectives[0]


def _refused(text: str) -> str:
    slo = _read(text).slos[0]
    assert slo.objective is None
    return " / ".join(note.text for note in slo.refusals)


def _wrong(text: str) -> str:
    with pytest.raises(ConfigError) as error:
        _read(text)
    return str(error.value)


# ------------------------------------------------------------------------------------------------------- all formats


def _leaves(data: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    if isinstance(data, dict) and data:
        for key, value in data.items():
            yield from _leaves(value, (*path, key))
    elif isinstance(data, list) and data:
        for n, value in enumerate(data):
            yield from _leaves(value, (*path, n))
    elif data is not None:
        yield path


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.relative_to(DATA).as_posix())
def test_every_example_is_imported_or_refused_and_nothing_is_silent(path: Path) -> None:
    """Every value of an example is kept, changed, left out or part of a refusal, and the account names its place."""
    read = read_specs(contents([str(path)]))
    assert read.slos and all(slo.objective is not None or slo.refusals for slo in read.slos)
    notes = [note for slo in read.slos for note in (*slo.notes, *slo.refusals)] + list(read.others)
    told = {(note.place.document, note.place.path) for note in notes}
    for number, source in enumerate(read.sources):
        for leaf in _leaves(source.document.data):
            if leaf[-1] in {"apiVersion", "kind", "version", "service"}:
                continue
            assert any((number, leaf[:n]) in told for n in range(len(leaf) + 1)), f"{path.name}: {leaf} is silent"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.relative_to(DATA).as_posix())
def test_no_note_is_about_the_whole_document_alone(path: Path) -> None:
    """Each SLO says something about its name, its objective and its window, or why there is none."""
    for slo in read_specs(contents([str(path)])).slos:
        said = " ".join(note.text for note in (*slo.notes, *slo.refusals))
        assert all(word in said for word in ("name", "objective", "window"))


def test_the_examples_become_these_objectives() -> None:
    """Of every format the official examples that node0 can express are the ones that are expressed."""
    names = {path.name: [slo.name for slo in read_specs(contents([str(path)])).objectives] for path in EXAMPLES}
    expressed = {name: slos for name, slos in names.items() if slos}
    assert expressed == {
        "caddy-response-latency.yaml": ["caddy_response_latency"],
        "nginx.yaml": ["nginx_api_errors", "nginx_api_latency"],
        "prometheus-http.yaml": ["prometheus_api_query"],
        "prometheus-probe-success.yaml": ["prometheus_blackbox_probe_success"],
        "pyrra-connect-latency.yaml": ["pyrra_connect_latency"],
        "thanos-grpc.yaml": ["thanos_store"],
        "good-aa.yaml": ["svc01_slo1", "svc01_slo02"],
        "good-k8s.yaml": ["svc01_slo1", "svc01_slo02"],
        "good-openslo.yaml": ["slo1"],
        "in-base.yaml": ["svc01_slo1", "svc01_slo02"],
        "in-base-k8s.yaml": ["svc01_slo1", "svc01_slo02"],
        "in-openslo.yaml": ["slo1"],
    }


@pytest.mark.parametrize(
    ("name", "where"),
    {
        "openslo/invalid-apiversion.yaml": ":1: apiVersion: 'foo' is no format",
        "openslo/unknown-field.yaml": ":6: spec.markdown: is no key here",
        "sloth/validate/bad/bad-aa.yaml": ":28: slos.slo02.objective: 101 must lie strictly between 0 and 100",
        "sloth/validate/bad/bad-k8s.yaml": ":7: spec.service: is empty",
    }.items(),
)
def test_bad_examples_are_malformed_with_file_line_and_path(name: str, where: str) -> None:
    """What the others' own validators refuse is refused here with file, line and path of keys."""
    with pytest.raises(ConfigError) as error:
        read_specs(contents([str(DATA / name)]))
    assert str(error.value).startswith(f"{DATA / name}{where}")


def test_one_malformed_file_of_several_imports_nothing() -> None:
    """A mistake in one file refuses all, and every mistake of every file is told at once."""
    good = Content("good.yml", (DATA / "pyrra/thanos-grpc.yaml").read_bytes())
    with pytest.raises(ConfigError) as error:
        read_specs([good, Content("a.yml", b"apiVersion: x\n"), Content("b.yml", b"version: y\n")])
    assert [line.split(" ")[0] for line in str(error.value).splitlines()] == ["a.yml:1:", "b.yml:1:"]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n---\n"])
def test_an_empty_file_is_told(text: str) -> None:
    """A file without an object is a mistake, not an empty success."""
    assert "slo.yml: is empty" in _wrong(text)


@pytest.mark.parametrize("text", ["[]", "a", "- a", "- [a]", "kind: SLO", "1: 2\n"])
def test_what_is_no_object_is_told(text: str) -> None:
    """Lists of nothing, words and objects of nobody are refused; none is taken for an SLO."""
    try:
        assert _read(text).slos == ()
    except ConfigError as error:
        assert str(error).startswith("slo.yml")


@pytest.mark.parametrize("file", ["sloth/in-base.yaml", "pyrra/nginx.yaml", "openslo/v1.yaml"])
def test_truncated_files_give_an_error_or_an_account(file: str) -> None:
    """A file that ends anywhere is read, or refused in words that begin with its name."""
    content = (DATA / file).read_bytes()
    for end in range(0, len(content), 7):
        try:
            read_specs([Content("cut.yml", content[:end])])
        except ConfigError as error:
            assert str(error).startswith("cut.yml")


HOSTILE = {
    "an alias bomb": "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)),
    "an alias to itself": "a: &a [*a]\n",
    "a tag that constructs": "!!python/object/apply:os.system [echo]\n",
    "nesting without end": "[" * 100_000,
    "a key written twice": "version: prometheus/v1\nversion: prometheus/v1\n",
    "half a surrogate": 'version: "\\uD800"\n',
    "a control character": "version: \x00\n",
    "a key that is a list": "? [a]\n: b\n",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_yaml_is_refused(text: str) -> None:
    """Aliases that explode, tags, nesting and twofold keys are mistakes with the file's name."""
    assert _wrong(text).startswith("slo.yml:")


def test_the_limits_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One value, one byte or one SLO too many is one clear error."""
    text = (DATA / "pyrra/nginx.yaml").read_text("utf-8")
    for name, most, said in (
        ("MAX_BYTES", len(text) - 1, "is larger than"),
        ("MAX_VALUES", 30, "expands to more than 30 values"),
        ("MAX_SLOS", 1, "2 SLOs are more than 1"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(spec_files, name, most)
            assert said in _wrong(text) and "\n" not in _wrong(text)


def test_very_many_mistakes_are_counted() -> None:
    """Of a thousand mistakes the first hundred are told, and how many more there are."""
    lines = _wrong("\n---\n".join(["apiVersion: nobody/v1"] * 1000)).splitlines()
    assert len(lines) == 101 and lines[-1] == "and 900 mistakes more"


# ------------------------------------------------------------------------------------------------------------- Sloth

SLOTH = """\
version: prometheus/v1
service: shop
slos:
  - name: up-time
    objective: 99.9
    description: It is up.
    sli:
      events:
        error_query: sum(rate(e[{{.window}}]))
        total_query: sum(rate(n[{{.window}}]))
    alerting: {name: Down}
"""


def test_sloth_events_are_bad_and_total() -> None:
    """Sloth's events become counts, its percentage a share, its missing window 30 days or the one asked for."""
    slo = _one(SLOTH)
    queries = {"bad": COUNTED.format(metric="e"), "total": COUNTED.format(metric="n")}
    assert slo == Objective("shop_up_time", "ratio", 0.999, timedelta(days=30), "It is up.", queries=queries)
    assert _one(SLOTH, timedelta(days=28)).window == timedelta(days=28)


def test_sloth_latency_is_a_latency() -> None:
    """A raw ratio 1 - bucket / count of one histogram is a latency objective."""
    ratio = "sum(rate(h_seconds_bucket{le='0.5'}[{{.window}}])) / sum(rate(h_seconds_count[{{.window}}]))"
    raw = f'raw: {{error_ratio_query: "1 - ({ratio})"}}'
    events = SLOTH[SLOTH.index("      events:") : SLOTH.index("    alerting")]
    slo = _one(SLOTH.replace(events, f"      {raw}\n"))
    assert (slo.kind, slo.threshold_s) == ("latency", 0.5)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[{{.window}}]", "[5m]", "window"),
        ("99.9", "100", "slo.yml:5: slos.up-time.objective: 100 must lie strictly between 0 and 100"),
        ("99.9", "0", "slo.yml:5: slos.up-time.objective: 0 must lie strictly between 0 and 100"),
        ("rate(e[", "rate(n[", "same query"),
        ("sum(rate(e", "sum by () (rate(n{}", "is not PromQL|same|counts the same"),
        ("objective:", "objectiv:", "objective"),
    ],
)
def test_sloth_mistakes_are_told(old: str, new: str, said: str) -> None:
    """A query without its window, equal queries, and an objective of 0 or 100 are one clear error each."""
    assert any(part in _wrong(SLOTH.replace(old, new)) for part in said.split("|"))


def test_equal_counts_are_found_below_their_spelling() -> None:
    """Queries that differ in spelling alone are the same query."""
    text = SLOTH.replace("sum(rate(e[{{.window}}]))", "sum( rate(n{}[{{ .window }}]) )")
    assert "slo.yml:7: slos.up-time.sli: counts the same as bad and as total" in _wrong(text)


def test_names_taken_twice_name_both_places() -> None:
    """Two SLOs that get one name are refused with both places, also across files and formats."""
    with pytest.raises(ConfigError) as error:
        read_specs([Content("a.yml", SLOTH.encode()), Content("b.yml", SLOTH.replace("up-time", "up_time").encode())])
    text = "'shop-up_time' becomes shop_up_time in node0, as 'shop-up-time' does; rename one of them (first in a.yml:4)"
    assert str(error.value) == f"b.yml:4: slos.up_time: {text}"


def test_a_plugin_is_not_carried_over() -> None:
    """A query that only a plugin knows is refused with the reason, and the file is well formed all the same."""
    events = SLOTH[SLOTH.index("      events:") : SLOTH.index("    alerting")]
    assert "only Sloth can run it" in _refused(SLOTH.replace(events, "      plugin: {id: sloth-common/x}\n"))


def test_a_deep_query_of_sloth_reaches_no_parser() -> None:
    """A query of thousands of operators is a mistake; it does not end the program."""
    text = SLOTH.replace("sum(rate(e[{{.window}}]))", "+".join(["e"] * 4900) + "+ rate(e[{{.window}}])")
    assert "slo.yml:9: slos.up-time.sli.events.error_query: has too many operators" in _wrong(text)


# ------------------------------------------------------------------------------------------------------------- Pyrra

PYRRA = """\
apiVersion: pyrra.dev/v1alpha1
kind: ServiceLevelObjective
metadata:
  name: shop
spec:
  target: '99.5'
  window: 4w
  indicator:
    ratio:
      errors:
        metric: n{code="500"}
      total:
        metric: n
"""


def test_pyrra_ratio_is_bad_and_total() -> None:
    """Pyrra's metrics are counters, of which the increase over all series is counted."""
    queries = {"bad": COUNTED.format(metric='n{code="500"}'), "total": COUNTED.format(metric="n")}
    assert _one(PYRRA) == Objective("shop", "ratio", 0.995, timedelta(days=28), queries=queries)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("'99.5'", "'100'", "6: spec.target: '100' must lie strictly between 0 and 100"),
        ("'99.5'", "'0'", "6: spec.target"),
        ("'99.5'", "'many'", "6: spec.target"),
        ("4w", "4 weeks", "7: spec.window: '4 weeks' is no duration"),
        ("4w", "99999999999999999999d", "7: spec.window"),
        ('n{code="500"}', "n{}", "11: spec.indicator.ratio.errors.metric: is the same as total"),
        ('n{code="500"}', "sum(n)", "11: spec.indicator.ratio.errors.metric: is no plain selector"),
        ('n{code="500"}', "n{code=", "11: spec.indicator.ratio.errors.metric: is not PromQL"),
        ('n{code="500"}', "n offset 5m", "11: spec.indicator.ratio.errors.metric: looks at another time"),
        ("    ratio:", "    ratioo:", "ratioo: is no key here; did you mean ratio?"),
        ("  name: shop", "  nam: shop", "name: is missing"),
        ("kind: ServiceLevelObjective", "kind: Objective", "'Objective' is not one of ServiceLevelObjective"),
    ],
)
def test_pyrra_mistakes_are_told(old: str, new: str, said: str) -> None:
    """What Pyrra's own webhook refuses is refused with line and path, and so is what never could be good."""
    assert said in _wrong(PYRRA.replace(old, new))


def test_pyrra_years_are_read() -> None:
    """Prometheus's durations have years of 365 days."""
    assert _one(PYRRA.replace("4w", "1y")).window == timedelta(days=365)


# ----------------------------------------------------------------------------------------------------------- OpenSLO

OPENSLO = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: shop
spec:
  service: web
  indicatorRef: shop-sli
  timeWindow:
    - duration: 30d
      isRolling: true
  budgetingMethod: Occurrences
  objectives:
    - target: 0.999
---
apiVersion: openslo/v1
kind: SLI
metadata:
  name: shop-sli
spec:
  ratioMetric:
    counter: true
    bad:
      metricSource: {type: Prometheus, spec: {query: 'sum(e)'}}
    total:
      metricSource: {metricSourceRef: prom, spec: {query: 'sum(n)'}}
---
apiVersion: openslo/v1
kind: DataSource
metadata:
  name: prom
spec:
  type: Prometheus
  connectionDetails: {url: x}
"""
SLICED = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: shop
spec:
  service: web
  indicator:
    metadata: {name: i}
    spec:
      thresholdMetric:
        metricSource:
          type: Prometheus
          spec: {query: 'histogram_quantile(0.95, sum by (le) (rate(h_seconds_bucket[{{.window}}])))'}
  timeWindow: [{duration: 7d, isRolling: true}]
  budgetingMethod: Timeslices
  objectives:
    - {op: lte, value: 0.25, target: 0.9, timeSliceTarget: 0.5, timeSliceWindow: 5m}
"""


def test_references_are_resolved_over_the_files() -> None:
    """An indicator and a data source that another document, or another file, holds are found."""
    queries = {"bad": COUNTED.format(metric="e"), "total": COUNTED.format(metric="n")}
    expected = Objective("shop", "ratio", 0.999, timedelta(days=30), queries=queries)
    assert _one(OPENSLO) == expected
    parts = [Content(f"{n}.yml", part.encode()) for n, part in enumerate(OPENSLO.split("---\n"))]
    assert read_specs(parts[::-1]).objectives == (expected,)


def test_a_reference_that_leads_nowhere_is_a_mistake() -> None:
    """What no file given holds is told by name, with what to do."""
    slo, sli, _ = OPENSLO.split("---\n")
    assert "slo.yml:7: spec.indicatorRef: no SLI is called shop-sli in the files given" in _wrong(slo)
    assert "no DataSource is called prom" in _wrong(f"{slo}---\n{sli}")


def test_several_objectives_are_several_slos() -> None:
    """Each objective becomes an SLO of its own, named after it."""
    text = OPENSLO.replace(
        "    - target: 0.999\n", "    - {displayName: Fast, target: 0.9}\n    - {targetPercent: 99.9}\n"
    )
    assert [(slo.name, slo.objective) for slo in _read(text).objectives] == [("shop_fast", 0.9), ("shop_2", 0.999)]


def test_a_quantile_over_slices_is_a_timeslice() -> None:
    """A histogram_quantile under a bound, sliced, is node0's timeslice objective."""
    slo = _one(SLICED)
    assert (slo.kind, slo.quantile, slo.threshold_s, slo.slice) == ("timeslice", 0.95, 0.25, timedelta(minutes=5))
    assert slo.queries == {"buckets": "sum by (le) (increase(h_seconds_bucket[$window]))"}


@pytest.mark.parametrize(
    ("duration", "unit"), {"1w": "week", "1M": "month", "1Q": "quarter", "3M": "quarter", "1Y": "year"}.items()
)
def test_calendar_windows_are_node0s(duration: str, unit: str) -> None:
    """Weeks, months, quarters and years of the calendar keep their zone."""
    calendar = "isRolling: false\n      calendar: {startTime: 2024-01-01 00:00:00, timeZone: Europe/Berlin}"
    text = OPENSLO.replace("isRolling: true", calendar).replace("30d", duration)
    slo = _one(text)
    assert slo.calendar is not None and (slo.calendar.unit, slo.calendar.zone) == (unit, "Europe/Berlin")
    assert slo.window == Calendar(slo.calendar.unit).nominal
    assert not any("startTime" in note for note in _read(text).slos[0].of("changed"))
    shifted = _read(text.replace("2024-01-01 00", "2024-01-02 12")).slos[0]
    assert any("startTime" in note for note in shifted.of("changed"))


def test_a_minute_is_not_a_month() -> None:
    """A calendar window of 1m, as in OpenSLO's own example, is refused with what it says."""
    slo = read_specs(contents([str(DATA / "openslo/timeslices-slo.yaml")])).slos[0]
    assert any("1m is a minute in OpenSLO; a month is 1M" in note.text for note in slo.refusals)


def test_a_rolling_month_is_told_as_what_it_is_read_as() -> None:
    """A month that rolls has no length of its own; the account says which it gets."""
    slo = _read(OPENSLO.replace("30d", "1M")).slos[0]
    assert slo.objective is not None and slo.objective.window == timedelta(days=30)
    assert any("no fixed length, read as 30d" in text for text in slo.of("changed"))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("Occurrences", "RatioTimeslices", "RatioTimeslices averages the ratios of slices"),
        ("  timeWindow:\n    - duration: 30d\n      isRolling: true\n", "", "--window 30d"),
        ("type: Prometheus, spec", "type: Datadog, spec", "metric source of type Datadog"),
        ("spec: {query: 'sum(e)'}", "spec: {sql: 'sum(e)'}", "without a query in PromQL"),
        ("sum(e)", "max(e)", "takes the max"),
    ],
)
def test_openslo_that_node0_cannot_say_is_refused_with_the_reason(old: str, new: str, reason: str) -> None:
    """What is well formed and has no word in node0 is an SLO that is not carried over, and no mistake."""
    assert reason in _refused(OPENSLO.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("0.999", "0", "slo.yml:13: spec.objectives[0].target: 0 must lie strictly between 0 and 1"),
        ("0.999", "1", "slo.yml:13: spec.objectives[0].target: 1 must lie strictly between 0 and 1"),
        ("target: 0.999", "targetPercent: 100", "targetPercent: 100 must lie strictly between 0 and 1"),
        ("sum(e)", "sum(n)", "is the same query as total"),
        ("sum(e)", "sum(rate(e[5m]))", "has no window variable"),
        ("counter: true", "counter: false", "has no window variable"),
        ("sum(e)", "sum(e", "is not PromQL"),
        ("Occurrences", "Sometimes", "'Sometimes' is not one of Occurrences, Timeslices, RatioTimeslices"),
        ("isRolling: true", "isRolling: false", "a calendar must be given"),
        ("duration: 30d", "duration: 30 days", "'30 days' is no duration"),
        ("    bad:", "    good:\n      metricSource: {type: P, spec: {query: x}}\n    bad:", "write good and total"),
        ("kind: SLI", "kind: SLIs", "'SLIs' is not one of SLO, SLI, Service"),
        ("    - target", "    - indicatorRef: shop-sli\n      target", "has an indicator, and the SLO has one too"),
    ],
)
def test_openslo_mistakes_are_told(old: str, new: str, said: str) -> None:
    """What the specification forbids, and a query that nobody could ask, is malformed."""
    assert said in _wrong(OPENSLO.replace(old, new))


def test_objects_of_one_name_are_refused_with_both_places() -> None:
    """Two SLOs, or two indicators, of one name are a mistake that names both."""
    text = _wrong(f"{OPENSLO}---\n{OPENSLO}")
    assert (
        "slo.yml:38: metadata.name: shop is the name of another SLO too; names must differ (first in slo.yml:4)" in text
    )
    assert "shop-sli is the name of another SLI too" in text


def test_other_objects_are_told_one_by_one() -> None:
    """A data source, and an indicator that nobody asks for, are in the account with their places."""
    read = _read(OPENSLO + OPENSLO[OPENSLO.index("---\n") : OPENSLO.rindex("---")].replace("shop-sli", "other"))
    told = {f"{read.where(note.place)} {note.text}" for note in read.others}
    assert "slo.yml:27 DataSource prom: node0 asks the server of telemetry.url" in told
    assert any("SLI other: no SLO refers to it" in text for text in told)


def test_a_long_description_is_cut_and_told() -> None:
    """A description beyond node0's 2,000 characters is cut, and the account says by how much."""
    text = OPENSLO.replace("  service: web", f"  service: web\n  description: {'long ' * 1000}")
    slo = _read(text).slos[0]
    assert slo.objective is not None and len(slo.objective.description) == 2000
    assert "description: cut from 4,999 to 2,000 characters" in slo.of("changed")


def test_what_slo_yaml_could_not_hold_is_refused() -> None:
    """Slices that do not divide the window are refused in the words of node0's own reader."""
    assert "must divide the window into whole slices" in _refused(SLICED.replace("5m", "11m"))


ALPHA = (DATA / "sloth/in-openslo.yaml").read_text("utf-8")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("count: 30", "count: 0", "0 is no whole number above 0"),
        ("unit: Day", "unit: Fortnight", "'Fortnight' is not one of Second, Day"),
        ("objectives:", "objectifs:", "objectifs: is no key here"),
        ("Occurrences", "RatioTimeslices", "is not one of Occurrences, Timeslices"),
    ],
)
def test_openslo_alpha_mistakes_are_told(old: str, new: str, said: str) -> None:
    """The older version is read as strictly."""
    assert said in _wrong(ALPHA.replace(old, new))


def test_openslo_alpha_asks_prometheus_only() -> None:
    """A source of another kind is refused with its name."""
    assert "type datadog" in _refused(ALPHA.replace("source: prometheus", "source: datadog"))


def test_lists_of_objects_are_read() -> None:
    """Kubernetes' List and a document that is a list hold the same objects as documents of their own."""
    objects = list(yaml.safe_load_all(OPENSLO))
    plain = yaml.safe_dump(objects)
    listed = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": objects})
    assert _read(plain).objectives == _read(listed).objectives == _read(OPENSLO).objectives


def test_an_account_begins_with_the_source_of_each_slo() -> None:
    """Every SLO knows the format, the name that its source gave it, and where it stands."""
    read = _read(f"{SLOTH}---\n{PYRRA}")
    told: list[tuple[str, str, str]] = [(slo.format, slo.original, read.where(slo.place)) for slo in read.slos]
    assert told == [
        ("sloth prometheus/v1", "shop-up-time", "slo.yml:4"),
        ("pyrra.dev/v1alpha1", "shop", "slo.yml:13"),
    ]
    assert all(isinstance(slo, Imported) for slo in read.slos)
