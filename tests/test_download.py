"""Download and unpacking, against a server on the loopback interface."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pooch.core
import pytest

from data_prep import download
from data_prep import prepare as command
from data_prep.datasets import DATASETS, Archive, Source, gtzan
from multiview.support import registry
from multiview.support.errors import InputError
from tests import trees


def wait(seconds: float) -> None:
    """As `time.sleep`, which the tests switch off for Pooch."""
    threading.Event().wait(seconds)


class Server(ThreadingHTTPServer):
    """Serves `files` and behaves badly on request; remembers the ranges that were asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.cut_after: int | None = None  # bytes, of each answer
        self.ranges, self.stall = True, 0.0
        self.refusals: list[int] = []  # status of the next answers
        self.answer: Callable[[Handler], None] | None = None  # instead of any other

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name, wanted = self.path.rsplit("/", 1)[-1], self.headers.get("Range")
        self.server.asked.append((name, wanted))
        if self.server.answer:
            with contextlib.suppress(OSError):  # who asked may have left
                self.server.answer(self)
            return
        if self.server.refusals:
            self.send_error(self.server.refusals.pop(0))
            return
        if name not in self.server.files:
            self.send_error(404)
            return
        content, begin = self.server.files[name], 0
        if wanted and self.server.ranges:
            begin = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if begin >= len(content):
                self.send_error(416)
                return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        end = len(content) if self.server.cut_after is None else begin + self.server.cut_after
        self.wfile.write(content[begin:end])
        self.wfile.flush()
        wait(self.server.stall)

    def say(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(pooch.core.time, "sleep", lambda _: None)  # between the attempts
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


CONTENT = bytes(range(256)) * 4000  # 1 MB


def source(url: str, content: bytes = CONTENT, name: str = "sounds.zip") -> Source:
    return Source(
        "https://example.org", "CC0", [Archive(f"{url}/{name}", hashlib.md5(content).hexdigest(), len(content))]
    )


def fetch(server: Server, folder: Path, content: bytes = CONTENT) -> Path:
    where = source(server.url, content)
    return download.fetch(where.archives[0], folder, where)


def test_good_file_is_fetched_once(server: Server, tmp_path: Path) -> None:
    server.files["sounds.zip"] = CONTENT
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [("sounds.zip", None)]
    assert [path.name for path in tmp_path.iterdir()] == ["sounds.zip"]


def test_file_put_there_by_hand_needs_no_server(tmp_path: Path) -> None:
    (tmp_path / "sounds.zip").write_bytes(CONTENT)
    where = source("http://127.0.0.1:9")
    assert download.fetch(where.archives[0], tmp_path, where).read_bytes() == CONTENT


def test_cut_connection_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.files["sounds.zip"], server.cut_after = CONTENT, 400_000
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    begins = [int(wanted[6:-1]) for _, wanted in server.asked[1:]]
    assert len(begins) == 2 and 0.8 < begins[0] / 400_000 <= 1 and 0.8 < (begins[1] - begins[0]) / 400_000 <= 1


def test_cut_download_is_continued_by_the_next_call(server: Server, tmp_path: Path) -> None:
    server.files["sounds.zip"], server.cut_after = CONTENT, 100_000
    with pytest.raises(InputError, match="does not deliver .*get sounds.zip from https://example.org"):
        fetch(server, tmp_path)
    size = (tmp_path / "sounds.zip.part").stat().st_size
    assert 0.6 < size / (100_000 * (download.RETRIES + 1)) <= 1
    server.cut_after = None
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.asked[-1][1] == f"bytes={size}-"
    assert not (tmp_path / "sounds.zip.part").exists()


def test_server_without_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "sounds.zip.part").write_bytes(b"of an earlier call")
    server.files["sounds.zip"], server.ranges = CONTENT, False
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_part_longer_than_the_file_starts_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "sounds.zip.part").write_bytes(CONTENT + b"more")
    server.files["sounds.zip"] = CONTENT
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_wrong_sum_names_both_and_keeps_the_file(server: Server, tmp_path: Path) -> None:
    server.files["sounds.zip"] = b"packed anew"
    with pytest.raises(InputError) as error:
        fetch(server, tmp_path)
    for text in (hashlib.md5(CONTENT).hexdigest(), hashlib.md5(b"packed anew").hexdigest(), "unpack it into", "repeat"):
        assert text in str(error.value)
    assert (tmp_path / "sounds.zip.unchecked").read_bytes() == b"packed anew"
    assert len(server.asked) == 1


