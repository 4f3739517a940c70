"""Previews of synthetic PET/CT: orientation, scale, outlines, windows, and what happens where something is missing."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from matplotlib.image import imread
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from TumorSegLib.errors import GeometryError, ResourceError, WriteError
from TumorSegLib.geometry.boxes import full_box, slices
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.labels import Segment, Segmentation, label_colour
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.render import panels
from TumorSegLib.render.preview import draw_preview, outline_fields, shown_box, turned_case, write_preview
from TumorSegLib.render.skin import skin_surface
from TumorSegLib.render.surface import surface_from_probability

RED = np.array(label_colour(1))


def patient(shape=(36, 64, 72), spacing=(3.0, 3.0, 5.0), direction=None) -> tuple[dict[str, Volume], Mask]:
    """An elliptic body of water in air with a ball of 20 mm radius that is hot in PET."""
    grid = Grid.from_spacing(shape, spacing, (-90.0, -80.0, 40.0), direction)
    k, j, i = np.indices(shape)
    ras = grid.to_ras(np.stack([i, j, k], axis=-1)) - grid.to_ras((np.asarray(grid.size) - 1) / 2)
    body = (ras[..., 0] / 95) ** 2 + (ras[..., 1] / 75) ** 2 < 1
    tumour = ((ras - (25, 10, 15)) ** 2).sum(axis=-1) < 20**2
    noise = np.random.default_rng(0).standard_normal(shape)
    images = {
        "ct": Volume(grid, (np.where(body, 20 + 30 * tumour, -1000) + 10 * noise).astype(np.float32), "ct"),
        "pet": Volume(grid, np.maximum(body + 8 * tumour + 0.2 * noise, 0).astype(np.float32), "pet"),
    }
    return images, Mask(grid, tumour)


def red_pixels(picture: np.ndarray) -> np.ndarray:
    return np.abs(picture[..., :3] - RED).max(axis=-1) < 0.12


def words(figure) -> str:
    return "\n".join(
        text.get_text() for text in [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    )


def test_picture_has_an_outline_in_every_slice_of_every_modality(tmp_path):
    images, mask = patient()
    write_preview(images, mask, tmp_path / "preview.png")
    picture = imread(tmp_path / "preview.png")
    figure = draw_preview(images, mask)
    height, width = picture.shape[:2]
    assert len(figure.axes) == 2 * 3 + 1
    for axes in figure.axes[:-1]:
        box = axes.get_position()
        panel = picture[round((1 - box.y1) * height) : round((1 - box.y0) * height), round(box.x0 * width) :]
        assert red_pixels(panel[:, : round(box.width * width)]).sum() > 100
    assert f"Marked: {mask.volume_ml:.1f} ml" in words(figure)
    assert "not a medical device" in words(figure)
    assert [file.name for file in tmp_path.iterdir()] == ["preview.png"]


def test_all_panels_have_one_scale_in_both_directions():
    figure = draw_preview(*patient((20, 64, 72)))  # 100 mm from foot to head, 160 mm across
    inches = figure.get_size_inches()
    scales = []
    for axes in figure.axes[:-1]:
        box, (left, right), (bottom, top) = axes.get_position(), axes.get_xlim(), axes.get_ylim()
        scales += [box.width * inches[0] / (right - left), box.height * inches[1] / (bottom - top)]
    assert scales == pytest.approx([scales[0]] * len(scales))


def test_crop_is_the_tumour_and_six_centimetres_but_within_the_image():
    _, mask = patient()
    (i0, i1), (j0, j1), (k0, k1) = shown_box(mask)
    assert (i1 - i0) * 3 == pytest.approx(40 + 120, abs=6)
    assert (j1 - j0) * 3 == pytest.approx(40 + 120, abs=6)
    assert (k0, k1) == (4, 36)  # 160 mm of 180, moved to end at the border instead of being cut
    (found_i, found_j, _) = mask.bounding_box()
    assert (i0 + i1) / 2 == pytest.approx(sum(found_i) / 2, abs=1)
    assert (j0 + j1) / 2 == pytest.approx(sum(found_j) / 2, abs=1)


TILT = Rotation.from_euler("xyz", [12, -9, 15], degrees=True).as_matrix()


@pytest.mark.parametrize(("order", "signs"), list(product(permutations(range(3)), product((1, -1), repeat=3))))
def test_slices_are_turned_to_radiological_convention(order, signs):
    """A dot to the patient's right, front and head shows at the upper left of all slices, whatever the voxel axes."""
    direction = TILT @ (np.eye(3)[:, list(order)] * signs)
    grid = Grid.from_spacing((20, 22, 24), (2.0, 2.5, 3.0), direction=direction)
    middle = grid.to_ras((np.asarray(grid.size) - 1) / 2)
    dot = np.zeros(grid.shape, np.float32)
    i, j, k = np.round(grid.to_ijk(middle + TILT @ (12.0, 12.0, 12.0))).astype(int)
    dot[k, j, i] = 1
    case = turned_case({"ct": Volume(grid, dot)}, {}, grid, full_box(grid.shape))
    down, back, left = np.argwhere(case.images["ct"])[0]
    size = case.images["ct"].shape
    assert (down < size[0] / 2 - 2, back < size[1] / 2 - 2, left < size[2] / 2 - 2) == (True, True, True)
    assert [n * s for n, s in zip(size, case.spacing)] == pytest.approx(
        [grid.shape[2 - axis] * grid.spacing[axis] for axis in (order.index(2), order.index(1), order.index(0))]
    )


