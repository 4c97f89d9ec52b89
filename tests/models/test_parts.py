"""Sampling, losses, the image transform and the configuration, each by itself."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit.models import DetectorConfig, ImageConfig, ImageTransform, MaskConfig, RpnConfig
from roikit.models.parts.image import rescale_boxes
from roikit.models.parts.losses import (
    box_regression_loss,
    classification_loss,
    mask_loss,
    objectness_loss,
)
from roikit.models.parts.sampling import sample_balanced


@given(st.lists(st.sampled_from([-1, 0, 1]), max_size=40), st.integers(0, 20),
       st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(0, 2**31))
def test_law_samples_keep_their_share(labels, count, fraction, seed):
    torch.manual_seed(seed)
    labels = torch.tensor(labels, dtype=torch.int8)
    positive, negative = sample_balanced(labels, count, fraction)
    assert (labels[positive] == 1).all() and (labels[negative] == 0).all()
    assert len(positive) == min(int((labels == 1).sum()), int(count * fraction))
    assert len(negative) == min(int((labels == 0).sum()), count - len(positive))
    assert (positive.diff() > 0).all() and (negative.diff() > 0).all()


def test_law_every_candidate_is_drawn_equally_often():
    torch.manual_seed(0)
    labels = torch.tensor([1, 0, 1, 1, -1, 1])
    hits = torch.zeros(6)
    for _ in range(2000):
        hits[sample_balanced(labels, 4, 0.25)[0]] += 1
    assert hits[4] == hits[1] == 0
    assert ((hits[[0, 2, 3, 5]] - 500).abs() < 100).all()


def test_law_losses_of_nothing_are_zero_with_gradient():
    logits = torch.zeros(0, 3, 2, 2, requires_grad=True)
    nothing = torch.zeros(0, dtype=torch.int64)
    for loss in (objectness_loss(logits.sum((1, 2, 3)), torch.zeros(0)),
                 classification_loss(logits.sum((2, 3)), nothing),
                 box_regression_loss(logits.sum(3).reshape(0, 4), torch.zeros(0, 4), 1 / 9, 0),
                 mask_loss(logits[:, 0], torch.zeros(0, 2, 2))):
        assert loss == 0 and loss.requires_grad


@pytest.mark.parametrize("beta, expected", [(0.0, 0.5 + 2.0), (1.0, 0.125 + 1.5),
                                            (1 / 9, 0.5 - 1 / 18 + 2.0 - 1 / 18)])
def test_law_smooth_l1_is_divided_by_all_samples(beta, expected):
    loss = box_regression_loss(torch.tensor([[0.5, 0.0, -2.0, 0.0]]), torch.zeros(1, 4), beta, 10)
    assert loss.item() == pytest.approx(expected / 10, rel=1e-6)


def test_law_mask_loss_is_a_mean_over_cells():
    logits = torch.stack([torch.full((4, 4), 20.0), torch.full((4, 4), -20.0)])
    targets = torch.stack([torch.ones(4, 4), torch.zeros(4, 4)])
    assert mask_loss(logits, targets) < 1e-6
    assert mask_loss(logits, 1 - targets) == pytest.approx(20.0)
    assert mask_loss(0 * logits, targets) == pytest.approx(0.6931, abs=1e-3)


@pytest.mark.parametrize("size, resized", [((200, 300), (100, 150)), ((100, 400), (50, 200)),
                                           ((100, 100), (100, 100)), ((3, 1000), (1, 200)),
                                           ((37, 53), (100, 143))])
def test_contract_sizes_after_resizing(size, resized):
    transform = ImageTransform(ImageConfig(min_size=(100,), max_size=200)).eval()
    batch, _ = transform([torch.rand(3, *size)])
    assert batch.sizes == [resized] and batch.original_sizes == [size]
    assert batch.padded_size == tuple(-(-side // 32) * 32 for side in resized)


def test_law_an_image_of_the_right_size_is_not_resampled():
    transform = ImageTransform(ImageConfig(min_size=(48,), max_size=100)).eval()
    image = torch.rand(3, 48, 70)
    batch, _ = transform([image])
    mean, std = (torch.tensor(v)[:, None, None] for v in (ImageConfig.mean, ImageConfig.std))
    assert torch.equal(batch.tensor[0, :, :48, :70], (image - mean) / std)
    assert batch.tensor.shape == (1, 3, 64, 96)
    assert batch.tensor[:, :, 48:].eq(0).all() and batch.tensor[..., 70:].eq(0).all()


def test_law_training_draws_among_the_sizes():
    transform = ImageTransform(ImageConfig(min_size=(32, 64), max_size=200))
    torch.manual_seed(0)
    drawn = {transform.train()([torch.rand(3, 50, 50)])[0].sizes[0] for _ in range(20)}
    assert drawn == {(32, 32), (64, 64)}
    assert transform.eval()([torch.rand(3, 50, 50)])[0].sizes == [(64, 64)]


def test_law_boxes_follow_the_image():
    boxes = torch.tensor([[10.0, 20.0, 30.0, 40.0]])
    assert rescale_boxes(boxes, (100, 200), (50, 400)).tolist() == [[20.0, 10.0, 60.0, 20.0]]
    assert rescale_boxes(boxes[:0], (100, 200), (50, 400)).shape == (0, 4)


@pytest.mark.parametrize("make, message", [
    (lambda: ImageConfig(std=(0.0, 1.0, 1.0)), "ImageConfig: std must be positive"),
    (lambda: ImageConfig(mean=(0.0,)), "ImageConfig: mean and std must have one number a channel"),
    (lambda: ImageConfig(min_size=()), "ImageConfig: min_size must hold positive sizes"),
    (lambda: DetectorConfig(rpn=RpnConfig(anchor_sizes=((32.0,),))),
     "DetectorConfig: rpn.anchor_sizes must have one entry for each of the 5 levels"),
    (lambda: RpnConfig(foreground_iou=0.2), "RpnConfig: background_iou must not exceed"),
    (lambda: RpnConfig(nms_threshold=1.5), "RpnConfig: nms_threshold must be between 0 and 1"),
    (lambda: MaskConfig(mask_format="png"), "MaskConfig: mask_format must be one of soft, bool"),
    (lambda: DetectorConfig(num_classes=1), "DetectorConfig: num_classes must be at least 2"),
])
def test_contract_wrong_configuration_says_so(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_contract_configuration_is_plain_data():
    def leaves(value):
        if isinstance(value, dict):
            return [leaf for item in value.values() for leaf in leaves(item)]
        if isinstance(value, list | tuple):
            return [leaf for item in value for leaf in leaves(item)]
        return [value]
    plain = dataclasses.asdict(DetectorConfig())
    assert all(leaf is None or isinstance(leaf, int | float | str | bool) for leaf in leaves(plain))