def test_wrong_file_on_disk_is_not_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "sounds.zip").write_bytes(b"mine")
    with pytest.raises(InputError, match="expected MD5 .* found .*; delete it to download it again"):
        fetch(server, tmp_path)
    assert (tmp_path / "sounds.zip").read_bytes() == b"mine" and not server.asked


def test_missing_file_is_asked_for_once(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="404.* get sounds.zip from https://example.org .*put it into"):
        fetch(server, tmp_path)
    assert len(server.asked) == 1


def test_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.files["sounds.zip"], server.refusals = CONTENT, [429, 503, 408]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 4


def test_whole_part_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "sounds.zip.part").write_bytes(CONTENT)
    assert fetch(server, tmp_path).read_bytes() == CONTENT and not server.asked


def test_slow_server_is_given_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["sounds.zip"], server.cut_after, server.stall = CONTENT, 10, 3.0
    monkeypatch.setattr(download, "TIMEOUT", (1, 0.2))
    begin = time.monotonic()
    with pytest.raises(InputError, match="does not deliver"):
        fetch(server, tmp_path)
    assert time.monotonic() - begin < 3


# Servers that lie


def lies(handler: Handler, kind: str) -> None:
    """One answer of the kind."""
    if kind.startswith("http") or "://" in kind or kind == "":
        handler.say(302, Location=kind, Content_Length=0)
    elif kind == "loop":
        handler.say(302, Location="/sounds.zip", Content_Length=0)
    elif kind.isdecimal():
        handler.say(int(kind), Content_Length=0)
    elif kind == "page":
        handler.say(200, Content_Type="text/html; charset=utf-8", Content_Length=6)
        handler.wfile.write(b"<html>")
    elif kind == "other part":
        handler.say(206, Content_Range="bytes 0-9/10", Content_Length=10)
        handler.wfile.write(bytes(10))
    elif kind == "terabytes":
        handler.say(200, Content_Length=2**42)
        handler.wfile.write(bytes(1000))
    elif kind == "endless":
        handler.say(200)
        while True:
            handler.wfile.write(bytes(2**16))
    elif kind == "endless chunks":
        handler.protocol_version = "HTTP/1.1"
        handler.say(200, Transfer_Encoding="chunked")
        while True:
            handler.wfile.write(b"10000\r\n" + bytes(2**16) + b"\r\n")
    else:
        raise AssertionError(kind)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("416", "416"),
        ("204", "expected a file, found status 204"),
        ("304", "expected a file, found status 304"),
        ("http://[nonsense", "Invalid IPv6 URL"),
        ("http://\udcff\udcfe.example/", ""),
        ("gopher://example.org/sounds.zip", "No connection adapters"),
        ("file:///etc/passwd", "No connection adapters"),
        ("http://" + "a" * 300 + ".example/", ""),
        ("loop", "redirects"),
        ("page", "expected an archive, found a page"),
        ("other part", "expected bytes from 300000, found bytes 0-9/10"),
        ("terabytes", "expected at most 1,280,000 bytes, found 4,398,046,511,104"),
        ("endless", "expected at most 1,280,000 bytes, found more"),
        ("endless chunks", "expected at most 1,280,000 bytes, found more"),
    ],
)
def test_what_a_server_says_costs_nothing(server: Server, tmp_path: Path, kind: str, message: str) -> None:
    """One line; what an earlier call had is there, and an honest server goes on from it."""
    part = tmp_path / "sounds.zip.part"
    part.write_bytes(CONTENT[:300_000])
    server.answer = lambda handler: lies(handler, kind)
    with pytest.raises(InputError, match="does not deliver .*get sounds.zip from https://example.org") as error:
        fetch(server, tmp_path)
    assert message in str(error.value) and len(str(error.value)) < 1500
    assert part.read_bytes() == CONTENT[:300_000]
    server.answer, server.asked = None, []
    server.files["sounds.zip"] = CONTENT
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [("sounds.zip", "bytes=300000-")]
    assert [path.name for path in tmp_path.iterdir()] == ["sounds.zip"]


