"""Requests to exports, as programs without Keras make them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).parents[2]


def wav(waveform: np.ndarray, rate: int = 22050) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, waveform, rate, format="WAV", subtype="PCM_16")
    return content.getvalue()


class Requests:
    """Requests for tests.helpers.c_api, by number."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.count = 0

    def add(self, signature: str, **inputs: np.ndarray | list[bytes]) -> str:
        for name, values in inputs.items():
            key = f"{self.count}/{signature}/{name}"
            if isinstance(values, list):
                self.arrays |= {f"{key}/{row}": np.frombuffer(each, np.uint8) for row, each in enumerate(values)}
            else:
                self.arrays[key] = values
        self.count += 1
        return str(self.count - 1)

    def answers(self, export: Path, folder: Path) -> dict[str, np.ndarray]:
        """What a fresh process without Keras answers."""
        np.savez(folder / "requests.npz", **self.arrays)
        command = [sys.executable, "-m", "tests.helpers.c_api", str(export), "requests.npz", "answers.npz"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        with np.load(folder / "answers.npz") as file:
            return dict(file)