def test_slices_go_through_the_largest_area():
    images, mask = patient()
    array = mask.array.copy()
    array[2, 3, 4] = 1
    case = turned_case(images, {"label 1": array.astype(np.float32)}, mask.grid, full_box(mask.grid.shape))
    for axis, centre in enumerate(case.centre):
        areas = case.inside.sum(axis=tuple(n for n in range(3) if n != axis))
        assert areas[centre] == areas.max() > 1


@pytest.mark.parametrize("given", [True, False])
def test_outline_agrees_with_the_mask_in_every_voxel(given):
    _, mask = patient()
    smooth = Volume(mask.grid, gaussian_filter(mask.array.astype(np.float32), 2), "probability") if given else None
    fields, grid, box = outline_fields(Segmentation.of_labels(mask), smooth)
    assert np.array_equal(fields["label 1"] > 0.5, mask.array[slices(box)] == 1)
    assert grid == mask.grid.crop(box)
    assert len(np.unique(fields["label 1"])) > 100  # not a step, so that the outline is smooth


def test_probability_makes_the_outline_smoother():
    _, mask = patient()
    k, j, i = np.indices(mask.grid.shape)
    ras = mask.grid.to_ras(np.stack([i, j, k], axis=-1))
    centre = mask.grid.to_ras(np.argwhere(mask.array).mean(axis=0)[::-1])
    radius = np.linalg.norm(ras - centre, axis=-1)
    probability = Volume(mask.grid, 1 / (1 + np.exp((radius - 20) / 2)), "probability")

    def roughness(given):
        fields, grid, _ = outline_fields(Segmentation.of_labels(mask), given)
        surface = surface_from_probability(Volume(grid, fields["label 1"], "probability"))
        points = np.asarray(surface.GetPoints().GetData())
        return np.linalg.norm(points - centre, axis=1).std()

    assert roughness(probability) < 0.75 * roughness(None)


def test_labels_have_their_own_colours_and_volumes():
    images, mask = patient()
    array = mask.array.copy()
    array[:, :, 44:][array[:, :, 44:] > 0] = 2
    figure = draw_preview(images, Mask(mask.grid, array))
    assert "label 1: " in words(figure)
    assert "label 2: " in words(figure)
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba()) / 255
    yellow = np.abs(picture[..., :3] - label_colour(2)).max(axis=-1) < 0.12
    assert yellow.sum() > 200
    assert red_pixels(picture).sum() > 200


@pytest.mark.parametrize("core", [1, 2])
def test_the_outline_of_a_core_is_not_hidden_by_that_of_the_rim_round_it(core):
    images, mask = patient()
    array = mask.array * (3 - core)
    array[slices(mask.bounding_box())][2:-2, 3:-3, 3:-3][array[slices(mask.bounding_box())][2:-2, 3:-3, 3:-3] > 0] = (
        core
    )
    figure = draw_preview(images, Mask(mask.grid, array))
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba()) / 255
    slices_end = int(figure.axes[-1].get_position().x0 * picture.shape[1])
    of_slices = np.abs(picture[:, :slices_end, :3] - label_colour(core)).max(axis=-1) < 0.12
    assert of_slices[100:].sum() > 200  # below the words


def test_segments_that_overlap_are_whole_with_their_names_and_colours():
    images, mask = patient()
    core = np.zeros_like(mask.array)
    core[slices(mask.bounding_box())][2:-2, 3:-3, 3:-3] = 1
    segments = [(Segment("whole tumour", 3), mask), (Segment("core", 1, (0.1, 0.9, 0.9)), Mask(mask.grid, core))]
    figure = draw_preview(images, Segmentation.of_masks(segments))
    assert f"whole tumour: {mask.volume_ml:.1f} ml" in words(figure)
    assert "core: " in words(figure)
    assert f"Marked: {mask.volume_ml:.1f} ml" in words(figure)
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba()) / 255
    for colour in (label_colour(3), (0.1, 0.9, 0.9)):
        assert (np.abs(picture[..., :3] - colour).max(axis=-1) < 0.12).sum() > 200


