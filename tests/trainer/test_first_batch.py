"""The picture of a step: as the network sees it, with every kind of thing to learn."""

import numpy as np
import pytest
import torch

from roikit.models import ImageConfig
from roikit.trainer import first_batch
from roikit.trainer.first_batch import batch_picture

pytest.importorskip("PIL.Image")

CATEGORIES = [{"id": 7, "name": "cell", "keypoints": ["a", "b"], "skeleton": [[1, 2]]}]


def target(**more):
    return {"boxes": torch.tensor([[4.0, 4, 20, 12]]), "labels": torch.tensor([1]), "image_id": 3, **more}


def drawn(value, *targets, most=8, size=(32, 48)):
    return batch_picture([torch.full((3, *size), value)] * len(targets), list(targets), CATEGORIES, ImageConfig(),
                         most=most)


def test_contract_images_lie_abreast_and_no_more_than_asked():
    one, four, five = (drawn(0.5, *[target()] * count) for count in (1, 4, 5))
    assert four.shape[0] == one.shape[0] and four.shape[1] > 4 * one.shape[1]
    assert five.shape[0] == 2 * one.shape[0] and five.shape[1] == four.shape[1]
    assert (drawn(0.5, *[target()] * 5, most=4) == four).all()


def test_contract_dark_stays_dark():
    picture = drawn(0.1, target())
    assert (picture[-40:, -40:] == round(0.1 * 255)).all()  # beside the object; the eye's stretching is left out


@pytest.mark.parametrize("more", [
    {"masks": [[np.array([4.0, 4, 20, 4, 20, 12])]]}, {"keypoints": torch.tensor([[[8.0, 8, 2], [16, 10, 2]]])},
    {"boxes": torch.tensor([[12.0, 8, 16, 8, 30.0]])}])
def test_contract_what_is_to_be_learnt_is_drawn(more):
    plain, other = drawn(0.2, target()), drawn(0.2, target(**more))
    assert plain.shape == other.shape and (plain != other).any()
    changed = np.argwhere((plain != other).any(-1))
    assert changed[:, 1].max() < plain.shape[1] * 0.6 and changed[:, 0].max() < plain.shape[0] * 0.7  # at its place


def test_contract_large_images_are_made_smaller_with_their_objects():
    masks = [[np.array([40.0, 40, 200, 40, 200, 120])]]
    boxes = torch.tensor([[40.0, 40, 200, 120]])
    large = drawn(0.2, target(boxes=boxes * 10, masks=[[ring * 10 for ring in masks[0]]]), size=(2000, 3000))
    assert large.shape == (20 + 512, 768, 3)
    small = drawn(0.2, target(boxes=boxes, masks=masks), size=(200, 300))
    colored = [np.argwhere(np.ptp(picture[20:].astype(int), axis=-1) > 0) / (picture.shape[0] - 20)
               for picture in (large, small)]
    for one, two in zip(*((part.min(0), part.max(0)) for part in colored), strict=True):
        np.testing.assert_allclose(one, two, atol=0.02)  # at the same place


def test_contract_classes_of_pixels():
    semantic = torch.zeros(32, 48, dtype=torch.uint8)
    semantic[:10, :10] = 1
    picture = batch_picture([torch.zeros(3, 32, 48)], [{"semantic": semantic, "image_id": 1}],
                            [{"id": 0, "name": "background"}, {"id": 1, "name": "cell"}], ImageConfig())
    assert picture[40, 20].any() and not picture[200, 200].any()


@pytest.mark.parametrize("preparation, words", [
    (ImageConfig(min_size=(64,), max_size=90), "image 3: 48x32 as 90x60, 1 objects"),
    (ImageConfig(min_size=(64, 128, 96), max_size=900), "image 3: 48x32 as 96x64 to 192x128, 1 objects"),
    (ImageConfig(min_size=(32,)), "image 3: 48x32, 1 objects"),
    (ImageConfig(resize_in_training=False), "image 3: 48x32, 1 objects")])
def test_case_titles_say_what_the_model_makes_of_it(monkeypatch, preparation, words):
    said = []
    monkeypatch.setattr(first_batch, "side_by_side", lambda pictures, titles: said.extend(titles) or pictures[0])
    batch_picture([torch.zeros(3, 32, 48)], [target()], CATEGORIES, preparation)
    assert said == [words]
