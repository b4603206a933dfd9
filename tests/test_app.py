"""The page: what it says is what predict says, what comes in is bounded, nothing stays and nothing leaves."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

import multiview
from multiview.app import answer as answers
from multiview.app import server
from multiview.app.answer import answer
from multiview.app.pages import report_page
from multiview.app.pictures import pictures, time_ticks
from multiview.experiment.run import Run
from multiview.predict import Predictor
from tests.helpers.commands import run

ROOT = Path(__file__).parents[1]
WIDTHS = (400, 900, 1600)


def shares(html: str) -> list[float]:
    """The probabilities on the page, %, in its order."""
    return [float(found) for found in re.findall(r"<b>([\d.]+) %</b>", html)]


def test_an_answer_has_the_numbers_of_predict(live: Predictor, clips: list[Path]) -> None:
    html, (wanted,) = answer(live, clips[0]), live.predict_files(clips[:1])
    rows = [wanted.top(), *(wanted.top(branch=name) for name in wanted.branches)]
    assert shares(html) == [float(f"{100 * value:.1f}") for row in rows for _, value in row]
    assert f"Disagreement of the branches: <b>{wanted.disagreement:.2f}</b>" in html
    assert [html.count(f"weight {weight:.2f}") > 0 for weight in live.weights.values()] == [True] * 5
    assert html.count('class="panel"') == 5  # four views and the axis
    assert "Timeline" not in html


def test_of_silence_it_knows_nothing(live: Predictor, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(44100), 22050)
    assert "<b>unknown</b>: all classes are alike" in answer(live, tmp_path / "a.wav")


def test_a_view_lies_where_its_sound_does() -> None:
    """A click in the middle of 4 s: the brightest column and the widest place of the outline are in the middle."""
    waveform = np.zeros(4 * 22050, np.float32)
    waveform[2 * 22050] = 0.9
    mel, raw = pictures(waveform, 22050, ["mel", "raw"])
    # Frames of 882 samples, one each 441: the picture of 199 begins a quarter of a frame in.
    assert mel.left == pytest.approx(100 * 220.5 / 88200) and mel.width == pytest.approx(100 * 199 * 441 / 88200)
    points = [tuple(map(float, point.split(","))) for point in raw.outline.split()]
    peak = min(points, key=lambda point: point[1])
    assert peak[0] == pytest.approx(600, abs=2) and peak[1] == pytest.approx(0.1, abs=1e-3)


def test_labels_of_time() -> None:
    assert time_ticks(4.0) == {0.0: "0", 25.0: "1", 50.0: "2", 75.0: "3"}
    assert list(time_ticks(600.0).values())[:2] == ["0", "120"]
    assert len(time_ticks(0.3)) <= 6


def test_a_long_recording_has_a_timeline(live: Predictor, tmp_path: Path, rng: np.random.Generator) -> None:
    soundfile.write(tmp_path / "night.flac", 0.1 * rng.standard_normal(12 * 22050), 22050)
    html = answer(live, tmp_path / "night.flac")
    assert 'download="night.flac.timeline.csv"' in html and "data:text/csv;base64," in html


def test_what_is_no_sound_is_one_line(live: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "<b>.wav").write_bytes(b"no sound")
    html = answer(live, tmp_path / "<b>.wav")
    assert html.startswith('<p class="complaint" role="alert">&lt;b&gt;.wav: ') and html.count("<p") == 1
    assert "expected a sound file" in html and str(tmp_path) not in html
    monkeypatch.setattr(answers, "MAX_SECONDS", 60)
    soundfile.write(tmp_path / "hour.flac", np.zeros(61 * 8000), 8000)
    assert "hour.flac: expected at most 1 minutes, found more" in answer(live, tmp_path / "hour.flac")


def test_names_of_classes_are_text(mel_meter: Predictor, tmp_path: Path) -> None:
    mel_meter.classes[0] = "<script>alert(1)</script>"
    soundfile.write(tmp_path / "a.wav", np.full(44100, 0.1), 22050)
    html = answer(mel_meter, tmp_path / "a.wav")
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert "Disagreement" not in html and "weight" not in html  # of one branch


@pytest.fixture
def client(live: Predictor, tmp_path: Path):
    """The application, asked without a browser."""
    pytest.importorskip("gradio")
    from fastapi.testclient import TestClient

    (tmp_path / "report.html").write_text("<p>table</p>")
    with TestClient(server.make_app(tmp_path / "uploads", live, None, tmp_path / "report.html")) as found:
        yield found


def test_bounds_and_policy(client, tmp_path: Path) -> None:
    """A body that is too large, or that does not say how large, is refused before any of it is kept."""
    page = client.get("/")
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    assert client.get("/report.html").text == "<p>table</p>"
    large = client.post("/gradio_api/upload", content=b"", headers={"content-length": str(2**30)})
    endless = client.post("/gradio_api/upload", content=iter([b"x"] * 10))
    assert (large.status_code, endless.status_code) == (413, 413)
    assert large.text == "expected at most 50 MiB"
    assert client.get("/docs").status_code == 404 or "swagger" not in client.get("/docs").text.lower()


def test_what_nobody_asked_about_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tmp_path / "a" / "old.wav", tmp_path / "b" / "new.wav"
    for path in (old, new):
        path.parent.mkdir()
        path.write_bytes(b"sound")
    os.utime(old, (time.time() - 100,) * 2)
    monkeypatch.setattr(server, "LEFT_SECONDS", 0.5)
    monkeypatch.setattr(server.time, "time", lambda: new.stat().st_mtime)

    async def a_while() -> None:
        task = asyncio.create_task(server._sweep(tmp_path, asked))
        await asyncio.sleep(0.4)
        assert not task.done()
        task.cancel()

    asked = server.Asked()
    with asked.about(old):  # and waits for its turn, maybe
        asyncio.run(a_while())
        assert old.exists() and new.exists()
    old.parent.mkdir()
    old.write_bytes(b"sound")
    os.utime(old, (time.time() - 100,) * 2)
    asyncio.run(a_while())
    assert not old.exists() and new.exists()


def test_visitors_with_the_same_sound_share_an_upload(tmp_path: Path) -> None:
    """By whatever names: it stays until the last of them has an answer, and where it is sent once more meanwhile."""
    uploads, asked, seen = [tmp_path / "sha" / f"{name}.wav" for name in "aab"], server.Asked(), []
    here = threading.Event()

    def ask(upload: Path) -> None:
        with asked.about(upload):
            seen.append(upload.exists())
            here.wait(60)

    def send() -> None:
        for upload in uploads:
            upload.parent.mkdir(exist_ok=True)
            upload.write_bytes(b"sound")
            os.utime(upload, (time.time() - 1,) * 2)

    send()
    visitors = [threading.Thread(target=ask, args=[upload]) for upload in uploads]
    for each in visitors:
        each.start()
    while sum(asked._visitors.values()) < 3:
        time.sleep(0.01)
    here.set()  # all have asked, and the first is answered
    for each in visitors:
        each.join()
    assert seen == [True] * 3 and not uploads[0].parent.exists() and uploads[0] not in asked
    send()
    with asked.about(uploads[0]):
        os.utime(uploads[2], (time.time() + 1,) * 2)
    assert uploads[2].exists()


def test_a_report_is_that_of_the_run_and_of_nothing_else(tmp_path: Path) -> None:
    run, varied, export = (tmp_path / name for name in ("mel/fold1", "ablations/uniform/fold1", "exports/mine"))
    for path in (run, varied, export):
        path.mkdir(parents=True)
    for path in (run, varied):
        (path / "run.json").write_text("{}")
    page = tmp_path / "report.html"
    page.write_text("report")
    assert report_page(run) == report_page(varied) == report_page(tmp_path) == page
    assert report_page(export) is None and report_page(tmp_path / "mel" / "fold2") is None


def test_mistakes_are_one_line(tiny_trained: Run, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("app", tmp_path) == 1
    assert "expected a run, an export or a report" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert run("app", tiny_trained.path, "--port", taken.getsockname()[1]) == 1
    assert "name another --port" in capsys.readouterr().err
    assert run("app", tiny_trained.path, "--port", 99999) == 2
    assert "port 99999" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert run("app", tiny_trained.path) == 1
    assert "say pip install '.[app]'" in capsys.readouterr().err


@pytest.fixture
def served(tmp_path: Path):
    """Starts the command on a free port; its address, and the folder in which it makes its own."""
    pytest.importorskip("gradio")
    started = []

    def serve(path: Path) -> tuple[str, Path]:
        own = tmp_path / "own"
        own.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "multiview.cli", "app", str(path), "--port", "0"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(own)}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        started.append(process)
        return process.stdout.readline().split()[0], own

    serve.stop = lambda: (started[-1].send_signal(signal.SIGTERM), started[-1].wait(60))  # type: ignore[attr-defined]
    yield serve
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def browser() -> Iterator:
    """Chromium without a screen, with a microphone that beeps."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs chromium, as of Debian's package")
    options = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    options.append("--autoplay-policy=no-user-gesture-required")
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=chromium, args=options)
        yield found
        found.close()


