"""The procedural patient: reproducible, valued like the real data, and honest about where its tumours are."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from TumorSegLib.errors import ArgumentError, GeometryError
from TumorSegLib.phantom.anatomy import Tissue
from TumorSegLib.phantom.patient import Phantom, make_phantom

SMALL = {"shape": (40, 64, 64), "spacing_mm": (3.6, 3.6, 5.0)}


@pytest.fixture(scope="module")
def demo() -> Phantom:
    return make_phantom(0)


@pytest.fixture(scope="module")
def limb() -> Phantom:
    return make_phantom(3, region="limb")


def inner(phantom: Phantom, tissue: Tissue, voxels: int = 2) -> np.ndarray:
    """Voxels of a tissue away from its boundary, where blur mixes nothing in."""
    return ndimage.binary_erosion(phantom.tissues.array == tissue, iterations=voxels)


def test_same_seed_same_phantom_other_seed_another() -> None:
    first, again, other = (make_phantom(seed, **SMALL) for seed in (5, 5, 6))
    for role in ("ct", "pet", "mr_t1"):
        np.testing.assert_array_equal(first.images[role].array, again.images[role].array)
        assert np.mean(first.images[role].array != other.images[role].array) > 0.3
    np.testing.assert_array_equal(first.tumour.array, again.tumour.array)
    assert not np.array_equal(first.tumour.array, other.tumour.array)


def test_default_is_the_demonstration(demo: Phantom) -> None:
    assert demo.seed == 0
    assert demo.tumour.grid.shape == (72, 128, 128)
    assert 50 <= demo.tumour.volume_ml <= 150
    elsewhere = (demo.tumour.array == 0) & (demo.images["pet"].array > 8)
    bladder = demo.tissues.array == Tissue.BLADDER
    assert (elsewhere & bladder).sum() > 1000, "a physiological hot spot must tempt thresholds"


def test_images_types_and_grid(demo: Phantom) -> None:
    assert {role: v.array.dtype for role, v in demo.images.items()} == {
        "ct": np.int16,
        "pet": np.float32,
        "mr_t1": np.float32,
    }
    assert {v.role for v in demo.images.values()} == set(demo.images)
    for image in (*demo.images.values(), demo.tissues):
        assert image.grid is demo.tumour.grid
    np.testing.assert_array_equal(demo.tumour.grid.direction, np.diag([-1, -1, 1]))
    np.testing.assert_allclose(demo.tumour.grid.spacing, (1.953, 1.953, 3.27))
    assert demo.images["ct"].array.min() == -1000
    assert demo.images["pet"].array.min() >= 0
    assert demo.images["mr_t1"].array.min() >= 0
    np.testing.assert_array_equal(np.unique(demo.tumour.array), (0, 1))


@pytest.mark.parametrize(
    ("tissue", "hounsfield", "suv"),
    [
        (Tissue.FAT, (-112, -92), (0.15, 0.6)),
        (Tissue.MUSCLE, (44, 64), (0.35, 1.0)),
        (Tissue.KIDNEY, (20, 46), (2.2, 6.5)),
        (Tissue.BLADDER, (-6, 18), (10, 30)),
    ],
)
def test_values_by_tissue(demo: Phantom, tissue: Tissue, hounsfield: tuple, suv: tuple) -> None:
    where = inner(demo, tissue)
    assert where.sum() > 30
    assert hounsfield[0] < np.median(demo.images["ct"].array[where]) < hounsfield[1]
    assert suv[0] < np.median(demo.images["pet"].array[where]) < suv[1]


def test_liver_and_lung_in_the_upper_trunk() -> None:
    phantom = next(
        p for p in (make_phantom(s, region="trunk", tumours=0) for s in range(20)) if inner(p, Tissue.LUNG).sum() > 5000
    )
    liver, lung = inner(phantom, Tissue.LIVER, 3), inner(phantom, Tissue.LUNG)
    assert 1.2 < np.median(phantom.images["pet"].array[liver]) < 3.6
    assert -900 < np.median(phantom.images["ct"].array[lung]) < -760
    assert phantom.images["mr_t1"].array[lung].mean() < phantom.images["mr_t1"].array[liver].mean()


def test_limb_has_a_femur_and_bright_fat(limb: Phantom) -> None:
    present = {Tissue(label) for label in np.unique(limb.tissues.array)}
    assert {Tissue.MUSCLE, Tissue.CORTICAL_BONE, Tissue.YELLOW_MARROW, Tissue.BLOOD} <= present
    assert not present & {Tissue.BLADDER, Tissue.KIDNEY, Tissue.LIVER, Tissue.LUNG, Tissue.BOWEL}
    mr, ct = limb.images["mr_t1"].array, limb.images["ct"].array
    seen = mr > 0
    fat, muscle = (np.median(mr[inner(limb, t, 1) & seen]) for t in (Tissue.FAT, Tissue.MUSCLE))
    assert 800 < fat < 1100
    assert 270 < muscle < 400
    assert ct[limb.tissues.array == Tissue.CORTICAL_BONE].max() > 900
    assert limb.images["pet"].array[limb.tumour.array == 0].max() < limb.images["pet"].array.max()
    noise = (ct - ndimage.gaussian_filter(ct.astype(float), 2.0))[inner(limb, Tissue.MUSCLE)]
    assert 8 < noise.std() < 32  # as in low-dose CT


@pytest.mark.parametrize("region", ["trunk", "limb"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_tumour_is_one_piece_of_wanted_size_in_the_body(seed: int, region: str) -> None:
    phantom = make_phantom(seed, region=region, **SMALL)
    tumour = phantom.tumour.array > 0
    assert ndimage.label(tumour)[1] == 1
    assert 4 <= phantom.tumour.volume_ml <= 400
    around = ndimage.binary_dilation(tumour, iterations=1) & ~tumour
    outside = np.isin(phantom.tissues.array, (Tissue.AIR, Tissue.TABLE))
    assert not (around & outside).any(), "skin lies between a tumour and the air"
    for axis in range(3):
        profile = np.flatnonzero(tumour.any(axis=tuple(a for a in range(3) if a != axis)))
        assert profile[0] >= 2
        assert profile[-1] < tumour.shape[axis] - 2


def test_tumour_contrast_on_pet_and_none_on_ct() -> None:
    for seed in range(4):
        phantom = make_phantom(seed, region="limb", **SMALL)
        tumour, muscle = phantom.tumour.array > 0, inner(phantom, Tissue.MUSCLE, 1)
        pet, ct = phantom.images["pet"].array, phantom.images["ct"].array
        assert 3 < pet[tumour].max() < 25
        assert pet[tumour].max() > 3 * np.percentile(pet[muscle], 90)
        assert -40 < np.median(ct[tumour]) - np.median(ct[muscle]) < 5


def test_some_tumours_are_necrotic_and_shapes_are_irregular() -> None:
    centre_to_rim, filling = [], []
    for seed in range(10):
        phantom = make_phantom(seed, region="limb", **SMALL)
        depth = ndimage.distance_transform_edt(phantom.tumour.array)
        pet = phantom.images["pet"].array
        centre_to_rim.append(pet[depth > 0.7 * depth.max()].mean() / np.percentile(pet[depth > 0], 95))
        (i0, i1), (j0, j1), (k0, k1) = phantom.tumour.bounding_box() or pytest.fail("no tumour")
        filling.append(np.count_nonzero(depth) / ((i1 - i0) * (j1 - j0) * (k1 - k0)))
    assert min(centre_to_rim) < 0.45
    assert max(centre_to_rim) > 0.7
    assert np.std(filling) > 0.02, "balls would all fill the same share of their box"


def test_anatomy_does_not_depend_on_the_lattice() -> None:
    coarse = make_phantom(8, shape=(36, 64, 64), spacing_mm=(3.906, 3.906, 6.54))
    assert coarse.tumour.grid.shape == (36, 64, 64)
    assert coarse.tumour.grid.spacing == pytest.approx((3.906, 3.906, 6.54))
    fine = make_phantom(8, shape=(72, 128, 128), spacing_mm=(1.953, 1.953, 3.27))
    assert fine.tumour.volume_ml == pytest.approx(coarse.tumour.volume_ml, rel=0.1)
    centres = np.indices(coarse.tissues.array.shape).reshape(3, -1).T[:, ::-1]
    index = np.round(fine.tumour.grid.to_ijk(coarse.tumour.grid.to_ras(centres))).astype(int)
    i, j, k = np.clip(index, 0, np.array(fine.tumour.grid.size) - 1).T
    same = fine.tissues.array[k, j, i].reshape(coarse.tissues.array.shape) == coarse.tissues.array
    assert same[coarse.tumour.array > 0].mean() > 0.85
    assert same[np.isin(coarse.tissues.array, (Tissue.BOWEL, Tissue.MUSCLE, Tissue.FAT))].mean() > 0.85


def test_tumours_are_as_many_as_asked_and_within_the_mr() -> None:
    partial = 0
    for seed, count in enumerate((2, 2, 1, 3, 2, 0)):
        phantom = make_phantom(seed, tumours=count, **SMALL)
        assert ndimage.label(phantom.tumour.array)[1] == count
        mr = phantom.images["mr_t1"].array
        seen = mr > 0
        partial += seen.mean() < 0.9
        assert seen[phantom.tumour.array > 0].all()
    assert 0 < partial < 6


@pytest.mark.data
def test_muscle_and_fat_as_in_a_real_case(data_root, limb: Phantom) -> None:
    real = {
        role: SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(data_root / "sts" / f"STS_016_{role}.nii.gz")))
        for role in ("ct", "pet", "mr_t1")
    }
    made = {role: volume.array for role, volume in limb.images.items()}
    for low, high in ((30, 90), (-130, -70)):
        medians = []
        for images in (real, made):
            where = ndimage.binary_erosion((images["ct"] > low) & (images["ct"] < high) & (images["mr_t1"] > 0))
            medians.append([np.median(images[role][where]) for role in ("ct", "pet", "mr_t1")])
        (ct, pet, mr), (made_ct, made_pet, made_mr) = medians
        assert made_ct == pytest.approx(ct, abs=15)
        assert made_pet == pytest.approx(pet, rel=0.6)
        assert made_mr == pytest.approx(mr, rel=0.25)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"seed": -1}, ArgumentError, "-1"),
        ({"seed": 1.5}, ArgumentError, "1.5"),
        ({"seed": 0, "region": "head"}, ArgumentError, "'head'"),
        ({"seed": 0, "tumours": 6}, ArgumentError, "6"),
        ({"seed": 0, "tumours": "two"}, ArgumentError, "'two'"),
        ({"seed": 0, "shape": (8, 128, 128)}, GeometryError, "26 x 250 x 250 mm"),
        ({"seed": 0, "shape": (128, 128)}, GeometryError, "three positive whole"),
        ({"seed": 0, "shape": (72.5, 128, 128)}, GeometryError, "72.5"),
        ({"seed": 0, "spacing_mm": (0, 1, 1)}, GeometryError, r"\(0, 1, 1\)"),
        ({"seed": 0, "spacing_mm": (2, 2, 9)}, GeometryError, "at most 8"),
        ({"seed": 0, "spacing_mm": (2, 2)}, GeometryError, "three numbers"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make_phantom(**arguments)
