"""Accuracy of the shipped models by the evaluation protocol; the tables of the model cards."""

from __future__ import annotations

from training.__main__ import main as training


def run(device: str) -> None:
    """Prints the figures of sts-auto and sts-clicks on fold 0 for every subset of roles."""
    fold = ["--fold", "0", "--device", device]
    for extra in ([], ["--mirror"]):
        print("sts-auto, fold 0, jitter windows" + (", mirrored" if extra else ""))
        training(["evaluate-auto", "--model", "sts-auto", *fold, *extra])
    print("sts-clicks, fold 0, jitter windows")
    refiner = ["evaluate-clicks", "--model", "sts-clicks", "--first-stage", "sts-auto", *fold]
    training(refiner)
    training([*refiner, "--roles", "ct,pet", "--baselines"])