@pytest.mark.parametrize("length", ["abc", "-5", "9" * 5000, "1e6", ""])
def test_length_that_is_none(server: Server, tmp_path: Path, length: str) -> None:
    """The sum tells whether it is whole; where it was cut, the next attempts go on."""
    begins = []

    def answer(handler: Handler) -> None:
        begin = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
        begins.append(begin)
        handler.say(206 if begin else 200, Content_Length=length)
        handler.wfile.write(CONTENT[begin : begin + 400_000])

    server.answer = answer
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert begins == [0, 400_000, 800_000]


def test_encoding_that_was_not_asked_for_is_not_undone(server: Server, tmp_path: Path) -> None:
    """A gzip bomb stays as small as it was sent; an archive that is called one is taken as it is."""

    def answer(handler: Handler, content: bytes) -> None:
        handler.say(200, Content_Encoding="gzip", Content_Length=len(content))
        handler.wfile.write(content)

    bomb = gzip.compress(bytes(2**28), 9)
    server.answer = lambda handler: answer(handler, bomb)
    with pytest.raises(InputError, match="expected MD5"):
        fetch(server, tmp_path)
    assert (tmp_path / "sounds.zip.unchecked").read_bytes() == bomb
    server.answer = lambda handler: answer(handler, CONTENT)
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_server_that_drips_is_given_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came is kept."""
    monkeypatch.setattr(download, "WINDOW", 0.3)

    def answer(handler: Handler) -> None:
        begin = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
        handler.say(206 if begin else 200, Content_Length=len(CONTENT) - begin)
        for place in range(begin, begin + 100):
            handler.wfile.write(CONTENT[place : place + 1])
            wait(0.05)

    server.answer = answer
    with pytest.raises(InputError, match=r"does not deliver \(\d+ bytes a second; expected 1024 at least\)"):
        fetch(server, tmp_path)
    kept = (tmp_path / "sounds.zip.part").read_bytes()
    assert len(server.asked) == download.RETRIES + 1 and len(kept) >= len(server.asked) and CONTENT.startswith(kept)
    server.answer, server.files["sounds.zip"] = None, CONTENT
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_server_that_begins_anew_costs_only_what_it_exceeds(server: Server, tmp_path: Path) -> None:
    part = tmp_path / "sounds.zip.part"
    part.write_bytes(CONTENT[:300_000])
    server.files["sounds.zip"], server.ranges, server.cut_after = CONTENT, False, 200_000
    with pytest.raises(InputError, match="does not deliver"):
        fetch(server, tmp_path)
    assert part.read_bytes() == CONTENT[:300_000]
    server.cut_after = 500_000
    with pytest.raises(InputError, match="does not deliver"):
        fetch(server, tmp_path)
    assert CONTENT.startswith(part.read_bytes()) and 300_000 < part.stat().st_size <= 500_000


def test_no_server_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooch.core.time, "sleep", lambda _: None)
    where = source("http://127.0.0.1:9")
    with pytest.raises(InputError, match="does not deliver"):
        download.fetch(where.archives[0], tmp_path, where)


# The command


def pack(folder: Path) -> bytes:
    """The folder as a zip archive with its own name inside."""
    return Path(shutil.make_archive(str(folder) + "-packed", "zip", folder.parent, folder.name)).read_bytes()


@pytest.fixture
def publish() -> Iterator[Callable[..., None]]:
    """Declares a dataset that is like another one but published elsewhere."""
    before = registry.snapshot()

    def declare(name: str, like: str, licence: str, archives: Sequence[Archive]) -> None:
        source = Source("https://example.org", licence, archives)
        DATASETS.register(dataclasses.replace(DATASETS[like], name=name, source=source))

    yield declare
    registry.restore(before)


@pytest.fixture
def published(tmp_path: Path, server: Server, publish: Callable[..., None]) -> Server:
    """A server with a miniature ESC-50, which is declared as `mini`."""
    content = pack(trees.esc50(tmp_path / "made" / "ESC-50-master"))
    server.files["master.zip"] = content
    archive = Archive("http://127.0.0.1:9/ESC-50/archive/master.zip", hashlib.md5(content).hexdigest())
    publish("mini", "esc50", "CC BY-NC 3.0", [archive])
    return server


def test_from_nothing_to_a_store(published: Server, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ["mini", "--audio", tmp_path / "new" / "esc50", "--store", tmp_path / "s.h5"]
    arguments = [str(item) for item in (*arguments, "--sample-rate", 22050, "--jobs", 1)]
    assert command.main([*arguments, "--download", "--mirror", published.url + "/"]) == 0
    printed = capsys.readouterr()
    assert "30 clips, 3 classes" in printed.out
    first, *_ = printed.err.splitlines()
    assert first == "licence: CC BY-NC 3.0 (https://example.org)"
    assert "30 of the 2,000 clips that are published: another protocol, named mini_30_of_2000" in printed.err
    # With the store made, nothing is fetched, even where the sounds are gone.
    shutil.rmtree(tmp_path / "new")
    assert command.main([*arguments, "--download"]) == 0
    assert len(published.asked) == 1


def test_complete_dataset_on_disk_needs_no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "download", lambda *_: pytest.fail("went to download"))
    full = trees.gtzan(tmp_path / "genres", trees.touch, gtzan.GENRES, range(100))
    assert len(command.downloaded(DATASETS["gtzan"], full, None, {}).clips) == 1000
    (full / "jazz" / "jazz.00001.au").unlink()
    with pytest.raises(pytest.fail.Exception, match="went to download"):
        command.downloaded(DATASETS["gtzan"], full, None, {})


def test_dcase_in_many_archives_becomes_one_tree(server: Server, tmp_path: Path, publish: Callable[..., None]) -> None:
    made = trees.dcase2016(tmp_path / "made", lambda path: trees.write_tone(path, samples=33_500))
    archives = []
    for folder in sorted(made.iterdir()):
        for number, half in enumerate((["audio"], ["meta.txt", "error.txt", "evaluation_setup"])):
            members = {
                path.relative_to(made).as_posix(): path.read_bytes()
                for item in half
                for path in [folder / item, *(folder / item).rglob("*")]
                if path.is_file()
            }
            name = f"{folder.name}.{number}.zip"
            server.files[name] = trees.make_zip(tmp_path / name, members).read_bytes()
            archives.append(Archive(f"{server.url}/{name}", hashlib.md5(server.files[name]).hexdigest()))
    publish("scenes", "dcase2016", "non-commercial", archives)
    audio, store = tmp_path / "audio", tmp_path / "s.h5"
    arguments = ["scenes", "--audio", str(audio), "--store", str(store), *"--sample-rate 22050 --jobs 1".split()]
    assert command.main([*arguments, "--download"]) == 0
    assert len(server.asked) == 4 and len(list(audio.rglob("*.wav"))) == 18


def test_gtzan_without_a_server_says_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, publish: Callable[..., None]
) -> None:
    monkeypatch.setattr(pooch.core.time, "sleep", lambda _: None)
    arguments = ["gtzan", "--audio", str(tmp_path / "gtzan"), "--store", str(tmp_path / "s.h5")]
    arguments += ["--download", "--jobs", "1"]
    assert command.main([*arguments, "--mirror", "http://127.0.0.1:9"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "get genres.tar.gz from" in error and f"put it into {tmp_path / 'gtzan' / 'archives'}" in error
    # And so it works.
    made = trees.gtzan(tmp_path / "made" / "genres", lambda path: trees.write_tone(path, samples=33_500))
    content = Path(shutil.make_archive(str(tmp_path / "genres"), "gztar", made.parent, "genres")).read_bytes()
    (tmp_path / "gtzan" / "archives" / "genres.tar.gz").write_bytes(content)
    archive = Archive("http://127.0.0.1:9/genres.tar.gz", hashlib.md5(content).hexdigest())
    publish("music", "gtzan", "none", [archive])
    assert command.main(["music", *arguments[1:]]) == 0


def test_download_goes_with_published_datasets_only(capsys: pytest.CaptureFixture) -> None:
    for arguments, message in (
        (["demo", "--store", "s.h5", "--download"], "it is not published"),
        (["esc50", "--store", "s.h5", "--mirror", "http://127.0.0.1:9"], "--mirror goes with --download"),
    ):
        with pytest.raises(SystemExit, match="2"):
            command.main(arguments)
        assert message in capsys.readouterr().err


def test_download_goes_below_the_current_folder_by_default(
    published: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = f"mini --store s.h5 --sample-rate 22050 --jobs 1 --download --mirror {published.url}".split()
    assert command.main([*arguments, "--plan"]) == 0
    assert not (tmp_path / "audio").exists() and not published.asked  # a plan makes nothing
    assert command.main(arguments) == 0
    assert len(list((tmp_path / "audio" / "mini").rglob("*.wav"))) == 30