def test_empty_mask_says_so_and_draws_no_outline(tmp_path):
    images, mask = patient()
    empty = Mask(mask.grid, np.zeros(mask.grid.shape, np.uint8))
    write_preview(images, empty, tmp_path / "preview.png")
    assert not red_pixels(imread(tmp_path / "preview.png")).any()
    figure = draw_preview(images, empty)
    assert "Nothing marked" in words(figure)
    assert " ml" not in words(figure)


def test_failed_rendering_leaves_a_note_not_a_crash(tmp_path, monkeypatch):
    def fail(surfaces, size):
        raise ResourceError("OpenGL drew nothing")

    monkeypatch.setattr(panels, "render", fail)
    images, mask = patient()
    write_preview(images, mask, tmp_path / "preview.png")
    assert (tmp_path / "preview.png").stat().st_size > 10_000
    assert "OpenGL drew nothing" in words(draw_preview(images, mask))


def test_solid_panel_shows_the_tumour_and_the_skin():
    images, mask = patient()
    figure = draw_preview(images, mask)
    pixels = figure.axes[-1].images[0].get_array()
    red = pixels[..., 0].astype(int) - pixels[..., 2] > 60
    assert 0.02 < red.mean() < 0.5
    background = (np.abs(pixels.astype(int) - pixels[0, 0]).max(axis=-1) < 3).mean()
    assert background < 0.9 - red.mean()  # the skin covers more than the tumour
    without_ct = draw_preview({"pet": images["pet"]}, mask).axes[-1].images[0].get_array()
    assert (np.abs(without_ct.astype(int) - without_ct[0, 0]).max(axis=-1) >= 3).mean() > red.mean()


def test_skin_is_open_where_the_image_ends_and_without_gas():
    images, _ = patient()
    ct = images["ct"]
    array = ct.array.copy()
    array[10:20, 30:38, 30:40] = -1000  # gas
    skin = skin_surface(Volume(ct.grid, array), ct.grid.to_ras((np.asarray(ct.grid.size) - 1) / 2))
    points = np.asarray(skin.surface.GetPoints().GetData())
    used = np.unique(np.asarray(skin.surface.GetPolys().GetConnectivityArray()))
    offset = points[used] - ct.grid.to_ras((np.asarray(ct.grid.size) - 1) / 2)
    ellipse = (offset[:, 0] / 95) ** 2 + (offset[:, 1] / 75) ** 2
    assert ellipse.min() > 0.8
    assert ellipse.max() < 1.25
    air = Volume(ct.grid, np.full(ct.grid.shape, -1000, np.int16))
    assert skin_surface(air, np.zeros(3)) is None


def test_windows():
    inside = np.zeros((10, 10, 10), bool)
    inside[4:6, 4:6, 4:6] = True
    image = np.where(inside, 7.0, 0.5)
    image[0, 0] = 60  # a bladder
    assert panels.intensity_range("ct", image, inside) == (-160, 240, "HU")
    assert panels.intensity_range("pet", image, inside) == (0, 7, "SUV")
    assert panels.intensity_range("pet", np.minimum(image, 2), inside) == (0, 5, "SUV")
    assert panels.intensity_range("pet", image, ~inside & False)[1] == pytest.approx(60)
    low, high, _ = panels.intensity_range("mr_t1", np.where(inside, np.arange(1000.0).reshape(10, 10, 10), 0), inside)
    assert 400 < low < high < 600
    assert panels.intensity_range("mr_t1", np.zeros((3, 3, 3)), inside)[:2] == (0, 1)


def test_oblique_single_slice_and_constant_images_are_drawn(tmp_path):
    images, mask = patient((1, 40, 40), direction=TILT)
    flat = {**images, "mr_t1": Volume(mask.grid, np.full(mask.grid.shape, 3, np.int16), "mr_t1")}
    array = np.zeros(mask.grid.shape, np.uint8)
    array[0, 10:14, 20] = 1
    write_preview(flat, Mask(mask.grid, array), tmp_path / "preview.png")
    assert imread(tmp_path / "preview.png").shape[1] > 500


def test_bad_input_is_refused(tmp_path):
    images, mask = patient()
    with pytest.raises(WriteError, match=r"preview\.jpg.*\.png"):
        write_preview(images, mask, tmp_path / "preview.jpg")
    other = Grid.from_spacing((4, 4, 4), (1, 1, 1))
    elsewhere = Volume(other, np.zeros(other.shape), "pet")
    with pytest.raises(GeometryError, match=r"pet is not on the mask's grid .*: one has"):
        write_preview({**images, "pet": elsewhere}, mask, tmp_path / "preview.png")
    with pytest.raises(GeometryError, match=r"probability is not on the mask's grid .*: one has"):
        write_preview(images, mask, tmp_path / "preview.png", elsewhere)
    with pytest.raises(WriteError, match="does not exist"):
        write_preview(images, mask, tmp_path / "absent" / "preview.png")
    assert not list(tmp_path.iterdir())
