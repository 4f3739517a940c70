"""Synthetic images: in the units of their family, and most objects stand out from all around them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion, distance_transform_edt, label

from Testing.training.objects.object_cases import any_configuration
from training.objects import synthetic
from training.objects.intensities import Rules
from training.objects.sample import ObjectSample

SHAPE = (32, 32, 32)
CT, CT_WIDE, PET, MR = range(4)


@pytest.fixture(scope="module")
def rules() -> Rules:
    return any_configuration().model.any_image_input.normalisation


def samples(rules: Rules, count: int) -> list[ObjectSample]:
    rng = np.random.default_rng(4)
    drawn = (synthetic.draw_synthetic(SHAPE, rules, rng) for _ in range(10 * count))
    return [sample for sample in drawn if sample is not None][:count]


def standing_out(sample: ObjectSample) -> float:
    """Difference of the means inside and close around in deviations, in the channel in which it is largest."""
    near = binary_dilation(sample.truth)
    shell, core = binary_dilation(near, iterations=2) & ~near, binary_erosion(sample.truth)
    if not core.any() or not shell.any():
        return float("nan")
    pairs = [(image[core], image[shell]) for image in sample.images if image.any()]
    return max(abs(a.mean() - b.mean()) / (a.std() + b.std() + 0.05) for a, b in pairs)


def test_a_ct_is_shown_in_both_windows_a_pet_as_uptake(rules: Rules) -> None:
    drawn = samples(rules, 40)
    shown = [tuple(n for n in range(4) if sample.images[n].any()) for sample in drawn]
    assert {number for numbers in shown for number in numbers} == {CT, CT_WIDE, PET, MR}
    for sample, numbers in zip(drawn, shown):
        assert (CT in numbers) == (CT_WIDE in numbers)
        if CT in numbers:  # the soft-tissue window is the wide one, cut off
            hounsfield = 500 * sample.images[CT_WIDE]
            seen = (np.clip(hounsfield, -160, 240) + 20) / 100
            np.testing.assert_allclose(sample.images[CT], seen, atol=1e-4)
        assert sample.images[PET].min() >= 0


def middle_brighter(sample: ObjectSample) -> float:
    """How much the middle of an object differs from its surroundings beside how much its outer voxels do."""
    depth = distance_transform_edt(sample.truth)
    middle, outer = depth > 0.7 * depth.max(), sample.truth & (depth < 0.4 * depth.max()) & (depth > 1)
    shell = binary_dilation(sample.truth, iterations=4) & ~binary_dilation(sample.truth, iterations=2)
    image = max(sample.images, key=np.std)
    if not outer.any() or not shell.any():
        return float("nan")
    far, near = (abs(image[part].mean() - image[shell].mean()) for part in (middle, outer))
    return float(far / max(near, 1e-3))


def test_objects_that_fade_differ_most_in_their_middle(rules: Rules, monkeypatch: pytest.MonkeyPatch) -> None:
    ratios = []
    for often in (0.0, 1.0):
        monkeypatch.setattr(synthetic, "FADES", often)
        ratios.append(np.nanmedian([middle_brighter(sample) for sample in samples(rules, 40)]))
    assert ratios[1] > 1.1 * ratios[0]


def test_an_object_is_one_connected_part(rules: Rules) -> None:
    assert all(label(sample.truth)[1] == 1 for sample in samples(rules, 60))


def test_more_objects_stand_out_than_where_contrasts_are_random(rules: Rules, monkeypatch: pytest.MonkeyPatch) -> None:
    clear = np.array([standing_out(sample) for sample in samples(rules, 60)])
    monkeypatch.setattr(synthetic, "STANDS_OUT", 0.0)
    random = np.array([standing_out(sample) for sample in samples(rules, 60)])
    assert np.nanmedian(clear) > 1.3 * np.nanmedian(random)
    assert np.nanmean(clear < 0.5) < np.nanmean(random < 0.5)
