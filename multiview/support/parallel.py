"""Where work runs: processes or threads on this machine, or the workers of a Dask cluster."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib

from multiview.support.errors import InputError, UsageError

CONNECT_SECONDS = 20  # to a Dask scheduler
_DIED = "a worker process died, perhaps for want of memory; repeat the command{}: what is finished is kept"


@contextmanager
def workers(jobs: int, cluster: str | None, folders: Sequence[Path], backend: str = "loky") -> Iterator[int]:
    """Where joblib runs what is called inside: `jobs` workers here, or those of a Dask cluster.

    Parameters
    ----------
    cluster : str or None
        Address of a Dask scheduler.
    folders : sequence of Path
        What every worker of the cluster must see under the same path.
    backend : str
        joblib's backend on this machine: `loky` for processes, `threading` for threads.

    Yields
    ------
    int
        How many calls run at once.

    Raises
    ------
    InputError
        If Dask is not installed, nothing answers at the address, there are no workers, one lacks a
        folder, or one dies again and again.
    """
    if cluster is None:
        try:
            with joblib.parallel_config(backend, n_jobs=jobs):
                yield jobs
        except BrokenExecutor as error:
            raise InputError(_DIED.format(" with fewer --jobs")) from error
        return
    try:
        from distributed import CancelledError, KilledWorker
        from distributed.comm import CommClosedError
    except ImportError as error:
        raise InputError("--cluster needs Dask, found none; say pip install '.[cluster]'") from error
    with _client(cluster) as client:
        threads = _check_workers(client, cluster, folders)
        try:
            with joblib.parallel_config("dask", client=client) as config:
                # joblib would do a single worker's work here, and not on the cluster.
                dask: Any = config["backend"]
                count = dask.effective_n_jobs
                dask.effective_n_jobs = lambda n_jobs: max(2, count(n_jobs))
                yield threads
        except KilledWorker as error:
            raise InputError(_DIED.format("")) from error
        except (CancelledError, CommClosedError) as error:
            raise InputError(f"the Dask scheduler at {cluster} is gone; repeat the command when it is back") from error


def _client(cluster: str) -> Any:
    """Dask's client of the scheduler at an address."""
    from distributed import Client

    if not re.fullmatch(r"(tcp|tls|ucx|ws|wss)://.+:\d+", cluster):
        raise UsageError(f"expected --cluster tcp://host:port, found {cluster!r}")
    try:
        return Client(cluster, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"expected a Dask scheduler at {cluster}, found none ({reason}); check --cluster") from error


def _check_workers(client: Any, cluster: str, folders: Sequence[Path]) -> int:
    """How many threads the workers have, which all have this project and see the folders."""
    threads = sum(client.ncores().values())
    if not threads:
        raise InputError(f"expected workers on the cluster {cluster}, found none; start some")
    # Pickled by value, so that a worker without this package can run it, too.
    installed = client.run(lambda: importlib.util.find_spec("multiview") is not None)
    bare = [worker for worker, there in installed.items() if not there]
    if bare:
        raise InputError(
            f"expected this project on every worker of {cluster}, found none on {bare[0]}; "
            "say pip install '.[cluster]' there"
        )
    for folder in folders:
        seen = client.run(os.path.isdir, str(folder))
        blind = [worker for worker, sees in seen.items() if not sees]
        if blind:
            raise InputError(
                f"expected every worker of the cluster to see {folder}, found that {blind[0]} does not; "
                "put the files on a file system that all machines share"
            )
    return threads
