"""The images of one case by role, with the one whose grid results are given on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from TumorSegLib.errors import ArgumentError, RoleError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Images, Volume


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

    def __getitem__(self, role: str) -> Volume:
        return self.images[role]

    def __iter__(self) -> Iterator[str]:
        return iter(self.images)

    def __len__(self) -> int:
        return len(self.images)
