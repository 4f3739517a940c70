"""The images that benchmarks work on."""

from __future__ import annotations

from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Images, Mask, Volume
from TumorSegLib.phantom.patient import make_phantom

#: Rows and columns are those of a phantom, each so many times.
STEP = 4
#: Least shape ``(k, j, i)``: below it the phantom has no room for a limb.
SMALLEST = (19, 124, 124)
PHANTOM_SPACING_MM = (3.906, 3.906, 3.27)


def clinical_case(shape: tuple[int, int, int]) -> tuple[Images, Mask]:
    """A phantom's PET/CT and tumour in voxels of 0.98 x 0.98 x 3.27 mm.

    Args:
        shape: ``(k, j, i)``, at least :data:`SMALLEST`, j and i multiples of :data:`STEP`.
    """
    depth, height, width = shape
    phantom = make_phantom(0, shape=(depth, height // STEP, width // STEP), spacing_mm=PHANTOM_SPACING_MM)
    i, j, k = PHANTOM_SPACING_MM
    grid = Grid.from_spacing(shape, (i / STEP, j / STEP, k))
    arrays = {role: phantom.images[role].array.repeat(STEP, 1).repeat(STEP, 2) for role in ("ct", "pet")}
    images: Images = {role: Volume(grid, array, role) for role, array in arrays.items()}
    return images, Mask(grid, phantom.tumour.array.repeat(STEP, 1).repeat(STEP, 2))
