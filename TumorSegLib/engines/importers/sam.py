"""SAM, MedSAM and LiteMedSAM checkpoints made into model folders: weights without a pickle, description, card."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from TumorSegLib.disclaimer import DISCLAIMER
from TumorSegLib.engines.importers.checkpoints import architecture_of, read_checkpoint
from TumorSegLib.engines.networks.sam import build_sam
from TumorSegLib.engines.weights import write_weights
from TumorSegLib.errors import ArgumentError, ModelError
from TumorSegLib.jobs import Cancel, Progress
from TumorSegLib.models.catalogue import CATALOGUE, Entry, describe, download_checkpoint, find_entry
from TumorSegLib.models.folder import ModelFolder, sha256_of, write_model_folder
from TumorSegLib.models.formats import PIXELS
from TumorSegLib.models.registry import check_new_name, model_roots, new_model_folder
from TumorSegLib.models.spec import ModelSpec, SliceInput

UNKNOWN = "unknown"
#: Folder among the user's models for checkpoints being downloaded; an interrupted download is resumed from there.
DOWNLOADS = ".downloads"


def download_model(name: str, progress: Progress | None = None, cancel: Cancel | None = None) -> ModelFolder:
    """Fetches a published model and makes a model folder of it among the user's, which appears in one step.

    Args:
        name: of one in :data:`TumorSegLib.models.catalogue.CATALOGUE`.
        progress: called with (bytes done, bytes in all) of the download.
        cancel: True stops the download; the conversion after it takes seconds and is not cancelled.

    Raises:
        ArgumentError: there is a model, or a folder, of that name already.
        ModelError: no model of that name is published.
        DownloadError, ResourceError, WriteError, Cancelled: as
        :func:`TumorSegLib.models.catalogue.download_checkpoint`.
    """
    entry = find_entry(name)
    check_new_name(name)  # before the download
    checkpoint = download_checkpoint(entry, model_roots()[1] / DOWNLOADS, progress, cancel)
    model = import_checkpoint(checkpoint, name)
    checkpoint.unlink()
    return model


def import_checkpoint(path: Path, name: str, pixels: str = "") -> ModelFolder:
    """Makes a model of kind ``box`` in the user's folder of models from a checkpoint.

    Args:
        path: PyTorch checkpoint of LiteMedSAM, MedSAM or SAM with a ViT, of any size; read without executing anything.
        name: of the model. Where it is that of a published one, the file must be that one.
        pixels: ``unit`` (values from 0 to 1, MedSAM) or ``imagenet`` (ImageNet's statistics, Meta's SAM); needed if
            neither name nor architecture decides it.

    Raises:
        ArgumentError: the name is not a valid folder name or is taken, or ``pixels`` is missing or unknown.
        ModelError: the file is not such a checkpoint, or not the published one of that name.
        WriteError: the folder cannot be written.
    """
    folder = new_model_folder(name)
    if pixels and pixels not in PIXELS:
        raise ArgumentError(f"pixels {pixels!r} is not one of {', '.join(PIXELS)}")
    entry = CATALOGUE.get(name)
    tensors = read_checkpoint(path)
    if entry is not None and sha256_of(path) != entry.sha256:
        raise ModelError(f"{path} is not the published {name} (sha256 {entry.sha256}); choose another name for it")
    network, arguments = architecture_of(tensors)
    input_ = SliceInput(**PIXELS[_pixels(name, network, pixels)])
    sam = build_sam(network, arguments, name)
    sam.load_state_dict(tensors)
    spec = _described(name, entry, network, arguments, input_)
    return write_model_folder(folder, spec, partial(write_weights, sam), _card(spec, entry, path))


def _pixels(name: str, network: str, pixels: str) -> str:
    """How the network was trained, as far as that is known, or as the user says."""
    known = ""
    if network == "LiteMedSAM" or name == "medsam-vit-b":
        known = "unit"
    elif name in CATALOGUE:
        known = "imagenet"
    if pixels and known and pixels != known:
        raise ArgumentError(f"model {name!r} was trained with pixels {known!r}; {pixels!r} would give wrong masks")
    if pixels or known:
        return pixels or known
    raise ArgumentError(
        f"model {name!r}: say whether it takes pixels from 0 to 1 (unit, as MedSAM) or with ImageNet's statistics "
        "(imagenet, as Meta's SAM); its weights do not show it"
    )


def _described(
    name: str, entry: Entry | None, network: str, arguments: dict[str, object], input_: SliceInput
) -> ModelSpec:
    return ModelSpec(
        name=name,
        version="1.0.0",
        licence=entry.licence if entry else UNKNOWN,
        description=entry.description if entry else f"{network}: boxes on a slice, imported from a checkpoint",
        input=input_,
        labels={"tumour": 1},
        network=network,
        arguments=arguments,
        made_for=entry.made_for if entry else "",
        training_data=tuple(dict(source) for source in entry.training_data) if entry else (),
    )


def _card(spec: ModelSpec, entry: Entry | None, path: Path) -> str:
    facts = describe(entry) if entry else f"imported from {path.name}, sha256 {sha256_of(path)}; its licence is unknown"
    return (
        f"# {spec.name}\n\n{spec.description}\n\n"
        f"**{DISCLAIMER}**\n\n"
        + "".join(f"- {line}\n" for line in facts.splitlines())
        + "\nA 2D model: slices of any image, shown through an intensity window. The weights are those of the "
        "checkpoint, converted to safetensors.\n"
        + (f"\n## Measured by TumorSeg\n\n{entry.measured}\n" if entry and entry.measured else "")
    )
