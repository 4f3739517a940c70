"""Accuracy of the shipped models by the evaluation protocol; the table of the model card."""

from __future__ import annotations

from training.__main__ import main as training


def run(device: str) -> None:
    """Prints Dice and HD95 of sts-auto on fold 0 for every subset of roles, without and with mirroring."""
    for extra in ([], ["--mirror"]):
        print("sts-auto, fold 0, jitter windows" + (", mirrored" if extra else ""))
        training(["evaluate", "--model", "sts-auto", "--fold", "0", "--device", device, *extra])
