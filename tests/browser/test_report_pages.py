"""The reports in a real browser: they show, they print, and they load nothing from anywhere."""

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bs4 import BeautifulSoup
from matplotlib.image import imread

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
import view_samples as samples

from node0lib.views.report import audit, investor

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: install Debian's chromium"),
]
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--no-pdf-header-footer", "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
REPORTS = pytest.mark.parametrize("report", [audit, investor], ids=["audit", "investor"])


def browse(folder: Path, html: str, *options: str) -> str:
    """Open the page in a fresh browser that can reach nobody; return what it writes to its output."""
    page = folder / "page.html"
    page.write_text(html, encoding="utf-8")
    command = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={folder / 'profile'}", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=True)
    return done.stdout


def requested(log: Path) -> set[str]:
    """Every address that the page asked for; what the browser asks on its own account has no origin."""
    events = json.loads(log.read_text("utf-8"))["events"]
    asked = [e["params"] for e in events if "initiator" in e.get("params", {})]
    return {str(p["url"]) for p in asked if p["initiator"] != "not an origin"}


@REPORTS
def test_a_browser_shows_the_whole_page(report, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The document that the browser built has the heading, the figures, and every entry of the contents."""
    page = BeautifulSoup(browse(tmp_path, report(samples.executed(), samples.facts()), "--dump-dom"), "html.parser")
    assert [h.get_text() for h in page.find_all("h1")] == ["One production cycle"]
    assert len(page.find_all("figure")) == 5
    assert all(page.find(id=str(a["href"])[1:]) for a in page.select("nav a"))


@REPORTS
def test_a_picture_of_the_page_is_not_blank(report, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """On a screen the page has the verdict's colour, dark text, and the blue of the figures."""
    shot = tmp_path / "page.png"
    browse(tmp_path, report(samples.executed(), samples.facts()), "--window-size=1280,3600", f"--screenshot={shot}")
    pixels = (imread(shot)[:, :, :3] * 255).round().astype(int)
    assert pixels.shape[:2] == (3600, 1280)
    for colour in ((0x00, 0x66, 0x4C), (0x00, 0x72, 0xB2), (0x1B, 0x27, 0x33)):
        assert (np.abs(pixels - colour).max(axis=2) < 8).sum() > 100, colour


@REPORTS
def test_a_page_fits_a_phone(report, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """At 400 pixels the page itself does not scroll sideways: the right edge is as blank as a margin is."""
    inner = base64.b64encode(report(samples.executed(), samples.facts()).encode("utf-8")).decode("ascii")
    style = "width:400px;height:9000px;border:0"
    frame = f'<body style="margin:0"><iframe style="{style}" src="data:text/html;base64,{inner}">'
    shot = tmp_path / "phone.png"
    browse(tmp_path, frame, "--window-size=500,9000", f"--screenshot={shot}")
    pixels = (imread(shot)[200:, 388:399, :3] * 255).round()
    assert (pixels.reshape(-1, 3).min(axis=1) > 235).mean() > 0.99


@REPORTS
def test_every_printed_page_says_simulated(report, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The printed report has several pages, and the banner stands on each of them."""
    pdf = tmp_path / "page.pdf"
    browse(tmp_path, report(samples.executed(), samples.facts()), f"--print-to-pdf={pdf}")
    assert pdf.stat().st_size > 20_000
    if shutil.which("pdftotext") is None:
        pytest.skip("the pages' text needs pdftotext; install Debian's poppler-utils")
    text = subprocess.run(["pdftotext", "-layout", str(pdf), "-"], capture_output=True, text=True, check=True).stdout
    pages = text.split("\f")[:-1]
    assert len(pages) > 2
    assert [number for number, page in enumerate(pages, 1) if "SIMULATED TARGET" not in page] == []


@REPORTS
def test_nothing_is_requested_from_anywhere(report, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """With a log of the browser's network, opening a report asks for the file itself and nothing else."""
    log = tmp_path / "net.json"
    browse(tmp_path, report(samples.executed(), samples.facts()), f"--log-net-log={log}", "--dump-dom")
    assert {url for url in requested(log) if not url.startswith(("file:", "data:"))} == set()


def test_the_log_of_requests_can_show_one(tmp_path: Path) -> None:
    """The check above sees the request of a page that does load a picture from elsewhere."""
    log = tmp_path / "net.json"
    browse(tmp_path, '<img src="http://127.0.0.1:9/pixel.png">', f"--log-net-log={log}", "--dump-dom")
    assert any("pixel.png" in url for url in requested(log))
