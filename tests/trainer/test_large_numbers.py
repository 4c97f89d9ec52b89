"""Numbers that no float and no size of an image can be: a ValueError wherever they stand."""

import copy
import warnings

import pytest

from roikit.trainer import evaluate

pytest.importorskip("pycocotools")

MASK = {"size": [9, 9], "counts": [10, 3, 68]}
TRUTH = {"images": [{"id": 1, "height": 9, "width": 9}, {"id": 2, "height": 9, "width": 9}],
         "categories": [{"id": 1, "name": "bolt"}],
         "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 1, 3], "area": 3,
                          "segmentation": MASK} for i in (1, 2)]}
FOUND = [{"image_id": i, "category_id": 1, "bbox": [1, 1, 1, 3], "score": 0.9, "segmentation": MASK} for i in (1, 2)]
WITHIN = {"bbox": lambda odd: [[1, 2, odd, 4]],
          "segmentation": lambda odd: [{"size": [odd, 3], "counts": [odd]}, {"size": [9, 9], "counts": [odd]},
                                       [[1, 2, 3, 4, 5, odd]]]}


@pytest.mark.parametrize("odd", [10**400, -10**400, 1e308, 2**70],
                         ids=["400 digits", "negative", "large float", "2^70"])
@pytest.mark.parametrize("part", ["images", "categories", "annotations", "results"])
def test_law_numbers_too_large_are_value_errors(part, odd):
    for field in FOUND[0] if part == "results" else TRUTH[part][0]:
        for value in WITHIN.get(field, lambda odd: [odd])(odd):
            truth, found = copy.deepcopy(TRUTH), copy.deepcopy(FOUND)
            (found if part == "results" else truth[part])[0][field] = value
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    evaluate(found, truth, iou_types=["bbox", "segm"])
                except ValueError as error:
                    assert str(error).startswith("evaluate: ")


@pytest.mark.parametrize("part, field", [("images", "height"), ("images", "width"), ("annotations", "area"),
                                         ("results", "score")])
def test_contract_the_field_is_named(part, field):
    truth, found = copy.deepcopy(TRUTH), copy.deepcopy(FOUND)
    (found if part == "results" else truth[part])[0][field] = 10**400
    with pytest.raises(ValueError, match=f"^evaluate: .*{field}"):
        evaluate(found, truth)
