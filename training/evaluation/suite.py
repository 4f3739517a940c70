"""The general suite: objects of kinds that no model was trained on, one image each, prompted from nothing.

``suite.json`` in the data folder names the tasks. A task is one object in one image: the voxels with any of its labels,
their largest connected piece. The headline is the mean over kinds of the mean over cases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import label

from training.clicks.prompts import loose_box, measured_line
from training.evaluation.baselines import grow_cut, random_walk
from training.evaluation.boxes import exact_boxes
from training.evaluation.clicks import BySession, FromClicks, Method, click_through
from training.evaluation.summary import provenance, run_settings
from TumorSegLib.engines.box.engine import BoxEngine
from TumorSegLib.errors import ArgumentError, ReadError
from TumorSegLib.evaluation.metrics import dice
from TumorSegLib.geometry.arrays import Float64Array
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.roles import channel_family
from TumorSegLib.images.volume import Images, Mask, Volume
from TumorSegLib.io.images import read_mask, read_volume
from TumorSegLib.jobs import progress_bar
from TumorSegLib.models.spec import AnyImageInput, ModelSpec
from TumorSegLib.parsing import load_json
from TumorSegLib.prompts.types import BoxPrompt, Click, Line, Prompt, Scribble
from TumorSegLib.session.session import Session

USES = ("validate", "test")
#: Kinds of tasks; PET foci are thresholds, not contours of people, and count apart.
LESION, STRUCTURE, PET_FOCUS = "lesion", "structure", "PET focus"
# A click that lowers Dice by more than this does harm.
HARM = 0.02
#: Established tools that answer from all clicks so far.
BASELINES: Mapping[str, Callable[[Images, Sequence[Click]], Mask]] = {
    "grow from seeds": grow_cut,
    "random walker": random_walk,
}


@dataclass(frozen=True)
class Task:
    """One object of the suite.

    Attributes:
        name: of its kind, e.g. ``lung nodule``.
        kind: ``lesion`` or ``structure``.
        case: of the data set.
        role: of the image.
        image, labels: files, and the labels of the object.
        values: of the label map that are the object.
    """

    name: str
    kind: str
    case: str
    role: str
    image: Path
    labels: Path
    values: tuple[int, ...]

    @property
    def described(self) -> dict[str, str]:
        """What a row of a report says of the task."""
        return {"name": self.name, "kind": self.kind, "case": self.case}

    def read(self) -> tuple[Volume, Mask]:
        """The image and the object on its grid; raises what reading raises."""
        image, labels = read_volume(self.image, self.role), read_mask(self.labels)
        pieces, count = label(np.isin(labels.array, self.values))
        if not count:
            raise ReadError(f"{self.labels}: has none of the labels {list(self.values)}")
        largest = int(np.bincount(pieces.ravel())[1:].argmax()) + 1
        return image, Mask(labels.grid, (pieces == largest).astype(np.uint8))


def read_tasks(root: Path, use: str) -> list[Task]:
    """The tasks that validate, or those that test.

    Args:
        root: folder with ``suite.json`` and the data folders it names.
        use: of ``USES``.

    Raises:
        ArgumentError: there is no such use.
        ReadError: a file is missing or damaged.
    """
    if use not in USES:
        raise ArgumentError(f"use {use!r} is not one of {', '.join(USES)}")
    try:
        suite = load_json(root / "suite.json")
        indices = {name: load_json(root / name / "index.json")["cases"] for name in ("more", "general")}
    except (OSError, ValueError) as error:
        raise ReadError(f"{root}: no suite of tasks: {error}") from error
    return [_task(root, entry, indices[entry["root"]]) for entry in suite["tasks"] if entry["use"] == use]


def _task(root: Path, entry: Mapping[str, Any], index: Sequence[Mapping[str, Any]]) -> Task:
    folder = root / entry["root"] / entry["set"]
    found = [one for one in index if one["set"] == entry["set"] and one["case"] == entry["case"]]
    files = next((one["files"] for one in found if entry["image"] in one["files"]), None)
    if files is None:
        raise ReadError(f"suite.json: {entry['case']!r} of {entry['set']!r} has no image {entry['image']!r}")
    image, labels = folder / files[entry["image"]], folder / files[entry.get("label", "label")]
    values = tuple(int(value) for value in entry["labels"])
    return Task(entry["name"], entry["kind"], entry["case"], entry["role"], image, labels, values)


def image_for(spec: ModelSpec, image: Volume) -> Images:
    """The image under the role by which a model takes its family; raises :class:`ArgumentError` if it takes none."""
    if isinstance(spec.input, AnyImageInput):
        return {image.role: image}
    for role in spec.roles:
        if channel_family(role) == channel_family(image.role):
            return {role: Volume(image.grid, image.array, role)}
    raise ArgumentError(f"model {spec.name!r} takes no {image.role}")


def evaluate_suite(
    engines: Mapping[str, Any], root: Path, use: str, clicks: int, boxes: BoxEngine | None = None
) -> dict[str, Any]:
    """Lets the user of the protocol click on every task, once for each method.

    Args:
        engines: click engines by name.
        root: folder with ``suite.json`` and the data folders it names.
        use: of ``USES``.
        clicks: per task.
        boxes: measures ``BASELINES`` too, and this model with the exact box of every slice.

    Returns:
        JSON-ready: ``methods``, per engine and baseline ``cases`` and ``summary``; ``exact boxes``, the same for those.

    Raises:
        ArgumentError: there is no such use, or not at least one click.
        ReadError: a file is missing or damaged.
    """
    if clicks < 1:
        raise ArgumentError(f"--clicks {clicks} must be at least 1")
    tasks, baselines = read_tasks(root, use), BASELINES if boxes is not None else {}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in (*engines, *baselines)}
    exact: list[dict[str, Any]] = []
    with progress_bar("Clicking") as progress:
        for done, task in enumerate(tasks, start=1):
            image, truth = task.read()
            for name, engine in engines.items():
                rows[name].append(_evaluate(engine, task, image, truth, clicks))
            for name, answer in baselines.items():
                method = FromClicks({image.role: image}, answer)
                rows[name].append({**task.described, **_clicked(method, truth, clicks), "run": {}, "shapes": {}})
            if boxes is not None:
                found = exact_boxes(boxes, {image.role: image}, truth, image.role)
                exact.append({**task.described, "shapes": {"exact boxes": dice(found.array, truth.array)}, "run": {}})
            progress(done, len(tasks), f"{task.name} {task.case}")
    methods = {name: {"summary": summarise_suite(some), "cases": some} for name, some in rows.items()}
    for name, engine in engines.items():
        methods[name] = {**provenance(engine.spec, rows[name]), **methods[name]}
    report: dict[str, Any] = {"use": use, "clicks": clicks, "methods": methods}
    if boxes is not None:
        shapes = _shapes(exact, _counted(exact))
        report["exact boxes"] = {**provenance(boxes.spec, exact), **shapes["exact boxes"], "cases": exact}
    return report


def evaluate_shapes(engine: Any, image: Volume, truth: Mask) -> dict[str, float | None]:
    """Dice after one prompt that is no click: a scribble, a line, a loose box; None where the engine takes none.

    The scribble is the middle 60 % of the line, which is the longest diameter on the slice with the largest section.
    """
    ends = measured_line(truth.array > 0, truth.grid.spacing)
    prompts: dict[str, Prompt | None] = {"scribble": _scribble(ends, truth.grid), "line": None, "box": None}
    if engine.spec.takes_shapes:
        first, last = (tuple(int(n) for n in end) for end in ends)
        # A line within one voxel cannot be drawn.
        prompts["line"] = Line((first, last)) if first != last else Click(first)  # type: ignore[arg-type]
        prompts["box"] = BoxPrompt(loose_box(truth.array > 0))
    images = image_for(engine.spec, image)
    answers = {}
    for name, prompt in prompts.items():
        if prompt is not None:
            session = Session(images, clicks=engine)
            session.add(prompt)
            answers[name] = dice(session.mask.array, truth.array)
    return {name: answers.get(name) for name in prompts}


def _scribble(ends: Float64Array, grid: Grid) -> Scribble:
    start, end = ends[0] + 0.2 * (ends[1] - ends[0]), ends[0] + 0.8 * (ends[1] - ends[0])
    steps = np.linspace(0, 1, int(np.abs(end - start).max()) + 2)[:, None]
    voxels = np.rint(start + steps * (end - start)).astype(int)
    array = np.zeros(grid.shape, dtype=np.uint8)
    array[tuple(voxels.T[::-1])] = 1
    return Scribble.from_mask(Mask(grid, array))


def _evaluate(engine: Any, task: Task, image: Volume, truth: Mask, clicks: int) -> dict[str, Any]:
    row = _clicked(BySession(image_for(engine.spec, image), engine, None), truth, clicks)
    return {
        **task.described,
        "run": run_settings(engine.info),
        **row,
        "shapes": evaluate_shapes(engine, image, truth),
    }


def _clicked(method: Method, truth: Mask, clicks: int) -> dict[str, Any]:
    return click_through(method, Mask(truth.grid, np.zeros_like(truth.array)), truth, clicks)


def summarise_suite(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Figures over kinds, JSON-ready.

    Returns:
        ``kinds``: by name, mean Dice over cases after 0, 1, ... clicks; ``mean``, ``lesions``, ``structures``: over
        kinds, PET foci left out; ``shapes``: the same after one scribble, line or loose box; ``area_under_curve`` of
        ``mean``, 1 at best; ``harmful_share`` of clicks that lower Dice by more than 0.02; ``seconds_per_click``,
        ``seconds_95``: median and 95th percentile.
    """
    names = list(dict.fromkeys(row["name"] for row in rows))
    kinds = {name: np.mean([row["dice"] for row in rows if row["name"] == name], axis=0) for name in names}
    counted = _counted(rows)
    mean = np.mean([kinds[name] for name in counted], axis=0)
    summary: dict[str, Any] = {
        "kinds": {name: curve.tolist() for name, curve in kinds.items()},
        "mean": mean.tolist(),
        "area_under_curve": float(np.mean(mean[1:] + mean[:-1]) / 2),
    }
    for key, kind in (("lesions", LESION), ("structures", STRUCTURE)):
        some = [kinds[name] for name, of in counted.items() if of == kind]
        summary[key] = np.mean(some, axis=0).tolist() if some else None
    summary["shapes"] = _shapes(rows, counted)
    changes = np.concatenate([np.diff(row["dice"])[: len(row["seconds"])] for row in rows])
    seconds = np.concatenate([row["seconds"] for row in rows])
    summary["harmful_share"] = float(np.mean(changes < -HARM))
    summary["seconds_per_click"], summary["seconds_95"] = (float(np.quantile(seconds, q)) for q in (0.5, 0.95))
    return summary


