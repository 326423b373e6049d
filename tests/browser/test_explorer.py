"""The threshold explorer as a person meets it: JupyterLab in a real browser, a slider moved, a policy written."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import psutil
import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")

CHROMIUM = shutil.which("chromium")
ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: install Debian's chromium"),
]
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip
PANEL = ".n0-explorer"
PICTURE = f"document.querySelector('{PANEL} img').src"
START_S, RUN_MS = 90, 90_000
SLIDERS = ("objective", "requests/h", "error floor", "dispersion", "fault fails", "fault lasts", "factor")


def installation(folder: Path) -> Path:
    """A copy of configuration and notebook, so that what the browser saves is nobody's; returns its configuration."""
    shutil.copytree(ROOT / "configs", folder / "configs")
    shutil.copy(ROOT / "constraints.txt", folder)
    (folder / "notebooks").mkdir()
    for name in ("04_threshold_explorer.ipynb", "production_cycle.ipynb"):
        shutil.copy(ROOT / "notebooks" / name, folder / "notebooks")
    return folder / "configs" / "node0.yaml"


def environment(folder: Path) -> dict[str, str]:
    """Nothing of what this machine's user has set up for Jupyter."""
    names = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    fresh = {f"JUPYTER_{name}": str(folder / name.lower()) for name in names}
    lab = {f"JUPYTERLAB_{name}": str(folder / name.lower()) for name in ("SETTINGS_DIR", "WORKSPACES_DIR")}
    return {**os.environ, **fresh, **lab, "IPYTHONDIR": str(folder / "ipython"), "PYTHONUNBUFFERED": "1"}


