"""SLO awareness for an optimizer of one's own: the printed lines, what runs, what does not, and the questions."""

from __future__ import annotations

import copy
import json
import math
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

import node0lib
from node0lib import ChangeClass, SLOAwareOptimizer, enhance_optimizer_with_slo_awareness
from node0lib.errors import ConfigError, DataError
from node0lib.gates import Incident
from node0lib.optimize.estimate import Estimate
from node0lib.optimize.propose import Proposal
from node0lib.shell.state import State

ROOT = Path(node0lib.__file__).parents[1]
AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
CONFIG = """slo: {slos: [{name: api_availability, kind: ratio, objective: %s, window: 1h, stream: api}%s]}
ihsan: ihsan.yaml
policy: alpha.policy.json
mode: autonomous
telemetry: {kind: embedded, history: 2h}
target: {kind: embedded}
"""
INVARIANT = ", {name: ihsan_compliance, kind: invariant, objective: 1, window: 1h, minimum: 100}"
BLOCKED = "[BLOCKED] Optimization deferred: api_availability has 30% budget (need 50%)"


def _write(folder: Path, objective: str, more: str = "") -> Path:
    (folder / "configs").mkdir(exist_ok=True)
    shutil.copy(ROOT / "configs" / "alpha.policy.json", folder / "configs")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", dirs_exist_ok=True)
    (folder / "configs" / "ihsan.yaml").write_text("controls: [{control: telemetry_coverage, weight: 1}]\n", "utf-8")
    path = folder / "configs" / "node0.yaml"
    path.write_text(CONFIG % (objective, more), "utf-8")
    return path


@pytest.fixture
def good(tmp_path: Path) -> SLOAwareOptimizer:
    """An installation whose promise of 90% is easily kept."""
    return SLOAwareOptimizer(_write(tmp_path, "0.9", INVARIANT), at=AT)


@pytest.fixture
def short(tmp_path: Path) -> SLOAwareOptimizer:
    """An installation that promises so much that 70% of the hour's budget is spent."""
    burn = SLOAwareOptimizer(_write(tmp_path, "0.9"), at=AT).calculate_burn_rate("api_availability")
    return SLOAwareOptimizer(_write(tmp_path, repr(1 - burn * 0.1 / 0.7)), at=AT)


class Tuner:
    """An optimizer that knows nothing of SLOs."""

    def __init__(self) -> None:
        self.rate, self.ran = 0.5, 0

    def optimize(self, trials: int, *, fail: bool = False) -> list[int]:
        """Return something of one's own."""
        self.ran += 1
        if fail:
            raise ZeroDivisionError("mine")
        return [trials]

    def describe(self) -> str:
        return f"rate {self.rate}"


# The lines


def test_open_gates_let_it_run_and_say_why(good: SLOAwareOptimizer, capsys: pytest.CaptureFixture[str]) -> None:
    """The question, the answer with the gates' findings, and then the optimizer's own return value."""
    value = object()
    assert enhance_optimizer_with_slo_awareness(lambda: value, good)() is value
    asked, answer = capsys.readouterr().out.splitlines()
    assert asked == "[SLO CHECK] Asking the gates whether anything may change now"
    assert answer.startswith("[OK] All SLO gates passed: all 2 SLOs have data; the least budget is ")
    assert good.check_optimization_allowed() == (True, answer.removeprefix("[OK] "))


def test_a_short_budget_blocks_in_these_words(short: SLOAwareOptimizer, capsys: pytest.CaptureFixture[str]) -> None:
    """With 30% of the budget left exactly the documented line is printed, and nothing is run."""
    tuner = Tuner()
    assert enhance_optimizer_with_slo_awareness(tuner, short).optimize(3) is None
    assert capsys.readouterr().out.splitlines()[1:] == [BLOCKED]
    assert tuner.ran == 0
    assert short.check_optimization_allowed() == (False, "api_availability has 30% budget (need 50%)")


