"""What a model is: the content of ``model.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import combinations
from typing import Any, ClassVar, TypeAlias

from TumorSegLib.errors import ModelError
from TumorSegLib.images.normalisation import Normalisation
from TumorSegLib.images.roles import CT, MR, PET, family
from TumorSegLib.models.formats import FORMAT, to_current_format
from TumorSegLib.models.int8 import Int8Copy
from TumorSegLib.models.monai import MonaiInput
from TumorSegLib.models.nnunet import NnunetInput
from TumorSegLib.parsing import check_keys, parse_dataclass

SPEC_FILE = "model.json"
#: What is stated of a source of training data.
SOURCE = ("name", "licence", "attribution")


@dataclass(frozen=True)
class VolumeInput:
    """Images of a case on one lattice, of which a 3D network sees windows.

    Attributes:
        roles: channels in the order the network takes them.
        optional: roles that may be missing; at least one role must be given in any case.
        spacing_mm: voxel size ``(i, j, k)`` the network works at.
        patch: window the network was trained on, ``(k, j, i)`` voxels.
        normalisation: by role.

    Raises:
        ModelError: values contradict each other or are out of range.
    """

    kind: ClassVar[str] = "auto"
    images: ClassVar[str] = "volumes"
    roles: tuple[str, ...]
    optional: tuple[str, ...]
    spacing_mm: tuple[float, float, float]
    patch: tuple[int, int, int]
    normalisation: Mapping[str, Normalisation]

    def __post_init__(self) -> None:
        roles, normalised = set(self.roles), set(self.normalisation)
        _raise_problems(
            (not roles or len(roles) < len(self.roles), f"roles {list(self.roles)} are empty or repeat"),
            (
                not roles.issuperset(self.optional),
                f"optional roles {list(self.optional)} are not all among {list(self.roles)}",
            ),
            (normalised != roles, f"normalisation is given for {sorted(normalised)}, roles are {sorted(roles)}"),
            (not _all_positive(self.spacing_mm), f"spacing_mm {self.spacing_mm} is not three positive numbers"),
            (not _all_positive(self.patch), f"patch {self.patch} is not three positive whole numbers"),
        )


@dataclass(frozen=True)
class PromptedVolumeInput(VolumeInput):
    """Images as in :class:`VolumeInput`; the channels of ``TumorSegLib.prompts.encoding.GUIDANCE`` follow the roles."""

    kind: ClassVar[str] = "clicks"


@dataclass(frozen=True)
class SliceInput:
    """A slice of any image through an intensity window, as red, green and blue, for a network of the SAM family.

    The network takes ``(value - mean) / std`` of values between 0 and 1.

    Attributes:
        mean, std: per channel.

    Raises:
        ModelError: a deviation is not positive.
    """

    kind: ClassVar[str] = "box"
    images: ClassVar[str] = "slices"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        _raise_problems((not _all_positive(self.std), f"std {self.std} is not three positive numbers"))


@dataclass(frozen=True)
class AnyImageInput:
    """Images of any kind, of which a prompted network sees a patch of cubic voxels at the scale of the object.

    The channels of :data:`TumorSegLib.prompts.patch_prompts.PROMPT_CHANNELS` follow those of the images.

    Attributes:
        normalisation: by image channel, in the order the network takes them; a channel's name is a family of images
            with an optional detail (``ct``, ``ct_wide``), ``mr`` stands for all that is neither CT nor PET.
        patch: ``(k, j, i)`` voxels.
        scales_mm: finest and coarsest edge of a voxel.

    Raises:
        ModelError: values contradict each other or are out of range.
    """

    kind: ClassVar[str] = "clicks"
    images: ClassVar[str] = "images of any kind"
    normalisation: Mapping[str, Normalisation]
    patch: tuple[int, int, int]
    scales_mm: tuple[float, float]

    def __post_init__(self) -> None:
        families, (finest, coarsest) = {family(name) for name in self.normalisation}, self.scales_mm
        _raise_problems(
            (families != {CT, PET, MR}, f"normalisation is given for {sorted(families)}, it must be for ct, pet, mr"),
            (not _all_positive(self.patch), f"patch {self.patch} is not three positive whole numbers"),
            (
                not 0 < finest < coarsest < math.inf,
                f"scales_mm {self.scales_mm} is not two positive numbers, smaller first",
            ),
        )


ImportedInput: TypeAlias = NnunetInput | MonaiInput
Input: TypeAlias = VolumeInput | AnyImageInput | SliceInput | ImportedInput
#: By the name that ``model.json`` gives as ``type``.
INPUTS: Mapping[str, type[Input]] = {
    "volume": VolumeInput,
    "prompted volume": PromptedVolumeInput,
    "any image": AnyImageInput,
    "slice": SliceInput,
    "nnU-Net": NnunetInput,
    "MONAI bundle": MonaiInput,
}
KINDS = tuple(dict.fromkeys(each.kind for each in INPUTS.values()))


@dataclass(frozen=True)
class ModelSpec:
    """Everything in ``model.json``; with the weights it alone rebuilds the network.

    Attributes:
        name: the name users give.
        version: of the weights, ``major.minor.patch``.
        licence: SPDX name of the licence of the weights.
        description: one line.
        input: what the network takes; its type decides the model's :attr:`kind`.
        labels: name to label value, 1 and up without gaps; of imported models any values up to 255.
        network, arguments: name in ``engines.networks`` and its keyword arguments.
        weights_sha256: of ``weights.safetensors``.
        training_data: one entry per source with its ``name``, ``licence`` and ``attribution``.
        results: measured figures by the command that gives them; those of "unseen patients", who are in no data folder,
            have no command.
        made_for: what the model was made for, a phrase that follows "made for ...", e.g. "soft-tissue sarcoma of the
            limbs"; empty where it is not stated.
        plausible_volume_ml: smallest and largest tumour of the training data in ml, to warn of answers outside; None
            where it is not known.
        trained_length_mm: length from head to foot of the longest training image in mm, to warn of longer ones; None
            where it is not known.
        body_parts: what the training images show, in terms of DICOM (Body Part Examined, 0018,0015), to warn of others;
            none where it is not known, or does not matter.
        int8: the copy in 8-bit integers beside the weights; None where there is none.
        source: of an imported model: the program that trained it, its names there and the sha256 of each file that the
            weights were converted from.

    Raises:
        ModelError: values contradict each other or are out of range.
    """

    name: str
    version: str
    licence: str
    description: str
    input: Input
    labels: Mapping[str, int]
    network: str
    arguments: Mapping[str, Any]
    weights_sha256: str = ""
    training_data: tuple[Mapping[str, Any], ...] = ()
    results: Mapping[str, Any] = field(default_factory=dict)
    made_for: str = ""
    plausible_volume_ml: tuple[float, float] | None = None
    trained_length_mm: float | None = None
    body_parts: tuple[str, ...] = ()
    int8: Int8Copy | None = None
    source: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers, volumes, length = list(self.labels.values()), self.plausible_volume_ml, self.trained_length_mm
        for source in self.training_data:
            check_keys(source, SOURCE, "training_data", ModelError)
        _raise_problems(
            self._wrong_labels(numbers),
            (
                not all("name" in source for source in self.training_data),
                f"training_data {list(self.training_data)} has an entry without a name",
            ),
            (
                volumes is not None and not 0 <= volumes[0] < volumes[1] < math.inf,
                f"plausible_volume_ml {volumes} is not two volumes of at least 0 ml, smaller first",
            ),
            (
                length is not None and not _all_positive([length]),
                f"trained_length_mm {length} is not a length above 0 mm",
            ),
        )

    def _wrong_labels(self, numbers: Sequence[int]) -> tuple[bool, str]:
        if isinstance(self.input, ImportedInput):
            wrong = not numbers or len(set(numbers)) < len(numbers) or not all(1 <= number <= 255 for number in numbers)
            return wrong, f"labels {dict(self.labels)} are not different numbers from 1 to 255"
        wrong = not numbers or sorted(numbers) != list(range(1, len(numbers) + 1))
        return wrong, f"labels {dict(self.labels)} do not count up from 1"

    @property
    def kind(self) -> str:
        """``auto``, ``clicks`` or ``box``: the engine that runs the model."""
        return self.input.kind

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles of the images it takes, in the network's order; none for a model of slices, which takes any image."""
        return self.input.roles if isinstance(self.input, VolumeInput | ImportedInput) else ()

    @property
    def optional(self) -> tuple[str, ...]:
        """Roles that may be missing."""
        return self.input.optional if isinstance(self.input, VolumeInput) else ()

    @property
    def role_subsets(self) -> list[tuple[str, ...]]:
        """All subsets of roles that the model accepts, the fullest first."""
        required, sizes = set(self.roles) - set(self.optional), range(len(self.roles), 0, -1)
        return [subset for n in sizes for subset in combinations(self.roles, n) if required <= set(subset)]

    @property
    def volume_input(self) -> VolumeInput:
        """The input of a model that takes volumes; raises :class:`ModelError` for another."""
        if not isinstance(self.input, VolumeInput):
            raise self._takes_other(VolumeInput)
        return self.input

    @property
    def any_image_input(self) -> AnyImageInput:
        """The input of a model of any image; raises :class:`ModelError` for another."""
        if not isinstance(self.input, AnyImageInput):
            raise self._takes_other(AnyImageInput)
        return self.input

    @property
    def takes_shapes(self) -> bool:
        """Whether a click model answers lines and boxes too."""
        return isinstance(self.input, AnyImageInput)

    @property
    def patch(self) -> tuple[int, int, int]:
        """Window the network was trained on, ``(k, j, i)``, of imported models in the network's axes; raises
        :class:`ModelError` for a model of slices.
        """
        return self.input.patch if isinstance(self.input, AnyImageInput | ImportedInput) else self.volume_input.patch

    @property
    def nnunet_input(self) -> NnunetInput:
        """The input of a model of nnU-Net; raises :class:`ModelError` for another."""
        if not isinstance(self.input, NnunetInput):
            raise self._takes_other(NnunetInput)
        return self.input

    @property
    def channel_names(self) -> dict[str, str]:
        """What the program that trained an imported model calls each role's image; none for another model."""
        if isinstance(self.input, MonaiInput):
            return dict(self.input.channels)
        return (
            {role: each.name for role, each in self.input.channels.items()}
            if isinstance(self.input, NnunetInput)
            else {}
        )

    @property
    def monai_input(self) -> MonaiInput:
        """The input of a model of a MONAI bundle; raises :class:`ModelError` for another."""
        if not isinstance(self.input, MonaiInput):
            raise self._takes_other(MonaiInput)
        return self.input

    @property
    def slice_input(self) -> SliceInput:
        """The input of a model that takes slices; raises :class:`ModelError` for another."""
        if not isinstance(self.input, SliceInput):
            raise self._takes_other(SliceInput)
        return self.input

    def _takes_other(self, wanted: type[Input]) -> ModelError:
        return ModelError(
            f"model {self.name!r} takes {self.input.images}, one that takes {wanted.images} is needed here"
        )

    def with_input(self, **changes: Any) -> ModelSpec:
        """The same model with some values of its input changed."""
        return replace(self, input=replace(self.input, **changes))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], origin: str = SPEC_FILE) -> ModelSpec:
        """Checks and converts parsed JSON of any format so far; ``origin`` names the source in errors.

        Raises:
            ModelError: a value is missing, of the wrong type, or contradicts another; the format is newer than this
                version reads.
        """
        values = to_current_format(data, origin)
        if isinstance(values.get("input"), Mapping):
            values["input"] = _parse_input(values["input"], f"{origin}, input")
        return parse_dataclass(cls, values, origin, ModelError)

    def to_dict(self) -> dict[str, Any]:
        """The content of ``model.json``."""
        type_ = next(name for name, each in INPUTS.items() if each is type(self.input))
        values = {"format": FORMAT, **_plain(self), "input": {"type": type_, **_plain(self.input)}}
        if isinstance(self.input, ImportedInput):
            values["input"] |= self.input.to_dict()
        elif not isinstance(self.input, SliceInput):
            values["input"]["normalisation"] = {role: n.to_dict() for role, n in self.input.normalisation.items()}
        if self.int8 is not None:
            values["int8"] = asdict(self.int8)
        if not self.source:
            del values["source"]
        return json.loads(json.dumps(values))  # type: ignore[no-any-return]


def check_kind(spec: ModelSpec, kind: str) -> None:
    """Raises :class:`ModelError` where a model is of another kind than is needed."""
    if spec.kind != kind:
        raise ModelError(f"model {spec.name!r} is of kind {spec.kind!r}, one of kind {kind!r} is needed here")


def _parse_input(values: Mapping[str, Any], origin: str) -> Input:
    type_ = str(values.get("type"))
    if type_ not in INPUTS:
        raise ModelError(f"{origin}: type {type_!r} is not one of {', '.join(INPUTS)}")
    return parse_dataclass(INPUTS[type_], {k: v for k, v in values.items() if k != "type"}, origin, ModelError)


def _plain(instance: ModelSpec | Input) -> dict[str, Any]:
    return {each.name: getattr(instance, each.name) for each in fields(instance)}


def _all_positive(numbers: Iterable[float]) -> bool:
    return all(0 < number < math.inf for number in numbers)


def _raise_problems(*checks: tuple[bool, str]) -> None:
    """Raises a :class:`ModelError` with all texts whose check, whether something is wrong, is true."""
    problems = [text for wrong, text in checks if wrong]
    if problems:
        raise ModelError("; ".join(problems))
