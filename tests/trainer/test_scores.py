"""roikit's evaluation path against the COCO API's published example and its odd inputs."""

import json
from pathlib import Path

import pytest

from roikit.errors import RoikitWarning
from roikit.trainer import evaluate
from roikit.trainer.scores import coco_scores, figure_names, table

pytest.importorskip("pycocotools")

DATA = Path(__file__).parents[1] / "data" / "coco_eval"
EXPECTED = json.loads((DATA / "expected.json").read_text())


@pytest.mark.parametrize("case", sorted(EXPECTED))
def test_agreement_with_the_published_coco_figures(case):
    want = EXPECTED[case]
    got = evaluate(DATA / want["results"], DATA / want["gt"], iou_types=[want["iou_type"]],
                          use_cats=bool(want.get("use_cats", 1)))[want["iou_type"]]
    assert set(want["stats"]) == set(got) - {"per_class"}
    assert figure_names(want["iou_type"], (1, 10, 100)) == [name for name in got if name != "per_class"]
    for name, value in want["stats"].items():
        assert got[name] == pytest.approx(value, abs=1e-12, rel=0), name


def test_agreement_of_class_means_with_the_overall_ap():
    want = EXPECTED["bbox"]
    got = coco_scores(DATA / want["gt"], DATA / want["results"], "bbox")
    classes = [v for v in got["per_class"].values() if v >= 0]
    assert got["AP"] == pytest.approx(sum(classes) / len(classes), abs=1e-12)


def test_law_a_limit_above_every_count_leaves_ap_as_it_is():
    want = EXPECTED["segm"]
    got = coco_scores(DATA / want["gt"], DATA / want["results"], "segm",
                      max_detections=(1, 10, 200))
    assert got["AP"] == pytest.approx(want["stats"]["AP"], abs=1e-12)
    assert got["AR200"] == pytest.approx(want["stats"]["AR100"], abs=1e-12)
    assert "AR100" not in got
    assert figure_names("segm", (1, 10, 200)) == [name for name in got if name != "per_class"]


def test_law_ap_counts_the_detections_up_to_the_last_limit():
    boxes = [[20 * (i % 20), 20 * (i // 20), 10, 10] for i in range(150)]
    truth = {"images": [{"id": 7, "width": 400, "height": 400}],
             "categories": [{"id": 3, "name": "cell"}],
             "annotations": [{"id": i + 1, "image_id": 7, "category_id": 3, "bbox": b,
                              "area": 100} for i, b in enumerate(boxes)]}
    found = [{"image_id": 7, "category_id": 3, "bbox": b, "score": 1 - i / 1000}
             for i, b in enumerate(boxes)]
    assert coco_scores(truth, found, "bbox", max_detections=(1, 10, 200))["AP"] == 1.0
    at_100 = coco_scores(truth, found, "bbox")
    assert at_100["AP"] == pytest.approx(67 / 101)  # recall stops at 100 of 150
    assert at_100["AR100"] == pytest.approx(100 / 150)


def test_contract_truth_given_as_data_is_left_alone():
    truth = json.loads((DATA / "instances_val2014_100.json").read_text())
    before = json.dumps(truth)
    coco_scores(truth, DATA / EXPECTED["segm"]["results"], "segm", per_class=False)
    assert json.dumps(truth) == before


def test_contract_no_detection_scores_zero_and_warns():
    with pytest.warns(RoikitWarning, match="AP is exactly 0"):
        got = evaluate([], DATA / "instances_val2014_100.json", iou_types=["bbox"])
    assert got["bbox"]["AP"] == 0.0
    assert got["bbox"]["AR100"] == 0.0


def test_contract_errors_name_what_came():
    truth = DATA / "instances_val2014_100.json"
    with pytest.raises(ValueError, match="iou_type must be one of .*got 'mask'"):
        coco_scores(truth, [], "mask")
    with pytest.raises(ValueError, match="max_detections must be ascending"):
        coco_scores(truth, [], "bbox", max_detections=(10, 1))
    with pytest.raises(ValueError, match="not in the annotations, among them \\[-1\\]"):
        coco_scores(truth, [{"image_id": -1, "category_id": 1, "bbox": [0, 0, 1, 1],
                             "score": 1.0}], "bbox")
    with pytest.raises(ValueError, match="must be a list of COCO results, got dict"):
        coco_scores(truth, {}, "bbox")
    with pytest.raises(ValueError, match="'segm' needs 'segmentation'"):
        coco_scores(truth, EXPECTED_BOX, "segm")


EXPECTED_BOX = [{"image_id": 42, "category_id": 18, "bbox": [1, 2, 3, 4], "score": 0.5}]


def test_contract_table_has_a_line_a_kind():
    lines = table({"bbox": {"AP": 0.5, "APl": -1.0, "per_class": {"a": 0.5}}}).splitlines()
    assert len(lines) == 1
    assert "AP 0.5000" in lines[0] and "APl    -" in lines[0]
