"""What the numbers of a run were made with, as `run.json` says it: code, packages, machine."""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from multiview.experiment.schema import CONTINUED

PACKAGES = ("tensorflow", "jax", "keras", "numpy", "h5py", "librosa", "spafe")


def now() -> str:
    """The time in UTC, as files of a run have it."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def peak_memory_mib() -> int:
    """Most memory that this process has had at once so far, in MiB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))


def versions() -> dict[str, str]:
    """Those of Python and the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def commit() -> str | None:
    """Commit of the code, with a + if it was changed since; None outside a checkout."""
    git = ("git", "-C", str(Path(__file__).parent))
    try:
        # Installed elsewhere, the code may lie in a checkout that is not its own.
        _, commit, changed = (
            subprocess.run([*git, *call], capture_output=True, text=True, check=True).stdout.strip()
            for call in (
                ("ls-files", "--error-unmatch", Path(__file__).name),
                ("rev-parse", "HEAD"),
                ("status", "--porcelain", "--untracked-files=no", "../..", ":!../../results"),
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changed else "")


def _machine(shared_by: Sequence[Any]) -> dict:
    """The computer, and the devices that share the network where several do."""
    import keras

    from multiview.devices import gpu_models

    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), processor)
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "devices": [str(device) for device in keras.distribution.list_devices()],
        **({"gpus": models} if (models := gpu_models()) else {}),
        "backend": keras.backend.backend(),
        **({"shared_by": [f"worker {one.process_index} {one}" for one in shared_by]} if shared_by else {}),
    }


def here(devices: Sequence[Any]) -> dict:
    """What runs here: code, packages, machine."""
    return {"commit": commit(), "software": versions(), "machine": _machine(devices)}


def continued(record: dict, devices: Sequence[Any]) -> dict:
    """Entry of `run.json` for a training that something else takes up than what was at it before."""
    before, found = record.get(CONTINUED, []), here(devices)
    last = [record, *before][-1]
    return {} if found.items() <= last.items() else {CONTINUED: [*before, {"started": now(), **found}]}