@contextmanager
def lab(folder: Path) -> Iterator[tuple[str, psutil.Popen]]:
    """``node0 lab`` on a free port: its address, with the token, and the process. Nothing of it is left afterwards."""
    config = installation(folder)
    program = "from node0lib.shell.cli.lab import lab; lab()"
    command = [sys.executable, "-c", program, "--config", str(config), "--port", "0", "--no-browser"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    log = folder / "lab.log"
    with log.open("w", encoding="utf-8") as out:
        process = psutil.Popen(command, stdout=out, stderr=out, env=environment(folder / "jupyter"), cwd=folder)
        try:
            yield address(process, log), process
        finally:
            family = [process]
            with suppress(psutil.NoSuchProcess):
                family += process.children(recursive=True)
                process.terminate()
            _, left = psutil.wait_procs(family, timeout=15)
            for one in left:
                one.kill()


def address(process: psutil.Popen, log: Path) -> str:
    """What the command says, once a server answers there."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        said = re.search(r"http://127\.0\.0\.1:(\d+)/\S+", log.read_text("utf-8"))
        if said and listens(process, int(said[1])):
            return said[0]
        time.sleep(0.2)
    raise AssertionError(f"JupyterLab did not start: {log.read_text('utf-8')}")


def listens(process: psutil.Popen, port: int) -> bool:
    """Whether a child of the process listens on the port, on the loopback address and no other."""
    for child in process.children(recursive=True):
        open_ = [c.laddr for c in child.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        if any(a.port == port for a in open_):
            assert {a.ip for a in open_ if a.port == port} == {"127.0.0.1"}
            return True
    return False


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    """The explorer, all of its cells run; and the folder in which it was started."""
    folder = tmp_path_factory.mktemp("lab")
    with lab(folder) as (url, _), playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        page = browser.new_page(viewport={"width": 1400, "height": 1500})
        page.set_default_timeout(RUN_MS)
        page.goto(url)
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        page.get_by_text("| Idle").wait_for()  # what is run before the kernel is there would never be
        page.get_by_text("Run", exact=True).first.click()
        page.get_by_text("Run All Cells", exact=True).click()
        try:
            page.wait_for_selector(f"{PANEL} .noUi-handle")
            page.wait_for_selector(f"{PANEL} img")
        except playwright.TimeoutError as error:
            page.screenshot(path=kept(folder) / "explorer_failed.png")
            shown = page.locator(".jp-Notebook").inner_text()
            raise AssertionError(f"the explorer did not come up: {shown}") from error
        page.locator(PANEL).scroll_into_view_if_needed()
        yield page, folder
        browser.close()


def kept(folder: Path) -> Path:
    """Where pictures stay for people to look at."""
    out = Path(os.environ.get("NODE0_TEST_OUTPUT", folder / "output"))
    out.mkdir(parents=True, exist_ok=True)
    return out


def said(page: Any) -> str:
    return str(page.locator(f"{PANEL} .n0-said").inner_text())


def move(page: Any, slider: str, key: str) -> float:
    """Move a slider by a key; return the seconds until another picture stood there."""
    before = page.evaluate(PICTURE)
    handle = page.locator(f"{PANEL} .noUi-handle").nth(SLIDERS.index(slider))
    handle.focus()
    begun = time.perf_counter()
    page.keyboard.press(key)
    page.wait_for_function(f"before => {PICTURE} !== before", arg=before, polling="raf")
    return time.perf_counter() - begun


def errors(page: Any) -> list[str]:
    """What stands on the page that is an error of a cell, of a widget or of the panel."""
    bad = ".jp-OutputArea-output[data-mime-type$='stderr'], .jp-OutputArea-output[data-mime-type$='error']"
    return [*page.locator(bad).all_inner_texts(), *page.locator(".jupyter-widgets-error").all_inner_texts(),
            *page.locator(".n0-trouble").all_inner_texts()]  # fmt: skip


def test_a_moved_slider_changes_sentence_and_picture(opened: tuple[Any, Path]) -> None:
    """A smaller fault is told in another sentence and another picture, without any error; the screenshot is kept."""
    page, folder = opened
    first = said(page)
    assert "A failure of 5% for 1h is paged after" in first
    move(page, "fault fails", "ArrowLeft")
    assert "A failure of 4% for 1h" in said(page)
    assert page.evaluate(f"document.querySelector('{PANEL} img').naturalWidth") > 500
    assert errors(page) == []
    page.screenshot(path=kept(folder) / "explorer.png")


def test_the_static_result_gives_way_to_the_panel(opened: tuple[Any, Path]) -> None:
    """While the panel lives, the result for readers without a kernel is there and not seen."""
    page, _ = opened
    assert page.locator(".n0-default").count() == 1
    assert not page.locator(".n0-default").is_visible()


def test_what_counts_stands_below_the_panel(opened: tuple[Any, Path]) -> None:
    """The definitions by which the numbers are counted are on the page, from a significant event to a missed one."""
    page, _ = opened
    table = page.locator(".jp-Notebook table", has_text="What counts").first
    table.wait_for(state="attached")
    told = table.text_content()
    assert all(term in told for term in ("significant event", "missed event", "merge gap"))
    page.locator(PANEL).scroll_into_view_if_needed()


def test_how_long_a_slider_takes(opened: tuple[Any, Path]) -> None:
    """Every kind of slider redraws; how soon is printed, and kept beside the screenshot."""
    page, folder = opened
    lines = []
    for slider in ("factor", "fault fails", "requests/h", "error floor", "dispersion"):
        took = [move(page, slider, key) for key in ("ArrowRight", "ArrowRight", "ArrowLeft")]
        lines.append(f"{slider}: slider to picture {', '.join(f'{one * 1000:.0f}' for one in took)} ms")
    print("\n".join(lines))
    (kept(folder) / "explorer_times.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert errors(page) == []


def test_the_newest_state_wins(opened: tuple[Any, Path]) -> None:
    """After many quick moves the sentence is that of where the slider came to rest."""
    page, _ = opened
    page.locator(f"{PANEL} .noUi-handle").nth(SLIDERS.index("fault fails")).focus()
    for key in (*["ArrowLeft"] * 9, *["ArrowRight"] * 7):
        page.keyboard.press(key)
    rests = page.locator(f"{PANEL} .widget-readout").nth(SLIDERS.index("fault fails")).inner_text()
    page.get_by_text(f"A failure of {rests} for 1h").first.wait_for()
    page.wait_for_timeout(1000)
    assert f"A failure of {rests} for 1h" in said(page)


def test_what_is_wrong_is_one_sentence(opened: tuple[Any, Path]) -> None:
    """A short window above the long one is told in the panel, and goes away when it is corrected."""
    page, _ = opened
    short = page.locator(f"{PANEL} .noUi-handle").nth(SLIDERS.index("factor") + 2)
    short.focus()
    page.keyboard.press("End")
    page.wait_for_selector(".n0-trouble")
    (told,) = errors(page)
    assert "the short window must be shorter than the long one" in told
    assert "Traceback" not in told
    page.keyboard.press("Home")
    page.wait_for_selector(".n0-trouble", state="detached")


def test_a_policy_is_written_after_its_difference_was_seen(opened: tuple[Any, Path]) -> None:
    """The button to write can be pressed once the difference is shown; the file then differs by those lines only."""
    page, folder = opened
    catalogue = folder / "configs" / "slo.yaml"
    before = catalogue.read_text("utf-8")
    move(page, "factor", "ArrowRight")
    write = page.get_by_role("button", name="Write into")
    assert write.is_disabled()
    page.get_by_role("button", name="Show the difference").click()
    page.wait_for_selector(".n0-diff")
    assert "configs/slo.yaml" in page.locator(".n0-diff").inner_text()
    page.locator(PANEL).screenshot(path=kept(folder) / "explorer_difference.png")
    write.click()
    page.get_by_text("Written into configs/slo.yaml").wait_for()
    after = catalogue.read_text("utf-8")
    changed = [(a, b) for a, b in zip(before.splitlines(), after.splitlines(), strict=True) if a != b]
    assert len(changed) == 1
    assert changed[0][0].endswith("# burn above 14.4")
    assert changed[0][1].endswith("# burn above 14.4")
    assert errors(page) == []


def test_rules_are_exported(opened: tuple[Any, Path]) -> None:
    """The rules of the chosen policy are a file whose path is told; promtool finds nothing wrong with it."""
    page, folder = opened
    page.get_by_role("button", name="Export rules").click()
    page.get_by_text("Rules written to").wait_for()
    target = folder / "reports" / "threshold-explorer.rules.yaml"
    assert target.as_posix() in page.get_by_text("Rules written to").inner_text()
    if shutil.which("promtool") is not None:
        done = subprocess.run(["promtool", "check", "rules", str(target)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert "SloErrorBudgetBurn" in target.read_text("utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="an interrupt cannot be sent to one process alone there")
def test_the_lab_needs_its_token_and_ends_at_ctrl_c(tmp_path: Path) -> None:
    """Without the token nobody is let in; an interrupt ends command, server and port, with exit code 0."""
    with lab(tmp_path) as (url, process):
        where, _, token = url.partition("?token=")
        contents = f"{where.partition('/lab')[0]}/api/contents"
        with pytest.raises(HTTPError, match="403"):
            urlopen(contents, timeout=20)
        with urlopen(Request(contents, headers={"Authorization": f"token {token}"}), timeout=20) as answer:
            assert answer.status == 200
        assert token not in " ".join(part for one in process.children(recursive=True) for part in one.cmdline())
        family = process.children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert psutil.wait_procs(family, timeout=10)[1] == []
        with pytest.raises(URLError):
            urlopen(contents, timeout=20)
