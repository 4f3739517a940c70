"""What nnU-Net answers, computed by nnU-Net itself: run by ``make interop`` in an environment of its own.

Makes two small data sets, plans them, shrinks the networks, trains each for one epoch and predicts one case that was
not trained on, with probabilities. Nothing of this project is imported.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

SHAPE, SPACING = (34, 38, 15), (3.5, 1.1, 1.0)  # (k, j, i); (i, j, k) in mm
CASES, SEED = 6, 5
TRAINER = "nnUNetTrainer_1epoch"
ENDING = ".nii.gz"
#: Runs of a prediction.
REPEATED = 3
LABELS = {"background": 0, "liver": 1, "tumour": 2, "vessel": 3}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}
DATASETS: dict[str, dict[str, Any]] = {
    "Dataset701_Labels": {"channel_names": {"0": "CT", "1": "T1"}, "labels": LABELS, "licence": "CC0-1.0"},
    "Dataset702_Regions": {
        "channel_names": {"0": "rescale_to_0_1", "1": "noNorm"},
        "labels": REGIONS,
        "regions_class_order": [1, 2, 3],
    },
}
#: Trainings: data set, plans, configuration, folds.
TRAININGS = (
    ("Dataset701_Labels", "nnUNetPlans", "2d", (0,)),
    ("Dataset701_Labels", "nnUNetPlans", "3d_fullres", (0, 1)),
    ("Dataset701_Labels", "nnUNetPlans", "3d_lowres", (0,)),
    ("Dataset701_Labels", "nnUNetResEncUNetMPlans", "3d_fullres", (0,)),
    ("Dataset702_Regions", "nnUNetPlans", "3d_fullres", (0,)),
)
TINY = {"2d": [4, 6, 8, 8], "3d_fullres": [4, 6, 8]}
PATCH = {"2d": [24, 24], "3d_fullres": [8, 24, 24]}


def main(folder: Path) -> None:
    # nnU-Net imports timm, timm torchvision, whose wheel does not load with a CPU build of torch but for this.
    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float threshold) -> Tensor")
    os.environ |= {f"nnUNet_{name}": str(folder / name) for name in ("raw", "preprocessed", "results")}
    os.environ |= {"nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1", "nnUNet_compile": "0"}
    for number, name in enumerate(DATASETS):
        write_dataset(folder / "raw" / name, number)
        if not (folder / "preprocessed" / name / "dataset_fingerprint.json").is_file():
            run("nnUNetv2_extract_fingerprint", "-d", number_of(name), "-np", "1")
    for name, plans in dict.fromkeys((dataset, plans) for dataset, plans, _, _ in TRAININGS):
        plan(folder / "preprocessed" / name / f"{plans}.json")
    seconds: dict[str, float] = {}
    for name, plans, configuration, folds in TRAININGS:
        training = folder / "results" / name / f"{TRAINER}__{plans}__{configuration}"
        missing = [fold for fold in folds if not (training / f"fold_{fold}" / "checkpoint_final.pth").is_file()]
        if missing:
            train(name, plans, configuration, missing)
        seconds |= predict_all(training, folds, folder / "raw" / name / "imagesTs")
    (folder / "seconds.json").write_text(json.dumps(seconds, indent=1))


def plan(file: Path) -> None:
    if not file.is_file():
        planner = ["-pl", "nnUNetPlannerResEncM"] if "ResEnc" in file.name else []
        run("nnUNetv2_plan_experiment", "-d", number_of(file.parent.name), *planner)
        shrink(file)


def predict_all(training: Path, folds: tuple[int, ...], images: Path) -> dict[str, float]:
    """Predicts with and without mirror images; the seconds of each."""
    seconds = {}
    for mirrored in (False, True):
        key = f"{training.parent.name}/{training.name}{'+mirror' if mirrored else ''}"
        output = training / f"predicted{'_mirrored' if mirrored else ''}"
        seconds[key] = predict(training, folds, images, mirrored, output)
        # nnU-Net adds windows up in float16, whose rounding alone changes probabilities by up to 0.003.
        half, torch.half = torch.half, torch.float32
        predict(training, folds, images, mirrored, output.with_name(f"{output.name}_float32"))
        torch.half = half
    return seconds


def run(*command: str) -> None:
    print("+", *command, flush=True)
    subprocess.run([str(Path(sys.executable).parent / command[0]), *command[1:]], check=True)


def number_of(name: str) -> str:
    return name[7:10]


def write_dataset(folder: Path, number: int) -> None:
    """Writes ``CASES`` cases to train on and one more to predict."""
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for case in range(CASES + 1):
        channels, labels = make_case(np.random.default_rng([SEED, number, case]), with_ignored=number == 1)
        trained = case < CASES
        for channel, array in enumerate(channels):
            write(array, folder / ("imagesTr" if trained else "imagesTs") / f"case_{case}_000{channel}{ENDING}")
        if trained:
            write(labels, folder / "labelsTr" / f"case_{case}{ENDING}")
    description = {**DATASETS[folder.name], "numTraining": CASES, "file_ending": ENDING}
    (folder / "dataset.json").write_text(json.dumps(description, indent=1))


def make_case(rng: np.random.Generator, with_ignored: bool) -> tuple[list[np.ndarray], np.ndarray]:
    """Two channels and the labels of three nested ellipsoids, within a border of zeros."""
    shape = np.array(SHAPE) + rng.integers(-2, 3, 3)
    places = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    centre = shape / 2 + rng.uniform(-1, 1, 3)
    distance = np.sqrt((((places - centre) / (shape / 2)) ** 2).sum(axis=-1))
    labels = sum((distance < edge + rng.uniform(-0.04, 0.04)).astype(int) for edge in (0.55, 0.38, 0.2))
    inside = distance < 0.78
    first = np.where(inside, 40 + 60 * labels + rng.normal(0, 12, shape), 0)
    second = np.where(inside, 300 - 50 * labels + rng.normal(0, 25, shape), 0)
    if with_ignored:
        second /= 300
        labels[(distance > 0.7) & (places[..., 0] < 4)] = 4
    else:
        first = np.rint(first)
    kinds = (np.float32, np.float32) if with_ignored else (np.int16, np.float32)
    return [array.astype(kind) for array, kind in zip((first, second), kinds)], labels.astype(np.uint8)


def write(array: np.ndarray, path: Path) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    image.SetOrigin((-20.0, 5.0, 12.0))
    image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1) if array.ndim == 3 else (1, 0, 0, 1))
    sitk.WriteImage(image, str(path), useCompression=True)


def shrink(file: Path) -> None:
    """Makes the planned networks tiny, and adds a configuration of half the resolution."""
    plans = json.loads(file.read_text())
    configurations = plans["configurations"]
    for name in ("2d", "3d_fullres"):
        architecture = configurations[name]["architecture"]["arch_kwargs"]
        stages, axes = len(TINY[name]), len(PATCH[name])
        count = "n_blocks_per_stage" if "n_blocks_per_stage" in architecture else "n_conv_per_stage"
        configurations[name] |= {"patch_size": PATCH[name], "batch_size": 2}
        architecture |= {
            "n_stages": stages,
            "features_per_stage": TINY[name],
            "kernel_sizes": [[1, 3, 3][-axes:] if stage == 0 else [3] * axes for stage in range(stages)],
            "strides": [[1] * axes] + [[1, 2, 2][-axes:]] + [[2] * axes] * (stages - 2),
            count: (architecture[count] * stages)[:stages],
            "n_conv_per_stage_decoder": (architecture["n_conv_per_stage_decoder"] * stages)[: stages - 1],
        }
    full = configurations["3d_fullres"]
    configurations["3d_lowres"] = {
        "inherits_from": "3d_fullres",
        "data_identifier": f"{plans['plans_name']}_3d_lowres",
        "spacing": [full["spacing"][0]] + [1.6 * edge for edge in full["spacing"][1:]],
    }
    configurations.pop("3d_cascade_fullres", None)
    file.write_text(json.dumps(plans, indent=1))


def train(name: str, plans: str, configuration: str, folds: list[int]) -> None:
    os.environ |= {"nnUNet_n_proc_DA": "0"}  # no processes of its own; planning needs 1
    run("nnUNetv2_preprocess", "-d", number_of(name), "-plans_name", plans, "-c", configuration, "-np", "1")
    from nnunetv2.run.run_training import run_training

    for fold in folds:
        torch.manual_seed(SEED)
        run_training(name, configuration, fold, TRAINER, plans, device=torch.device("cpu"))


def predict(training: Path, folds: tuple[int, ...], images: Path, mirrored: bool, output: Path) -> float:
    """Predicts the case in ``imagesTs``; seconds of the fastest run, without loading nnU-Net and the checkpoints."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(use_mirroring=mirrored, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(training), folds, "checkpoint_final.pth")
    files = sorted(str(path) for path in images.glob(f"*{ENDING}"))
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    seconds = []
    for _ in range(REPEATED):
        started = time.perf_counter()
        predictor.predict_from_files_sequential([files], [str(output / "case")], save_probabilities=True)
        seconds.append(time.perf_counter() - started)
    return round(min(seconds), 3)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
