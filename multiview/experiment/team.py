"""The processes that train one network: how they meet, what they agree on, and that they stop together."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from multiview.devices import Shares
from multiview.experiment.placement import Placement, host_and_port
from multiview.experiment.provenance import commit, versions
from multiview.experiment.run import Run
from multiview.settings import ORIGINS, Settings
from multiview.store import Store
from multiview.support.errors import InputError
from multiview.support.files import replacing
from multiview.support.lean import hushed, slow_abort
from multiview.support.records import fields, parse, whole

ANSWER_SECONDS = 60  # in which the workers find each other
BEAT_SECONDS, SILENCE_SECONDS = 5, 40  # between signs of life, and after which a worker is gone
SETTLE_SECONDS = 3  # in which it shows whether an error is that of another worker
AGAIN = "start the same command on all workers again, it goes on from the latest checkpoint"
GREETING = fields({"worker": whole(), "agreed": fields({})})


class Team:
    """The workers that train one network: alone, or one of several processes that do the same steps."""

    def __init__(self, placement: Placement, lines: Mapping[int, socket.socket]) -> None:
        self.placement, self.lines = placement, dict(lines)
        self.first = placement.index == 0
        self._scratch = None if self.first else Path(tempfile.mkdtemp(prefix="multiview-worker-"))
        self._over = threading.Event()
        self._watching = threading.Thread(target=self._watch, daemon=True)

    @property
    def devices(self) -> list[Any]:
        """Those that share the network, none where it is on one.

        Raises
        ------
        InputError
            If there are not so many.
        """
        if self.placement.count == 1:
            return []
        import jax

        if (found := jax.local_device_count()) < self.placement.devices:
            raise InputError(f"expected --devices of at most {found}, found {self.placement.devices}")
        each = [[one for one in jax.devices() if one.process_index == n] for n in range(jax.process_count())]
        return [device for devices in each for device in devices[: self.placement.devices]]

    def scope(self) -> contextlib.AbstractContextManager:
        """In which networks are on all devices."""
        return Shares(self.devices).scope() if self.devices else contextlib.nullcontext()

    def run(self, path: str | Path) -> Run:
        """The run; other workers than the first have one that is gone afterwards, so that they write nothing."""
        return Run(self._scratch / "run" if self._scratch else path)

    def share(self, finished: bool, checkpoint: Path) -> bool:
        """Whether the first worker's run is `finished`; all get its checkpoint, and watch each other from now on."""
        if not self.lines:
            return finished
        if self.first:
            content = checkpoint.read_bytes() if checkpoint.exists() else b""
            for index, line in self.lines.items():
                with _line_to(index, self.placement):
                    _send(line, json.dumps(finished).encode())
                    _send(line, content)
        else:
            with _line_to(0, self.placement):
                finished, content = json.loads(_receive(self.lines[0])), _receive(self.lines[0])
            if content:
                with replacing(checkpoint) as temporary:
                    temporary.write_bytes(content)
        self._watching.start()
        return finished

    def settle(self) -> None:
        """After an error: end as one whose fellow is gone, if that is why."""
        if self.lines:
            time.sleep(SETTLE_SECONDS)

    def part(self) -> None:
        """When the steps are done: each goes on alone."""
        if self.lines and not self._over.is_set():
            import jax

            jax.distributed.shutdown()  # waits for all
            self._over.set()

    def close(self) -> None:
        """Let go of the others, who stop if they are not done."""
        if self._over.is_set():
            for line in self.lines.values():
                with contextlib.suppress(OSError):
                    line.sendall(b"q")
        self._over.set()
        for line in self.lines.values():
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)  # which wakes the watch
        if self._watching.is_alive():
            self._watching.join()
        for line in self.lines.values():
            line.close()
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _watch(self) -> None:
        """Give and look for signs of life, until the steps are done."""
        heard, beat = dict.fromkeys(self.lines, time.monotonic()), 0.0
        while heard and not self._over.is_set():
            if time.monotonic() - beat > BEAT_SECONDS:
                beat = time.monotonic()
                for index in heard:
                    with contextlib.suppress(OSError):
                        self.lines[index].sendall(b".")
            ready = select.select([self.lines[index] for index in heard], [], [], 1.0)[0]
            for index in list(heard):
                signs = b"."
                if self.lines[index] in ready:
                    try:
                        signs = self.lines[index].recv(64)
                    except OSError:
                        signs = b""
                    heard[index] = time.monotonic()
                if b"q" in signs:
                    del heard[index]
                elif not self._over.is_set() and (not signs or time.monotonic() - heard[index] > SILENCE_SECONDS):
                    self._lost(index)

    def _lost(self, index: int) -> None:
        """End the process, whose main thread may wait for the other one in a library."""
        tqdm.write(f"multiview: error: {self.placement.name(index)} has stopped; {AGAIN}", file=sys.stderr)
        sys.stderr.flush()
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)
        os._exit(1)


@contextlib.contextmanager
def joined(placement: Placement, store: Store, settings: Settings) -> Iterator[Team]:
    """Bring the workers together, before anything is computed; they stop together, too.

    Raises
    ------
    InputError
        If a worker does not answer, or has another store, code or settings.
    """
    if len(placement.workers) < 2:
        yield Team(placement, {})
        return
    import jax

    meet = _wait_for_others if placement.index == 0 else _call_first
    lines, address = meet(placement, _agreed(placement, store, settings))
    team = Team(placement, lines)
    try:
        with hushed():
            slow_abort()
            jax.distributed.initialize(
                address,
                len(placement.workers),
                placement.index,
                cluster_detection_method="deactivate",
                initialization_timeout=ANSWER_SECONDS,
                coordinator_bind_address=address,
            )
            yield team
    except BaseException as error:
        # JAX would wait at the exit for the others, who are gone.
        atexit.register(_leave, 130 if isinstance(error, KeyboardInterrupt) else 1)
        raise
    finally:
        team.close()


