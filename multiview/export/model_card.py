"""The model card of an export: what the model was trained on, how well it did, and what it must not be used for."""

from __future__ import annotations

import importlib
from datetime import date

from data_prep.prepare import DATASETS, VARIANTS
from data_prep.views import geometry
from multiview.errors import InputError
from multiview.names import LABELS, SYSTEMS
from multiview.results import read_metrics
from multiview.runs import Run

COMPARED = ("preset", "width", "epochs", "seed", "blending", "precision")  # what folds of one experiment share


def _data(dataset: str) -> list[str]:
    """Where the data come from, and on what terms."""
    name = dataset
    for variant in VARIANTS:
        name = name.removesuffix(f"_{variant}")
    module = importlib.import_module(f"data_prep.datasets.{name}") if name in DATASETS else None
    source = getattr(module, "SOURCE", None)
    if source is None:
        if name == "demo":
            return ["- Sounds synthesised by this project, to show that it works: of no use for real sounds."]
        return [
            "- The trainer's own sounds; their licence is not known here. **Add it before you pass this model on.**"
        ]
    lines = [f"- {source.page}", f"- Licence of the data: {source.licence}."]
    if source.non_commercial:
        lines.append("- **Non-commercial**: neither the data nor, to be safe, this model may be used commercially.")
    return lines


def _folds(run: Run) -> list[str]:
    """Accuracy of this run, and of the runs beside it that tested the same network on other folds."""
    settings, record, lines = run.settings(), run.read(), []
    for path in sorted(run.path.resolve().parent.glob("fold*")):
        other = Run(path)
        try:
            found, theirs, metrics = other.settings(), other.read(), read_metrics(other)
            clips, scores = metrics["clips"], list(metrics["accuracy"].values())
        except (InputError, OSError, KeyError):  # not finished, or damaged, which is no matter of this run
            continue
        if found["system"] != settings["system"] or any(found[key] != settings[key] for key in COMPARED):
            continue
        if theirs["store"]["fingerprint"] != record["store"]["fingerprint"]:
            continue
        # The self-ensemble, or the only branch.
        this = " (this model)" if path == run.path.resolve() else ""
        lines.append(f"| {metrics['fold']}{this} | {clips} | {100 * scores[-1]:.2f} |")
    if not lines:
        return ["Not tested: run `multiview evaluate` on the run and export again."]
    return ["| test fold | clips | accuracy, % |", "|---|---|---|", *lines]


def model_card(run: Run, version: int, export: dict) -> str:
    """Text of `MODEL_CARD.md`.

    Parameters
    ----------
    run : Run
        What is exported.
    version : int
        Of the export.
    export : dict
        Content of `export.json`.
    """
    record, settings = run.read(), run.settings()
    dataset, rate, classes = record["store"]["dataset"], export["sample_rate"], export["classes"]
    machine = record.get("machine", {})
    views, branches = SYSTEMS[settings["system"]]
    weights = ", ".join(f"{branch} {weight:.3f}" for branch, weight in export["weights"].items())
    shortest = geometry(rate).segment_samples
    lines = [
        f"# {LABELS[settings['system']]} on {dataset}, version {version}",
        "",
        f"Classifies a sound into {len(classes)} classes: the network of H. Phan et al., *Multi-view Audio and Music",
        f"Classification*, ICASSP 2021; system `{settings['system']}` on the views {', '.join(views)}; "
        f"preset `{settings['preset']}`.",
        "",
        "## Data and licence",
        "",
        *_data(dataset),
        "",
        "## Protocol and accuracy",
        "",
        f"Trained for test fold {settings['fold']} of {dataset}, of whose clips it has seen none, with seed "
        f"{settings['seed']}.",
        "The network is that of the evaluation with the best validation accuracy. A clip's probabilities are means",
        "over S segments of S seconds" + (", fused by Eq. (6)." if len(branches) > 1 else "."),
        "",
        *_folds(run),
        "",
        f"Weights of the branches: {weights}. Largest difference of a probability between this export and the run, on",
        f"synthesised sounds: {export['largest_difference']:.1e}.",
        "",
        "## Input",
        "",
        f"Mono at {rate} Hz, in [-1, 1], at least {shortest} samples ({shortest / rate:.2f} s). "
        "`multiview predict` takes any rate, format and length.",
        "",
        "## Limits",
        "",
        "- It knows nothing but its classes, and gives one of them to every sound: speech, silence or noise, too.",
        "- Probabilities are those of the softmax, not calibrated.",
        "- Measured on clips of the same collection only; other microphones, rooms and mixtures were not tried.",
        "",
        "## Classes",
        "",
        ", ".join(classes),
        "",
        "## Origin",
        "",
        f"- commit {record.get('commit') or 'not known'}, trained {record.get('started', 'at an unknown time')}, "
        f"exported {date.today().isoformat()}",
        f"- {', '.join(f'{name} {number}' for name, number in record.get('software', {}).items())}",
        f"- {machine.get('processor', 'unknown processor')}, {', '.join(machine.get('devices', []))}",
        f"- store fingerprint {record['store']['fingerprint']}",
        "",
    ]
    return "\n".join(lines)