def _counted(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The kinds that means count, by name whether lesion or structure."""
    return {row["name"]: row["kind"] for row in rows if row["name"] != PET_FOCUS}


def _shapes(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Per prompt that is no click, mean Dice over kinds: of all, of lesions and of structures."""
    result = {}
    for shape in rows[0]["shapes"]:
        if any(row["shapes"][shape] is None for row in rows):
            continue
        kinds = {name: np.mean([row["shapes"][shape] for row in rows if row["name"] == name]) for name in names}
        result[shape] = {"mean": float(np.mean(list(kinds.values())))}
        for key, kind in (("lesions", LESION), ("structures", STRUCTURE)):
            some = [value for name, value in kinds.items() if names[name] == kind]
            if some:
                result[shape][key] = float(np.mean(some))
    return result


def format_suite(report: Mapping[str, Any]) -> str:
    """The report of :func:`evaluate_suite` as lines of text: mean Dice by kind after clicks."""
    clicks = report["clicks"]
    columns = sorted({1, 2, 3, 5, 10, clicks} & set(range(1, clicks + 1)))
    lines = []
    for method, entry in report["methods"].items():
        summary = entry["summary"]
        rows = {"mean over kinds": summary["mean"], "lesions": summary["lesions"], "structures": summary["structures"]}
        rows = {name: curve for name, curve in rows.items() if curve is not None} | summary["kinds"]
        width = max(len(text) for text in (method, *rows)) + 2
        lines.append(f"{method:<{width}}" + "".join(f"{n:>7}" for n in columns))
        lines += [f"{text:<{width}}" + "".join(f"{curve[n]:>7.3f}" for n in columns) for text, curve in rows.items()]
        for shape, figures in summary["shapes"].items():
            lines.append(f"one {shape}: " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items()))
        lines.append(
            f"AUC {summary['area_under_curve']:.3f}, clicks that lower Dice by more than {HARM}: "
            f"{100 * summary['harmful_share']:.1f} %, seconds per click {summary['seconds_per_click']:.2f} "
            f"(95 % within {summary['seconds_95']:.2f})"
        )
    if "exact boxes" in report:
        exact = report["exact boxes"]
        figures = ", ".join(f"{key} {exact[key]:.3f}" for key in ("mean", "lesions", "structures") if key in exact)
        lines.append(f"{exact['model']}, the exact box of every slice: {figures}")
    return "\n".join(lines)
