"""Download and unpacking, against a server on the loopback interface."""

from __future__ import annotations

import dataclasses
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

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name, wanted = self.path.rsplit("/", 1)[-1], self.headers.get("Range")
        self.server.asked.append((name, wanted))
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
        time.sleep(self.server.stall)

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
    return Source("https://example.org", "CC0", [Archive(f"{url}/{name}", hashlib.md5(content).hexdigest())])


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
