"""docs/tour.ipynb: its cells run in order, in a process and a folder of their own; Jupyter is not needed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CELLS = json.loads((ROOT / "docs" / "tour.ipynb").read_text(encoding="utf-8"))["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def test_is_committed_without_outputs() -> None:
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in CELLS)
    assert len({cell["id"] for cell in CELLS}) == len(CELLS)


def test_from_sounds_to_the_export(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(CODE)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"^30 \['falling', 'noisy', 'rising'\] ", done.stdout, re.MULTILINE)
    top = [re.findall(r"\('(\w+)', ", line) for line in done.stdout.splitlines() if "('" in line]
    assert sorted(top[-2]) == ["falling", "noisy", "rising"]
    assert top[-1] == top[-2][:1]  # of another noise, by the export
    names = {path.name for path in (tmp_path / "tour").iterdir() if not path.name.startswith(".")}
    assert {"sounds", "sounds.h5", "runs", "exports"} <= names
    assert (tmp_path / "tour" / "exports" / "1" / "saved_model.pb").is_file()
