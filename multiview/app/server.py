"""The server of the page: Gradio on this machine, with bounds on what comes in and nothing kept of it.

No call leaves for the network: Gradio's telemetry is off, and the page's policy forbids browsers any other host.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from multiview.app.answer import MAX_SECONDS, answer
from multiview.app.pages import ADDRESS, report, report_page, training
from multiview.predict import Predictor, load
from multiview.starters import located
from multiview.support.errors import InputError, UsageError

MAX_MIB = 50  # of an upload
WAITING = 8  # sounds at most, and as many in Gradio's queue; more are refused
LEFT_SECONDS = 300  # until an upload that nothing became of is deleted
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
FONT, MONO = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")  # the visitor's own


def serve(path: Path, host: str, port: int) -> None:
    """Serve the page of a model or a report until interrupted.

    Parameters
    ----------
    path : Path
        A run, an export, or the directory of a report.
    host : str
        Address to listen on.
    port : int
        0 for any that is free.

    Raises
    ------
    InputError
        If there is nothing to show at `path`, Gradio is not installed, or the address is taken.
    """
    path = located(path)
    page, is_report = report_page(path), not _is_model(path)
    if is_report and page is None:
        raise InputError(f"expected a run, an export or a report at {path}, found none; check the path")
    with _uploads() as uploads:
        uvicorn = _import_gradio()
        predictor = None if is_report else load(path)
        app = make_app(uploads, predictor, training(path), page)
        with _listening(host, port) as listener:
            shown = f"[{host}]" if ":" in host else host
            signal.signal(signal.SIGTERM, _end)  # else the folder would outlive the server
            print(f"http://{shown}:{listener.getsockname()[1]}  (Ctrl+C ends)", flush=True)
            uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def _end(*_: object) -> None:
    raise SystemExit(0)


def _is_model(path: Path) -> bool:
    from multiview.predict.saved import Export

    return (path / "run.json").is_file() or Export.find(path) is not None


@contextlib.contextmanager
def _uploads() -> Iterator[Path]:
    """A folder for what visitors send, gone with the server; Gradio reads its name when it is imported."""
    with tempfile.TemporaryDirectory(prefix="multiview-app-") as folder:
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
        yield Path(folder)


def _import_gradio() -> Any:
    """The server that Gradio brings along."""
    try:
        import gradio  # noqa: F401
        import uvicorn
    except ModuleNotFoundError as error:
        raise InputError(f"expected Gradio, found no {error.name}; say pip install '.[app]'") from error
    return uvicorn


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        kind = UsageError if isinstance(error, OverflowError) else InputError  # no such port
        raise kind(f"expected to listen on {host} port {port}, found {error}; name another --port") from error
    with listener:
        yield listener


def make_app(uploads: Path, predictor: Predictor | None, curves: str | None, page: Path | None) -> Any:
    """The application: the page, the report that it frames, and the bounds.

    Parameters
    ----------
    uploads : Path
        Where Gradio puts what visitors send.
    predictor : Predictor or None
        Without one there is nothing to drop a sound on.
    curves : str or None
        HTML of the run's training.
    page : Path or None
        The page of a report.
    """
    import fastapi
    import gradio
    from fastapi.responses import FileResponse, PlainTextResponse

    asked = Asked()

    @contextlib.asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(_sweep(uploads, asked))
        yield
        task.cancel()

    app = fastapi.FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def bounded(request: fastapi.Request, forward: Callable[..., Awaitable[Any]]) -> Any:
        size = request.headers.get("content-length", "")
        if request.method == "POST" and not (size.isdecimal() and int(size) <= MAX_MIB * 2**20):
            return PlainTextResponse(f"expected at most {MAX_MIB} MiB", status_code=413)
        response = await forward(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response

    if page is not None:
        app.get(ADDRESS)(lambda: FileResponse(page))
    return gradio.mount_gradio_app(
        app,
        _blocks(predictor, asked, curves, page is not None),
        path="/",
        max_file_size=f"{MAX_MIB}mb",
        theme=gradio.themes.Default(font=FONT, font_mono=MONO),
        css=Path(__file__).with_name("style.css").read_text(encoding="utf-8"),
        footer_links=[],
        run_history=False,
        ssr_mode=False,
    )


def _blocks(predictor: Predictor | None, asked: Asked, curves: str | None, reported: bool) -> Any:
    """The page itself: a tab each for sounds, training and report, as far as there are."""
    import gradio

    with gradio.Blocks(title="multiview", analytics_enabled=False) as blocks:
        if predictor is not None:
            with gradio.Tab("Sound"):
                _sound_tab(predictor, asked)
        if curves is not None:
            with gradio.Tab("Training"):
                gradio.HTML(curves)
        if reported:
            with gradio.Tab("Report"):
                gradio.HTML(report())
    return blocks.queue(max_size=WAITING, default_concurrency_limit=WAITING)


class Asked:
    """The uploads that are asked about, and who waits for the one that is answered.

    Gradio puts the same sound of several visitors into one folder, by whatever names.
    """

    def __init__(self) -> None:
        self._visitors, self._lock, self._turn = Counter[str](), threading.Lock(), threading.Lock()

    @contextlib.contextmanager
    def about(self, upload: Path) -> Iterator[None]:
        """Wait for one's turn; the folder of the upload is deleted when nobody else has asked about it meanwhile."""
        folder, began = os.path.realpath(upload.parent), time.time()
        with self._lock:
            self._visitors[folder] += 1
        try:
            with self._turn:
                yield
        finally:
            with self._lock, contextlib.suppress(OSError):
                self._visitors[folder] -= 1
                if not self._visitors[folder]:
                    del self._visitors[folder]
                    # Not where it was sent once more, which will be asked about.
                    if all(each.stat().st_mtime <= began for each in upload.parent.iterdir()):
                        shutil.rmtree(upload.parent)

    def __contains__(self, upload: Path) -> bool:
        return os.path.realpath(upload.parent) in self._visitors


def _sound_tab(predictor: Predictor, asked: Asked) -> None:
    import gradio

    def answered(upload: str | None) -> tuple[Any, str]:
        if upload is None:  # taken away by hand
            return gradio.skip(), gradio.skip()
        with asked.about(Path(upload)):
            return None, answer(predictor, Path(upload))

    sound = gradio.Audio(
        sources=["upload", "microphone"],
        type="filepath",
        label=f"A sound: up to {MAX_SECONDS // 60} minutes and {MAX_MIB} MiB; nothing of it is kept",
    )
    player = Path(__file__).with_name("player.js").read_text(encoding="utf-8")
    found = gradio.HTML(js_on_load=player)
    sound.input(answered, sound, [sound, found], api_visibility="private")


async def _sweep(uploads: Path, asked: Asked) -> None:
    """Delete, again and again, what was sent and asked nothing about."""
    while True:
        await asyncio.sleep(LEFT_SECONDS / 5)
        with contextlib.suppress(OSError):  # folders go as they are answered
            for path in uploads.rglob("*"):
                old = path.is_file() and path.stat().st_mtime < time.time() - LEFT_SECONDS
                if old and path not in asked:
                    path.unlink()
