"""Where one network is trained: on how many devices, of which processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from multiview.support.errors import InputError, UsageError, other_backend
from multiview.support.records import MOST_DIGITS, fields, listed, parse, whole, word


@dataclass(frozen=True)
class Placement:
    """Devices of each worker, the addresses `host:port` of the workers, and which of them this process is.

    Without addresses this process is the only one. Not a setting of a run: it changes no number but by rounding.
    """

    devices: int = 1
    workers: tuple[str, ...] = ()
    index: int = 0

    @classmethod
    def of(
        cls, devices: int, workers: Sequence[str] | None, index: int | None, environment: Mapping[str, str]
    ) -> Placement:
        """That of a command line, or of the environment's `TF_CONFIG` where it names no workers.

        Raises
        ------
        InputError
            If there can be none such.
        """
        source = "--workers host:port,host:port,... with --worker INDEX"
        if workers is None and index is None and "TF_CONFIG" in environment:
            source = 'TF_CONFIG {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": N}}'
            try:
                found = parse(environment["TF_CONFIG"], TF_CONFIG, "TF_CONFIG")
            except ValueError as error:
                raise InputError(f"expected {source}, found something else ({error}); mend it, or unset it") from error
            workers, task = found["cluster"]["worker"], found["task"]
            index = int(task["index"]) if task["type"] == "worker" and len(found["cluster"]) == 1 else None
        if devices < 1:
            raise UsageError(f"expected --devices of at least 1, found {devices}")
        if workers is None and index is None:
            return cls(devices)
        workers = workers or []
        parts = [*map(host_and_port, workers)]
        well = all(host and port.isdecimal() and len(port) < 6 and 0 < int(port) < 2**16 for host, _, port in parts)
        if not well or len(set(workers)) < len(workers) or index is None or not 0 <= index < len(workers):
            raise UsageError(f"expected {source} counted from 0, found {','.join(workers) or 'none'} with {index}")
        return cls(devices, tuple(workers), index)

    @property
    def count(self) -> int:
        """Devices of all workers."""
        return self.devices * max(1, len(self.workers))

    def name(self, index: int) -> str:
        """A worker, as people are told of it."""
        return f"worker {index} ({self.workers[index]})"

    def check(self, batch_size: int) -> None:
        """Raise InputError if Keras's backend cannot train, or cannot share one network, or devices not the batches."""
        if (backend := keras.backend.backend()) not in ("tensorflow", "jax"):
            raise other_backend(backend)
        if self.count == 1:
            return
        if backend != "jax":
            raise InputError(
                f"expected KERAS_BACKEND=jax for one network on {self.count} devices, found {backend}; set it, or "
                "train one run a device with multiview grid --jobs"
            )
        if batch_size % self.count:
            raise InputError(
                f"expected a --batch-size that {self.count} devices can divide, found {batch_size}; take fewer devices"
            )


ALONE = Placement()


def _index(found: Any, name: str) -> None:
    """A worker's number, which some write as text."""
    digits = isinstance(found, str) and found.isdecimal() and len(found) <= MOST_DIGITS
    whole()(int(found) if digits else found, name)


TF_CONFIG = fields({"cluster": fields({"worker": listed(word)}), "task": fields({"type": word, "index": _index})})


def host_and_port(address: str) -> tuple[str, str, str]:
    """What is before and after the last colon of an address, and the colon between."""
    return str(address).rpartition(":")