def test_lines_go_where_one_wants(short: SLOAwareOptimizer, capsys: pytest.CaptureFixture[str]) -> None:
    """With an echo of one's own nothing is printed."""
    lines: list[str] = []
    enhance_optimizer_with_slo_awareness(Tuner(), short, lines.append).optimize(3)
    assert [line.split("]")[0] for line in lines] == ["[SLO CHECK", "[BLOCKED"]
    assert capsys.readouterr().out == ""


def test_what_the_installation_remembers_counts(tmp_path: Path) -> None:
    """A recent incident in the installation's memory closes the gates here as it does for the cycle."""
    config = _write(tmp_path, "0.9")
    with State(tmp_path / "data" / "node0.sqlite") as state:
        state.record_incident("c", Incident("rolled_back", AT, AT, "error_rate"))
    allowed, reason = SLOAwareOptimizer(config, at=AT).check_optimization_allowed()
    assert not allowed and reason == "rolled_back at 2026-11-24T12:00:00Z: error_rate"


# Wrapping


def test_an_object_keeps_what_is_its_own(good: SLOAwareOptimizer) -> None:
    """Methods that optimize are guarded, everything else is the object's: reading, writing, copying, exceptions."""
    tuner = Tuner()
    aware = enhance_optimizer_with_slo_awareness(tuner, good, lambda _: None)
    assert aware.optimize(3) == [3] and tuner.ran == 1
    assert aware.optimize.__doc__ == Tuner.optimize.__doc__
    aware.rate = 0.25
    assert (tuner.rate, aware.describe(), aware.ran) == (0.25, "rate 0.25", 1)
    assert copy.copy(aware).describe() == "rate 0.25"
    assert not callable(aware)
    with pytest.raises(ZeroDivisionError, match="mine"):
        aware.optimize(1, fail=True)
    with pytest.raises(AttributeError, match="no_such"):
        aware.no_such  # noqa: B018


@pytest.mark.parametrize("name", ["optimize", "run_cycle", "run", "propose", "step"])
def test_every_usual_name_of_doing_is_guarded(short: SLOAwareOptimizer, name: str) -> None:
    """Whatever the optimizer calls it, a blocked optimization does not run."""
    ran: list[str] = []
    tuner = type("Mine", (), {name: lambda self: ran.append(name)})()
    assert getattr(enhance_optimizer_with_slo_awareness(tuner, short, lambda _: None), name)() is None
    assert ran == []


def test_callables_are_guarded(good: SLOAwareOptimizer, short: SLOAwareOptimizer) -> None:
    """A function keeps its name, arguments and exceptions; an object that is called and optimizes is guarded twice."""

    def tune(x: int, *, by: int) -> int:
        """Divide."""
        return x // by

    aware = enhance_optimizer_with_slo_awareness(tune, good, lambda _: None)
    assert (aware(7, by=2), aware.__name__, aware.__doc__) == (3, "tune", "Divide.")
    with pytest.raises(ZeroDivisionError):
        aware(1, by=0)

    class Both(Tuner):
        def __call__(self) -> str:
            return "called"

    assert enhance_optimizer_with_slo_awareness(Both(), good, lambda _: None)() == "called"
    assert enhance_optimizer_with_slo_awareness(Both(), short, lambda _: None)() is None


@pytest.mark.parametrize("nothing", [3, "optimizer", None, object()])
def test_what_cannot_be_guarded_is_refused(nothing: object) -> None:
    """Something that is no optimizer is said to be none, when it is wrapped and not when it is used."""
    with pytest.raises(ConfigError, match="is no optimizer"):
        enhance_optimizer_with_slo_awareness(nothing)


