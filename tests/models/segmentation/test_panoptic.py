"""Panoptic FPN: the merge of things and stuff, its losses, and what it refuses."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from roikit.export import to_onnx
from roikit.masks import encode
from roikit.models import PanopticConfig, SemanticFPNConfig, build_detector
from roikit.models.segmentation.panoptic import merge_panoptic

from ..family import FPN, SYSTEMS

PANOPTIC = SYSTEMS["panoptic"]
THINGS = 3
SIZE = (5, 6)


def plain_merge(masks, labels, scores, classes, config):
    """The merge written out pixel by pixel: the map as a dict of pixels, and rows of id, category, area."""
    panoptic, rows = {}, []
    for k in sorted(range(len(scores)), key=lambda k: -scores[k]):
        own = {(y, x) for y, x in zip(*np.nonzero(masks[k]), strict=True)}
        free = own - panoptic.keys()
        if scores[k] < config.score_threshold or not own:
            continue
        if (len(own) - len(free)) / len(own) > config.overlap_threshold:
            continue
        rows.append((len(rows) + 1, int(labels[k]), len(free)))
        panoptic |= dict.fromkeys(free, len(rows))
    for value in range(1, config.num_stuff_classes + 1):
        free = {(y, x) for y, x in zip(*np.nonzero(classes == value), strict=True)} - panoptic.keys()
        if free and len(free) >= config.stuff_area:
            rows.append((len(rows) + 1, THINGS + value, len(free)))
            panoptic |= dict.fromkeys(free, len(rows))
    return panoptic, rows


@given(nps.arrays(np.uint8, st.tuples(st.integers(0, 5), *map(st.just, SIZE)), elements=st.integers(0, 1)),
       nps.arrays(np.int64, SIZE, elements=st.integers(0, 2)), st.sampled_from((0.0, 0.3, 0.5, 1.0)),
       st.sampled_from((0, 1, 4)), st.randoms(use_true_random=False))
def test_agreement_with_a_merge_pixel_by_pixel(masks, classes, overlap, area, random):
    config = PanopticConfig(num_stuff_classes=2, score_threshold=0.4, overlap_threshold=overlap, stuff_area=area)
    labels = [random.randint(1, THINGS) for _ in masks]
    scores = [random.choice((0.1, 0.4, 0.6, 0.9)) for _ in masks]
    panoptic, segments = merge_panoptic(
        [encode(np.asfortranarray(mask)) for mask in masks], torch.tensor(labels, dtype=torch.int64),
        torch.tensor(scores, dtype=torch.float64), torch.from_numpy(classes), THINGS, config)
    expected, rows = plain_merge(masks, labels, scores, classes, config)
    assert panoptic.dtype == torch.int32 and panoptic.shape == SIZE
    assert {(y, x): int(panoptic[y, x]) for y, x in zip(*np.nonzero(panoptic.numpy()), strict=True)} == expected
    assert [(s["id"], s["category"], s["area"]) for s in segments] == rows
    assert all(s["isthing"] == (s["category"] <= THINGS) and (s["score"] is not None) == s["isthing"] for s in segments)


def test_it_is_a_mask_rcnn_with_a_head_beside(scene):
    """The same weights detect the same with and without it."""
    torch.manual_seed(0)
    model = build_detector(PANOPTIC).eval()
    plain = build_detector(FPN).eval()
    added = plain.load_state_dict(model.state_dict(), strict=False)
    assert not added.missing_keys and all(name.startswith("sem_seg_head.") for name in added.unexpected_keys)
    with torch.no_grad():
        (found,), (expected,) = model([scene()[0]]), plain([scene()[0]])
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_results_do_not_depend_on_the_format_of_masks(scene):
    torch.manual_seed(0)
    model, found = build_detector(PANOPTIC).eval(), []
    model.panoptic = dataclasses.replace(model.panoptic, score_threshold=0.0)
    for kind in ("soft", "bool", "rle"):
        model.mask_format = kind
        with torch.no_grad():
            found.append(model([scene((60, 50))[0]])[0])
    assert all(torch.equal(one["panoptic"], found[0]["panoptic"]) and one["segments"] == found[0]["segments"]
               for one in found)
    pixels = torch.bincount(found[0]["panoptic"].flatten().long())
    assert all(pixels[s["id"]] == s["area"] for s in found[0]["segments"])


def losses_of(config, image, target):
    torch.manual_seed(0)
    model = build_detector(config).train()
    torch.manual_seed(1)
    return model([image], [target])


def test_each_loss_has_the_weight_of_its_field(scene):
    image, target = scene()
    target = target | {"semantic": torch.ones(64, 64, dtype=torch.uint8)}
    plain = losses_of(PANOPTIC, image, target)
    heavy = losses_of(dataclasses.replace(PANOPTIC, panoptic=dataclasses.replace(
        PANOPTIC.panoptic, loss_weight=2.0, instance_loss_weight=3.0)), image, target)
    factors = {"loss_semantic": 4.0, "loss_objectness": 1.0, "loss_rpn_box_reg": 1.0}
    for name, loss in plain.items():
        torch.testing.assert_close(heavy[name], loss * factors.get(name, 3.0))


@pytest.mark.parametrize(("semantic", "sentence"), [
    (None, r"targets\[0\] must have the key 'semantic'"),
    (torch.full((64, 64), 3, dtype=torch.uint8), r"labels from 0 to 2 or 255, got 3"),
])
def test_label_maps_that_do_not_fit_are_refused(scene, semantic, sentence):
    image, target = scene()
    target = target if semantic is None else target | {"semantic": semantic}
    with pytest.raises(ValueError, match=sentence):
        losses_of(PANOPTIC, image, target)


@pytest.mark.parametrize(("change", "sentence"), [
    ({"mask": None}, "panoptic merges masks with stuff, but mask is None"),
    ({"hybrid": SYSTEMS["hybrid"].hybrid, "cascade": SYSTEMS["hybrid"].cascade}, "panoptic and hybrid.semantic both"),
    ({"backbone": SYSTEMS["mask_c5"].backbone, "rpn": SYSTEMS["mask_c5"].rpn},
     "backbone.neck must be 'fpn', got 'none'"),
])
def test_combinations_that_cannot_work_are_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(PANOPTIC, **change)


@pytest.mark.parametrize(("field", "value", "sentence"), [
    ("num_stuff_classes", 0, "must be positive"), ("overlap_threshold", 1.5, "between 0 and 1"),
    ("score_threshold", -0.1, "between 0 and 1"), ("stuff_area", -1, "at least 0"), ("loss_weight", 0.0, "positive"),
    ("ignored_label", 3, "at least 54"),
])
def test_numbers_that_cannot_work_are_refused(field, value, sentence):
    with pytest.raises(ValueError, match=rf"PanopticConfig: {field} must be .*{sentence.split()[-1]}"):
        PanopticConfig(**{field: value})


def test_levels_may_be_concatenated(scene):
    head = SemanticFPNConfig(16, fusion="concat")
    model = build_detector(dataclasses.replace(PANOPTIC, panoptic=dataclasses.replace(PANOPTIC.panoptic, head=head)))
    with torch.no_grad():
        found, = model.eval()([scene()[0]])
    assert model.sem_seg_head.predictor.in_channels == 64 and found["classes"].shape == (64, 64)


def test_an_export_names_what_it_cannot_write(tmp_path):
    with pytest.raises(ValueError, match="must not merge things and stuff, which has no ONNX form"):
        to_onnx(build_detector(PANOPTIC).eval(), [torch.rand(3, 64, 64)], tmp_path / "a.onnx")
