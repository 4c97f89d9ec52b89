"""Test-time augmentation: views of an image, turned back and put together."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from roikit import masks as rle
from roikit.models.configs import ImageConfig
from roikit.models.parts.image import ImageTransform
from roikit.trainer.views import Views, check_views, in_views, views_of


def seen(image):
    """Objects of an image whose pixels are numbers: each number is one, of class 1, with its own score."""
    numbers = image[0].numpy().round().astype(int)
    masks = [numbers == k for k in np.unique(numbers) if k]
    rles = rle.encode(np.asfortranarray(np.stack(masks, -1), np.uint8)) if masks else []
    boxes = rle.toBbox(rles) if masks else np.zeros((0, 4))
    boxes[:, 2:] += boxes[:, :2]
    return {"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), "masks": rles,
            "labels": torch.ones(len(masks), dtype=torch.int64),
            "scores": torch.tensor([numbers[mask].max() / 10 for mask in masks])}


def run(images):
    return [seen(image) for image in images], 1.0, 2.0


IMAGE = torch.zeros(3, 20, 30)
IMAGE[:, 2:9, 3:8] = 9
IMAGE[:, 5:9, 3:5] = 0  # not symmetrical
IMAGE[:, 10:14, 18:29] = 6


@pytest.mark.parametrize("flips", [(), ("horizontal",), ("vertical",), ("both",), ("horizontal", "vertical", "both")])
def test_law_views_of_an_exact_model_change_nothing(flips):
    whole = seen(IMAGE)
    (output,), *spent = in_views(run, None, Views(flips), limit=100)([IMAGE])
    order = whole["scores"].argsort(descending=True)
    assert output["masks"] == [whole["masks"][k] for k in order] and output["labels"].tolist() == [1, 1]
    for name in ("boxes", "scores"):
        torch.testing.assert_close(output[name], whole[name][order], check_dtype=False)
    assert spent == [1.0 * (1 + len(flips)), 2.0 * (1 + len(flips))]


def test_law_the_model_sees_each_view_once_and_at_its_scale():
    sizes, image = [], torch.rand(3, 20, 30)
    model = SimpleNamespace(transform=ImageTransform(ImageConfig(min_size=(40,), max_size=100)).eval())

    def noted(images):
        sizes.append(tuple(model.transform(images)[0].sizes[0]))
        return [seen(images[0] * 0)], 0.0, 0.0

    config = model.transform.config
    (output,), *_ = in_views(noted, model, Views(("horizontal",), (0.5, 1.0, 2.0)), limit=9)([image])
    assert sizes == [(20, 30)] * 2 + [(40, 60)] * 2 + [(80, 120)] * 2
    assert model.transform.config is config and output["boxes"].shape == (0, 4) and output["masks"] == []
    model.transform.config = ImageConfig(resize=False)
    sizes.clear()
    in_views(noted, model, Views((), (0.5, 1.0, 1.5)), limit=9)([image])
    assert sizes == [(10, 15), (20, 30), (30, 45)]

    def broken(images):
        raise MemoryError

    with pytest.raises(MemoryError):
        in_views(broken, model, Views((), (0.5,)), limit=9)([image])
    assert model.transform.config == ImageConfig(resize=False)


def found(masks, scores):
    rles = rle.encode(np.asfortranarray(np.stack(masks, -1), np.uint8))
    boxes = rle.toBbox(rles)
    boxes[:, 2:] += boxes[:, :2]
    return {"boxes": torch.tensor(boxes, dtype=torch.float32), "masks": rles, "scores": torch.tensor(scores),
            "labels": torch.ones(len(masks), dtype=torch.int64), "mask_scores": torch.tensor(scores) / 2}


def square(y, x, side):
    mask = np.zeros((20, 20), bool)
    mask[y:y + side, x:x + side] = True
    return mask


def test_law_what_few_views_show_loses_score_and_masks_are_voted_on():
    views = iter([found([square(2, 2, 8)], [0.9]), found([square(2, 3, 8), square(12, 12, 5)], [0.6, 0.9]),
                  found([square(3, 2, 8)], [0.6])])

    def shown(images):
        output = next(views)
        return [output], 0.0, 0.0

    identity = Views(scales=(1.0, 1.0, 1.0))
    (output,), *_ = in_views(shown, None, identity, limit=9)([torch.zeros(3, 20, 20)])
    assert output["scores"].tolist() == pytest.approx([0.7, 0.3])
    assert output["mask_scores"].tolist() == pytest.approx([0.35, 0.15])
    votes = 0.9 * square(2, 2, 8) + 0.6 * square(2, 3, 8) + 0.6 * square(3, 2, 8)
    assert (rle.decode(output["masks"][0]) == (votes >= 1.05)).all()
    assert (rle.decode(output["masks"][1]) == square(12, 12, 5)).all()
    for options, count in (({"limit": 1}, 1), ({"limit": 9, "threshold": 0.5}, 1), ({"limit": 9, "threshold": 0.8}, 0)):
        views = iter([found([square(2, 2, 8), square(12, 12, 5)], [0.7, 0.3])] * 3)
        (output,), *_ = in_views(shown, None, identity, **options)([torch.zeros(3, 20, 20)])
        assert len(output["masks"]) == len(output["boxes"]) == count


def test_contract_views_that_make_no_sense_are_refused():
    assert views_of((), ()) is None
    assert views_of("both", ()) == Views(("both",)) and views_of((), [2]) == Views((), (2,))
    with pytest.raises(ValueError, match="tta_flips must be of horizontal, vertical, both, got up"):
        Views(("up",))
    for scales in ((), (0,), (float("nan"),), (99,)):
        with pytest.raises(ValueError, match=r"tta_scales must be numbers from 0\.1 to 10"):
            Views((), scales)
    model = SimpleNamespace(keypoint=None, boxes="upright")
    check_views(model)
    for change, what in (({"keypoint": 1}, "keypoints"), ({"boxes": "rotated"}, "rotated boxes")):
        with pytest.raises(ValueError, match=f"this model has {what}"):
            check_views(SimpleNamespace(**{**vars(model), **change}))