def test_without_an_argument_the_working_folder_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default configs/node0.yaml is looked at anew on every call."""
    _write(tmp_path, "0.9")
    monkeypatch.chdir(tmp_path)
    lines: list[str] = []
    aware = enhance_optimizer_with_slo_awareness(lambda: 1, echo=lines.append)
    assert aware() == 1 and lines[-1].startswith("[OK] ")
    (tmp_path / "configs" / "node0.yaml").unlink()
    with pytest.raises(ConfigError, match=r"node0\.yaml"):
        aware()


# The questions


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"type": "cache_ttl", "expected_improvement": 0.1, "confidence": 0.9}, "L"),
        ({"type": "cache_ttl", "expected_improvement": 0.2499, "confidence": 0.7}, "L"),
        ({"type": "cache_ttl", "expected_improvement": -0.1, "confidence": 0.9}, "L"),
        ({"type": "cache_ttl", "expected_improvement": 0.25, "confidence": 0.9}, "M"),
        ({"type": "routing", "expected_improvement": 0.1, "confidence": 0.9}, "M"),
        ({"type": "cache_ttl", "expected_improvement": 0.5, "confidence": 0.9}, "M"),
        ({"type": "cache_ttl", "expected_improvement": 0.51, "confidence": 0.9}, "H"),
        ({"type": "cache_ttl", "expected_improvement": 0.1, "confidence": 0.69}, "H"),
        ({"type": "consensus", "expected_improvement": 0.1, "confidence": 0.9}, "H"),
        ({"types": ["cache_ttl", "routing"], "expected_improvement": 0.1, "confidence": 0.9}, "M"),
        ({"types": ("crypto", "routing"), "expected_improvement": 0.1, "confidence": 0.9}, "H"),
        ({"types": [], "expected_improvement": 0.1, "confidence": 0.9}, "H"),
        ({"type": "cache_ttl", "expected_improvement": 0.1}, "H"),
        ({"type": "cache_ttl", "confidence": 0.9}, "H"),
        ({"expected_improvement": 0.1, "confidence": 0.9}, "H"),
        ({"type": "teleportation", "expected_improvement": 0.1, "confidence": 0.9}, "H"),
        ({}, "H"),
    ],
)
def test_a_change_is_classified(good: SLOAwareOptimizer, change: dict[str, object], expected: str) -> None:
    """Every criterion at its edge; whatever is not known of a change makes it class H."""
    assert good.classify_change(change) is ChangeClass(expected)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "cache_ttl", "expected_improvement": 30, "confidence": 0.9},
        {"type": "cache_ttl", "expected_improvement": 0.3, "confidence": 90},
        {"type": "cache_ttl", "expected_improvement": "0.3", "confidence": 0.9},
        {"type": "cache_ttl", "expected_improvement": math.nan, "confidence": 0.9},
        {"type": "cache_ttl", "expected_improvement": 0.3, "confidence": True},
        {"type": "cache_ttl", "expected_improvement": 0.3, "confidence": None},
        {"type": None, "expected_improvement": 0.3, "confidence": 0.9},
        {"types": [3], "expected_improvement": 0.3, "confidence": 0.9},
    ],
)
def test_a_change_that_makes_no_sense_is_refused(good: SLOAwareOptimizer, change: dict[str, object]) -> None:
    """Percentages, texts, NaN and things that are no kinds are errors, not a class."""
    with pytest.raises(DataError):
        good.classify_change(change)


def test_a_proposal_of_the_search_is_classified(good: SLOAwareOptimizer) -> None:
    """What node0's own search found can be asked about as it is."""
    proposal = Proposal({}, ("agent_routing",), ("routing",), Estimate(0.1, 0.05, 0.15, 0.99, 32), 0.0, 0.0, 1)
    assert good.classify_change(proposal) is ChangeClass.M


def test_a_burn_rate_is_that_of_its_window(good: SLOAwareOptimizer, short: SLOAwareOptimizer) -> None:
    """Over the hour the short budget burns at 0.7; another window burns otherwise; the invariant burns 0."""
    assert short.calculate_burn_rate("api_availability") == pytest.approx(0.7)
    assert short.calculate_burn_rate("api_availability", window_minutes=5) != pytest.approx(0.7)
    assert SLOAwareOptimizer(good.settings.config, at=AT).calculate_burn_rate("api_availability", 60) < 1


