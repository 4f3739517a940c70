"""The images that benchmarks work on."""

from __future__ import annotations

from TumorSegLib.geometry import Grid
from TumorSegLib.phantom import make_phantom
from TumorSegLib.volume import Images, Mask, Volume


def clinical_case(shape: tuple[int, int, int]) -> tuple[Images, Mask]:
    """A phantom's PET/CT and tumour in voxels of 0.98 x 0.98 x 3.27 mm, ``shape`` as ``(k, j, i)``."""
    depth, height, width = shape
    phantom = make_phantom(0, shape=(depth, height // 4, width // 4), spacing_mm=(3.906, 3.906, 3.27))
    grid = Grid.from_spacing(shape, (3.906 / 4, 3.906 / 4, 3.27))
    arrays = {role: phantom.images[role].array.repeat(4, axis=1).repeat(4, axis=2) for role in ("ct", "pet")}
    images: Images = {role: Volume(grid, array, role) for role, array in arrays.items()}
    return images, Mask(grid, phantom.tumour.array.repeat(4, axis=1).repeat(4, axis=2))
