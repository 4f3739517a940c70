"""The models on this computer, for the panel: what they are, and how they come and go."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

if TYPE_CHECKING:
    from TumorSegLib.jobs import Cancel, Progress
    from TumorSegLib.models.catalogue import Entry
    from TumorSegLib.models.folder import ModelFolder
    from TumorSegLib.models.spec import ModelSpec
    from TumorSegLib.models.totalsegmentator import Training
    from TumorSegLib.protocols import RunInfo


#: In a model's results: figures of patients that no data folder holds, so that no command repeats them.
UNSEEN = "unseen patients"
#: Between the clauses of a description, each of which is translated as a whole.
SEPARATOR = "; "


@dataclass(frozen=True)
class Listed:
    """A line in the list of models.

    Attributes:
        name: of the model, or of the folder where that is broken.
        path: its folder; None where it is not on this computer.
        spec: its description, where that can be read.
        entry: what is published of it, where it is not on this computer and can be downloaded.
        training: of TotalSegmentator on this computer, of which a model can be made.
        problem: why the folder is broken, as text; empty where it is not known to be.
    """

    name: str
    path: Path | None = None
    spec: ModelSpec | None = None
    entry: Entry | None = None
    training: Training | None = None
    problem: str = ""

    @property
    def line(self) -> str:
        """What the list shows of it."""
        parts = [self.name]
        if self.spec is not None:
            parts += [self.spec.kind, self.spec.version, self.spec.licence]
        if self.entry is not None:
            parts += [self.entry.licence, _("(not on this computer)")]
        if self.training is not None:
            parts += [self.training.licence, _("(of TotalSegmentator, can be added)")]
        if self.problem:
            parts.append(_("(broken)"))
        return "   ".join(parts)

    @property
    def details(self) -> str:
        """All that is known of it, in lines."""
        from TumorSegLib.models.catalogue import describe

        lines = [self.problem] if self.problem else []
        if self.entry is not None:
            lines.append(describe(self.entry))
        if self.training is not None:
            lines += [self.training.title, self.training.licence, str(self.training.path)]
        if self.spec is not None:
            lines += [self.spec.description, takes(self.spec), summary(self.spec), *_attributions(self.spec)]
        if self.path is not None:
            lines.append(str(self.path))
        return "\n".join(line for line in lines if line)


def listed() -> list[Listed]:
    """All models on this computer by name, broken ones included, then those that can be downloaded or added."""
    from TumorSegLib.models.registry import broken_folders
    from TumorSegLib.models.totalsegmentator import find_trainings

    there = [Listed(model.spec.name, model.path, model.spec, problem=_missing(model)) for model in allModels()]
    there += [Listed(each.path.name, each.path, problem=str(each.error)) for each in broken_folders()]
    there.sort(key=lambda each: each.name)
    names = {each.name for each in there}
    there += [Listed(entry.name, entry=entry) for entry in published() if entry.name not in names]
    return there + [Listed(each.name, training=each) for each in find_trainings() if each.name not in names]


def published() -> list[Entry]:
    """The models that can be downloaded, on this computer or not."""
    from TumorSegLib.models.catalogue import CATALOGUE

    return [entry for entry in CATALOGUE.values() if entry.can_be_downloaded]


def modelsOfKind(kind: str) -> list[ModelSpec]:
    """Descriptions of all models of a kind (``auto``, ``clicks``, ``box``), by name; broken folders are left out."""
    return [folder.spec for folder in allModels() if folder.spec.kind == kind]


def allModels() -> list[ModelFolder]:
    """All models on this computer, by name; broken folders are left out."""
    import warnings

    from TumorSegLib import list_models

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the list shows broken folders; the terminal is not visible
        return list_models()


def purpose(spec: ModelSpec) -> str:
    """What a model is for and which images it takes, with its name, as text: the way users choose one."""
    from TumorSegLib.images.roles import role_label

    what = spec.made_for[:1].upper() + spec.made_for[1:]
    images = ", ".join(map(role_label, spec.roles))
    if what and images:
        return _("{what}: {images} ({name})").format(what=what, images=images, name=spec.name)
    return _("{what} ({name})").format(what=what or images, name=spec.name) if what or images else spec.name


def takes(spec: ModelSpec) -> str:
    """Which images a model takes, as text; empty where its roles are not told."""
    from TumorSegLib.images.roles import role_label

    needed, optional = ([each for each in spec.roles if (each in spec.optional) is may] for may in (False, True))
    labels = {"needed": ", ".join(map(role_label, needed)), "optional": ", ".join(map(role_label, optional))}
    if needed and optional:
        return _("It needs {needed}, and takes {optional}.").format(**labels)
    if needed:
        return _("It needs {needed}.").format(**labels)
    return _("It takes any of {optional}.").format(**labels) if optional else ""


def summary(spec: ModelSpec) -> str:
    """Name, version, licence, measured accuracy and source of a model, as text."""
    return SEPARATOR.join([f"{spec.name} {spec.version}, {spec.licence}", accuracy(spec), source(spec)])


def howItRan(info: RunInfo) -> str:
    """What ran a model, and why that was chosen, as text."""
    ran = _("ran on {device} by {backend} in {precision}").format(
        device=info.device, backend=info.backend, precision=info.precision
    )
    reason = info.details.get("backend_reason")
    return SEPARATOR.join([ran, reason]) if reason else ran


def source(spec: ModelSpec) -> str:
    """What a model was trained on, with the licences of the data, as text."""
    clauses = []
    for each in spec.training_data:
        words = _("training data: {name} (licence: {licence})") if each.get("licence") else _("training data: {name}")
        clauses.append(words.format(name=each["name"], licence=each.get("licence")))
    return SEPARATOR.join(clauses or [_("training data: not stated")])


def _attributions(spec: ModelSpec) -> list[str]:
    """The attributions of the training data, each once; phantoms, which TumorSeg makes, have none."""
    found = (str(each.get("attribution") or "") for each in spec.training_data)
    return list(dict.fromkeys(each for each in found if each and not each.startswith("TumorSegLib.")))


def accuracy(spec: ModelSpec) -> str:
    """The measured accuracy of a model as text.

    Taken is the first measurement with the most roles, of a model for clicks that with the most clicks, too.
    """
    from TumorSegLib.models.catalogue import CATALOGUE

    repeatable = {key: value for key, value in spec.results.items() if key != UNSEEN}
    found = max(_measurements(repeatable, frozenset(spec.roles), ()), key=lambda each: len(each.roles), default=None)
    if found is not None:
        return SEPARATOR.join([*found.clauses(), unseen(spec)])
    published = CATALOGUE.get(spec.name)
    if spec.results or (published is not None and published.measured):
        return _("accuracy: see its model card")
    return _("accuracy not measured")


def unseen(spec: ModelSpec) -> str:
    """The accuracy on patients not used for training, tuning or choosing: what users can expect."""
    try:
        return _unseenFigures(spec.results[UNSEEN])
    except (KeyError, TypeError, ValueError, AttributeError):  # not noted, or not as those of the models that ship
        return _("expect less on your own patients")


def _unseenFigures(noted: Mapping[str, Any]) -> str:
    from TumorSegLib.images.roles import role_label

    roles = " + ".join(map(role_label, noted["roles"]))
    clauses = [_("unseen patients do worse ({cases} cases, {roles})").format(cases=noted["cases"], roles=roles)]
    if "dice" in noted:
        clauses.append(_("unseen: median Dice {median:.2f}, worst {worst:.2f}").format(**noted["dice"]))
    for count, dice in noted.get("after_clicks", {}).items():
        clauses.append(_("unseen: Dice {dice:.2f} after {count} click(s)").format(count=count, dice=dice))
    for count, dice in noted.get("from_nothing_after_clicks", {}).items():
        clauses.append(_("unseen: Dice {dice:.2f} from nothing after {count} click(s)").format(count=count, dice=dice))
    return SEPARATOR.join(clauses)


@dataclass(frozen=True)
class _Measurement:
    """Median Dice of some cases with images of some roles: one value, or one after each click, from none on."""

    roles: tuple[str, ...]
    cases: int
    dices: tuple[float, ...]

    def clauses(self) -> list[str]:
        """The Dice at the beginning, after half of the clicks and after all of them, each as text."""
        from TumorSegLib.images.roles import role_label

        if self.cases and self.roles:
            words = _("median Dice {dice:.2f} on {cases} cases ({roles})")
        elif self.cases:
            words = _("median Dice {dice:.2f} on {cases} cases")
        elif self.roles:
            words = _("median Dice {dice:.2f} ({roles})")
        else:
            words = _("median Dice {dice:.2f}")
        roles, clicks = " + ".join(map(role_label, self.roles)), len(self.dices) - 1
        later = _("median Dice {dice:.2f} after {count} click(s)")
        return [words.format(dice=self.dices[0], cases=self.cases, roles=roles)] + [
            later.format(dice=self.dices[count], count=count) for count in sorted({clicks // 2, clicks} - {0})
        ]


def _measurements(results: Mapping[str, Any], known: frozenset[str], roles: tuple[str, ...]) -> Iterator[_Measurement]:
    """All measurements of Dice anywhere in a model's results, as ``evaluate-auto --record`` writes them.

    Args:
        results: of the model, or a part of them.
        known: the model's roles.
        roles: those that the part is about.
    """
    dice, curve, cases = results.get("dice"), results.get("median"), results.get("cases")
    values = [dice.get("median") if isinstance(dice, Mapping) else dice] if dice is not None else curve
    if isinstance(values, list | tuple) and values and all(isinstance(value, int | float) for value in values):
        yield _Measurement(roles, cases if isinstance(cases, int) else 0, tuple(values))
        return
    for key, value in results.items():
        if isinstance(value, Mapping):
            named = tuple(key.split("+"))
            yield from _measurements(value, known, named if known.issuperset(named) else roles)


def _missing(model: ModelFolder) -> str:
    """That a model has no weights, as text; empty where it has. Whether they are the right ones takes seconds."""
    return "" if model.weights.is_file() else _("{file} is missing").format(file=model.weights)


def importModel(folder: str | Path) -> str:
    """Copies a model folder to the user's models, once its weights are verified, and returns the model's name.

    Raises:
        ModelError: it is no model folder, or its weights are not those it was published with.
        ArgumentError: the model's name is not a valid folder name, or there is a model of that name already.
        WriteError: the user's models cannot be written.
    """
    from TumorSegLib.files import make_folder, replacing
    from TumorSegLib.models.folder import read_model_folder
    from TumorSegLib.models.registry import new_model_folder

    model = read_model_folder(folder)
    model.verify()
    target = new_model_folder(model.spec.name)
    make_folder(target.parent)
    with replacing(target, durable=True) as temporary:
        shutil.copytree(model.path, temporary)
    return str(model.spec.name)


def foreignIn(folder: str | Path) -> Path | None:
    """What lies in a folder that is no model yet and can be made one; see :func:`makeModel`."""
    from TumorSegLib.models.foreign import foreign_in
    from TumorSegLib.models.spec import SPEC_FILE

    return None if (Path(folder) / SPEC_FILE).is_file() else foreign_in(Path(folder))


def makeModel(path: str | Path) -> str:
    """Makes a model of a training of nnU-Net or a MONAI bundle, named after it, and returns its name.

    Raises:
        ModelError: the folder is incomplete, or has what is not supported or would execute code; it is named.
        WriteError: the user's models cannot be written; nothing is left behind.
    """
    from TumorSegLib.engines.importers.folders import import_foreign

    return str(import_foreign(Path(path)).spec.name)


def downloadModel(name: str, progress: Progress, cancel: Cancel) -> None:
    """Downloads a published model to the user's models, see :func:`TumorSegLib.engines.importers.sam.download_model`.

    Progress is given in kB: a progress bar counts to 2^31, and the largest model has more bytes.
    """
    from TumorSegLib.engines.importers.sam import download_model

    download_model(name, lambda done, total: progress(done // 1000, total // 1000), cancel)


def verifyModel(path: Path) -> None:
    """Compares the weights in a model folder with their checksum; raises ``ModelError``, which says what is wrong."""
    from TumorSegLib.models.folder import read_model_folder

    read_model_folder(path).verify()


def deleteModel(path: Path) -> None:
    """Deletes a model folder of the user, broken or not.

    Raises:
        ModelError: it lies elsewhere, such as with the extension, or cannot be deleted.
    """
    from TumorSegLib import ModelError
    from TumorSegLib.models.registry import model_roots

    if path.parent.resolve() != model_roots()[1].resolve():
        raise ModelError(f"model '{path.name}' lies in {path}, not among the user's models, and stays")
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be deleted: {error.strerror or error}") from error