def visited(browser, address: str):
    """The page, and the addresses that it asked."""
    page, asked = browser.new_page(viewport={"width": 1600, "height": 1000}), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.wait_for_selector("input[type=file]", state="attached", timeout=120_000)
    return page, asked


def dropped(page, path: Path) -> None:
    page.set_input_files("input[type=file]", path)
    name = re.sub(r"[^\w.-]", "", path.name)
    page.wait_for_selector(f".answer h2:has-text('{name}'), .complaint:has-text('{name}')", timeout=120_000)


def sounds_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in (".wav", ".ogg", ".webm", ".mp3", ".png", ".csv")]


def test_a_visitor_drops_a_real_clip(browser, served, tiny_trained: Run, real_audio, tmp_path: Path) -> None:
    clip = min((real_audio("esc10") / "audio").glob("*.ogg"))
    address, own = served(tiny_trained.path)
    page, asked = visited(browser, address)
    dropped(page, clip)
    (wanted,) = multiview.load(tiny_trained.path).predict_files([clip])
    assert shares(page.content())[:3] == [float(f"{100 * value:.1f}") for _, value in wanted.top()]
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 1000})
        assert page.evaluate("document.documentElement.scrollWidth") == width
    # A click in the middle of the views is the middle of the sound, and so is the line; playing moves both.
    box = page.locator(".panel").first.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 5)
    page.wait_for_function("document.querySelector('audio').currentTime > 2")
    middle = page.evaluate("document.querySelector('audio').currentTime / document.querySelector('audio').duration")
    assert middle == pytest.approx(0.5, abs=0.02)
    page.evaluate("document.querySelector('audio').play()")
    page.wait_for_function("parseFloat(document.querySelector('.cursor').style.left) > 55")
    page.get_by_role("tab", name="Training").click()
    page.wait_for_selector(".pages img")
    # Nothing was asked of others, nothing of the visitor is left, and with the server all of its own goes.
    assert [each for each in asked if not each.startswith((address, "data:", "blob:"))] == []
    assert sounds_in(own) == []
    served.stop()
    assert list(own.glob("multiview-*")) == []


def test_a_visitor_records_and_sends_what_is_no_sound(browser, served, exported: Path, tmp_path: Path) -> None:
    address, own = served(exported)
    page, _ = visited(browser, address)
    page.get_by_label("Record audio").click()
    page.locator(".record-button").click()
    time.sleep(3)
    page.locator(".stop-button").click()
    page.wait_for_selector(".answer h2", timeout=120_000)
    (tmp_path / "letter.wav").write_text("Dear all")
    page.get_by_label("Upload file").click()
    dropped(page, tmp_path / "letter.wav")
    assert "expected a sound file" in page.locator(".complaint").inner_text()
    assert sounds_in(own) == []


def test_a_report_is_its_page(browser, served, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<h1>Table 3</h1>")
    address, _ = served(tmp_path)
    page = browser.new_page()
    page.goto(address)
    frame = page.frame_locator("iframe[title=report]")
    frame.locator("h1").wait_for(timeout=60_000)
    assert frame.locator("h1").inner_text() == "Table 3"
