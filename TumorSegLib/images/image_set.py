"""The images of one case by role, with the one whose grid results are given on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from TumorSegLib.errors import ArgumentError, RoleError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Images, Volume

# Whether an image is constant is looked for at this stride first.
COARSE_STEP = 8


@dataclass(frozen=True, eq=False)
class ImageSet(Mapping[str, Volume]):
    """Images of a case: a mapping of role to :class:`TumorSegLib.images.volume.Volume`, in the order given.

    Attributes:
        images: role to image, each on any grid.
        reference: role of the image whose grid results are given on; the first one where empty.

    Raises:
        ArgumentError: there is no image.
        RoleError: an image was read for another role than it is given as, or none has the role of the reference.
    """

    images: Images
    reference: str = ""

    def __post_init__(self) -> None:
        if not self.images:
            raise ArgumentError("at least one image is needed, got none")
        for role, volume in self.images.items():
            if volume.role != role:
                raise RoleError(f"the image given as {role!r} has the role {volume.role!r}; read it with role={role!r}")
        object.__setattr__(self, "images", dict(self.images))
        object.__setattr__(self, "reference", self.reference or next(iter(self.images)))
        if self.reference not in self.images:
            raise RoleError(f"there is no image {self.reference!r}; there are {', '.join(self.images)}")

    @classmethod
    def of(cls, images: Images) -> ImageSet:
        """The images as a set whose reference is the first one; a set stays as it is."""
        return images if isinstance(images, cls) else cls(images)

    @property
    def grid(self) -> Grid:
        """The grid of the reference image."""
        return self.images[self.reference].grid

    @property
    def on_other_grids(self) -> tuple[str, ...]:
        """Roles of the images that must be resampled to the grid of the reference."""
        return tuple(role for role, volume in self.images.items() if volume.grid != self.grid)

    def check_visible(self) -> None:
        """Raises :class:`ArgumentError` where each image has the same value in all its voxels: it shows nothing."""
        if all(_is_constant(volume.array) for volume in self.images.values()):
            value = self.images[self.reference].array.flat[0]
            raise ArgumentError(
                f"there is nothing to outline: every voxel of the image ({', '.join(self.images)}) has the same value, "
                f"{value:g}"
            )

    def __getitem__(self, role: str) -> Volume:
        return self.images[role]

    def __iter__(self) -> Iterator[str]:
        return iter(self.images)

    def __len__(self) -> int:
        return len(self.images)


def _is_constant(array: npt.NDArray[Any]) -> bool:
    """Whether all voxels have one value; of most images a few voxels tell that they have not."""
    first, step = array.flat[0], COARSE_STEP
    return bool((array[::step, ::step, ::step] == first).all() and (array == first).all())