def test_an_invariant_burns_nothing_or_everything(tmp_path: Path) -> None:
    """The invariant without telemetry of its own is the score: 0 while it is 100, infinite when it is not."""
    config = _write(tmp_path, "0.9", INVARIANT)
    assert SLOAwareOptimizer(config, at=AT).calculate_burn_rate("ihsan_compliance") == 0.0
    month = config.read_text("utf-8").replace("window: 1h, stream", "window: 30d, stream")
    config.write_text(month, "utf-8")
    assert SLOAwareOptimizer(config, at=AT).calculate_burn_rate("ihsan_compliance") == math.inf


def test_questions_that_make_no_sense_are_refused(good: SLOAwareOptimizer) -> None:
    """An SLO that is not in the catalogue is named with those that are; a window has at least a minute."""
    with pytest.raises(ConfigError, match="no SLO 'api_availabilty'; the catalogue has api_availability"):
        good.calculate_burn_rate("api_availabilty")
    with pytest.raises(ConfigError, match="window_minutes is 0"):
        good.calculate_burn_rate("api_availability", window_minutes=0)


def _data(path: str, given: dict[str, list[str]], value: object) -> object:
    """What a Prometheus answers to a query, or to one over a range, if every sample has that value."""
    ranged = "query_range" in path
    at = float(given["time"][0]) if not ranged else float(given["start"][0])
    times = [at] if not ranged else [t for n in range(2000) if (t := at + 60 * n) <= float(given["end"][0])]
    samples = [[t, str(value)] for t in times]
    series = {"metric": {}, **({"values": samples} if ranged else {"value": samples[0]})}
    return {"resultType": "matrix" if ranged else "vector", "result": [] if value is None else [series]}


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Callable[[object], SLOAwareOptimizer]]:
    """An installation whose telemetry is a real server that answers every query with one value, None for no series."""
    answer: list[object] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            given = self.path.partition("?")[2] or sent
            body = json.dumps({"status": "success", "data": _data(self.path, parse_qs(given), answer[0])}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    config = _write(tmp_path, "0.9")
    queries = 'queries: {good: "sum(increase(a[$window]))", total: "sum(increase(b[$window]))"}'
    text = config.read_text("utf-8").replace("stream: api", queries)
    url = f"http://127.0.0.1:{server.server_port}"
    text = text.replace("{kind: embedded, history: 2h}", f'{{kind: prometheus, url: "{url}", attempts: 1}}')
    config.write_text(text, "utf-8")

    def told(value: object) -> SLOAwareOptimizer:
        answer[:] = [value]
        return SLOAwareOptimizer(config, at=AT)

    yield told
    server.shutdown()
    server.server_close()


def test_no_traffic_has_no_burn_rate(answering: Callable[[object], SLOAwareOptimizer]) -> None:
    """Without a request there is no burn, which is NaN and never 0; and no data is an error, and closes the gates."""
    idle = answering(0)
    assert math.isnan(idle.calculate_burn_rate("api_availability"))
    assert not idle.check_optimization_allowed()[0]
    blind = answering(None)
    with pytest.raises(DataError, match="^api_availability: (?!api_availability)"):
        blind.calculate_burn_rate("api_availability")
    allowed, reason = blind.check_optimization_allowed()
    assert not allowed and "no data (" in reason and ") for api_availability" in reason


def test_a_wrong_configuration_is_told_at_once(tmp_path: Path) -> None:
    """Every mistake of the configuration is raised when the optimizer is made, not when it is asked."""
    config = _write(tmp_path, "1.9", ", {name: x, kind: ratio}")
    with pytest.raises(ConfigError) as found:
        SLOAwareOptimizer(config)
    assert "objective" in str(found.value) and "\n" in str(found.value)