def _leave(status: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def _agreed(placement: Placement, store: Store, settings: Settings) -> dict:
    """What has to be the same on all workers."""
    chosen = asdict(settings)
    for name in ORIGINS:  # by content, as paths may differ
        chosen[name] = chosen[name] and (chosen[name]["sha256"] or chosen[name]["path"])
    return {
        "fingerprint": store.fingerprint[:12],
        "commit": commit(),
        "workers": ",".join(placement.workers),
        "devices": placement.devices,
        **versions(),
        **chosen,
    }


@contextlib.contextmanager
def _line_to(index: int, placement: Placement) -> Iterator[None]:
    """In which a worker that is gone, or makes no sense, is an InputError."""
    try:
        yield
    except (OSError, ValueError) as error:  # a broken pipe would end the command without a line
        raise InputError(f"{placement.name(index)} has stopped; see what it said") from error


def _send(line: socket.socket, content: bytes) -> None:
    line.sendall(len(content).to_bytes(8, "big") + content)


def _receive(line: socket.socket, most: int = 2**40) -> bytes:
    """What `_send` sent; OSError if the other end is gone, or it is longer than `most`."""

    def take(size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = line.recv(min(size - len(parts), 2**20))
            if not part:
                raise ConnectionError("the other end is gone")
            parts += part
        return bytes(parts)

    size = int.from_bytes(take(8), "big")
    if size > most:
        raise ConnectionError(f"expected a message of at most {most} bytes, found {size}")
    return take(size)


def _wait_for_others(placement: Placement, mine: dict) -> tuple[dict[int, socket.socket], str]:
    """What the first worker does: take the calls of the others, compare, and tell them JAX's address."""
    host, _, port = host_and_port(placement.workers[0])
    lines: dict[int, socket.socket] = {}
    try:
        with contextlib.ExitStack() as stack:
            listening = stack.enter_context(socket.create_server((host, int(port))))
            deadline = time.monotonic() + ANSWER_SECONDS
            while missing := [n for n in range(1, len(placement.workers)) if n not in lines]:
                listening.settimeout(max(0.01, deadline - time.monotonic()))
                try:
                    line, _ = listening.accept()
                except TimeoutError as error:
                    raise InputError(
                        f"expected {', '.join(map(placement.name, missing))} within {ANSWER_SECONDS} s, found no "
                        "answer; start the same command there with its --worker"
                    ) from error
                _greet(line, placement, mine, lines)
            # Free now; JAX takes no socket that is open.
            with socket.create_server((host, 0)) as free:
                address = f"{host}:{free.getsockname()[1]}"
            for index, line in lines.items():
                with _line_to(index, placement):
                    _send(line, json.dumps({"address": address}).encode())
    except InputError as error:
        for line in lines.values():
            with contextlib.suppress(OSError):
                _send(line, json.dumps({"error": str(error)}).encode())
                line.close()
        raise
    except OSError as error:
        raise InputError(
            f"{placement.name(0)} cannot wait for the others: {error}; name an address of its own"
        ) from error
    return lines, address


def _greet(line: socket.socket, placement: Placement, mine: dict, lines: dict[int, socket.socket]) -> None:
    """Keep the line of a worker that calls; InputError if it disagrees."""
    line.settimeout(BEAT_SECONDS)
    try:
        said = parse(_receive(line, most=2**16).decode(), GREETING)
    except (OSError, ValueError):  # no worker
        line.close()
        return
    line.settimeout(None)
    index, theirs = said["worker"], said["agreed"]
    twice, lines[index] = index in lines or not 0 < index < len(placement.workers), line
    if twice:
        raise InputError(f"expected each --worker from 1 to {len(placement.workers) - 1} once, found {index} again")
    differing = [
        f"{key} {mine.get(key)} and {theirs.get(key)}" for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)
    ]
    if differing:
        raise InputError(
            f"expected the same on all workers, found on {placement.name(0)} and {placement.name(index)}: "
            f"{'; '.join(differing)}; give all the same store, code and options"
        )


def _call_first(placement: Placement, mine: dict) -> tuple[dict[int, socket.socket], str]:
    """What the other workers do: call the first until it answers."""
    host, _, port = host_and_port(placement.workers[0])
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            line = socket.create_connection((host, int(port)), timeout=max(0.01, deadline - time.monotonic()))
            break
        except OSError as error:
            if time.monotonic() + 1 > deadline:
                raise InputError(
                    f"expected {placement.name(0)} within {ANSWER_SECONDS} s, found no answer ({error}); start the "
                    "same command there with --worker 0"
                ) from error
            time.sleep(0.5)
    with _line_to(0, placement):
        _send(line, json.dumps({"worker": placement.index, "agreed": mine}).encode())
        line.settimeout(ANSWER_SECONDS + BEAT_SECONDS)  # for others that are late
        said = json.loads(_receive(line))
    if "error" in said:
        raise InputError(said["error"])
    line.settimeout(None)
    return {0: line}, said["address"]
