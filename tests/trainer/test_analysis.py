"""What lies behind an average precision, against plain implementations, COCO's own figures and cases worked by hand."""

import json

import numpy as np
import pytest

from roikit.trainer.analysis import analyse, match_truth, write_analysis
from roikit.trainer.analysis.confusion import confusion
from roikit.trainer.analysis.error_kinds import ERRORS, error_costs, outcomes
from roikit.trainer.analysis.precision import best_threshold
from roikit.trainer.scores import coco_scores

from . import plain_analysis as plain

SIZE, CLASSES = 48, 3


def drawn_scene(seed, images=5):
    """Images with boxes, some found well, some badly, as another class, twice or not at all; scores have equals."""
    random = np.random.default_rng(seed)
    scene = []
    for _ in range(images):
        known, found = [], []
        for _ in range(random.integers(0, 7)):
            x, y, w, h = (int(v) for v in (*random.integers(0, 30, 2), *random.integers(4, 16, 2)))
            known.append((int(random.integers(CLASSES)), bool(random.random() < 0.15), (x, y, w, h)))
        for label, _, (x, y, w, h) in known:
            for _ in range(random.integers(0, 3)):
                shift = random.integers(-4, 5, 2) * (random.random() < 0.6)
                label = label if random.random() < 0.7 else int(random.integers(CLASSES))
                found.append((label, int(random.integers(1, 9)) / 8, (int(x + shift[0]), int(y + shift[1]), w, h)))
        if random.random() < 0.5:
            found.append((int(random.integers(CLASSES)), int(random.integers(1, 9)) / 8, (0, 0, 5, 5)))
        scene.append((found, known))
    return scene


def as_coco(scene, masks=False):
    """A scene as annotations and results."""
    content = {"images": [{"id": n, "width": SIZE, "height": SIZE, "file_name": f"{n}.png"}
                          for n in range(1, len(scene) + 1)],
               "categories": [{"id": 10 * c, "name": f"class {c}"} for c in range(CLASSES)], "annotations": []}
    results = []
    for n, (found, known) in enumerate(scene, start=1):
        for label, is_crowd, box in known:
            content["annotations"].append({"id": len(content["annotations"]) + 1, "image_id": n, "bbox": list(box),
                                           "category_id": 10 * label, "area": box[2] * box[3],
                                           "iscrowd": int(is_crowd)})
        results += [{"image_id": n, "category_id": 10 * label, "score": score, "bbox": list(box)}
                    for label, score, box in found]
    for item in (*content["annotations"], *results) if masks else ():
        x, y, w, h = item["bbox"]
        item["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    return content, results


def matches_of(scene):
    return match_truth(*as_coco(scene), "bbox")


pycocotools = pytest.importorskip("pycocotools")
quiet = pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning")


@quiet
@pytest.mark.parametrize("kind, masks", [("bbox", False), ("segm", True), ("rbox", True)])
@pytest.mark.parametrize("options", [{}, {"use_cats": False}, {"max_detections": 2}, {"image_ids": [4, 2]}])
def test_law_average_precision_is_cocos(kind, masks, options):
    for seed in range(4):
        content, results = as_coco(drawn_scene(seed), masks)
        if kind == "rbox":
            for item in results:
                x, y, w, h = item["bbox"]
                item["rbox"] = [x + w / 2, y + h / 2, w, h, 0.0]
        found = analyse(content, results, kind, **options)["classes"]
        limit = options.get("max_detections", 100)
        whole = coco_scores(content, results, kind, **{**options, "max_detections": [limit]})
        for name in ("AP", "AP50", "AP75"):
            means = [c[name] for c in found if c["objects"]]
            assert abs((np.mean(means) if means else -1.0) - whole[name]) < 1e-12, (seed, name)
        if options.get("use_cats", True):
            assert np.abs(np.array([c["AP"] for c in found]) - list(whole["per_class"].values())).max() < 1e-12


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_law_average_precision_of_real_objects_is_cocos(kind, test_data):
    truth = test_data / "coco-eval" / "instances_val2014_100.json"
    results = test_data / "coco-eval" / f"instances_val2014_fake{kind}100_results.json"
    found = {c["name"]: c["AP"] for c in analyse(truth, results, kind)["classes"]}
    assert found == pytest.approx(coco_scores(truth, results, kind)["per_class"], abs=1e-12)


@quiet
def test_law_confusions_are_those_of_the_plain_way():
    for seed in range(40):
        scene, matches = drawn_scene(seed), matches_of(drawn_scene(seed))
        for at, least in ((0, 0.5), (5, 0.75)):
            for threshold in (0.0, 0.5):
                assert confusion(matches, at, threshold).tolist() == plain.confusion(scene, CLASSES, least, threshold)


@quiet
def test_law_kinds_of_errors_and_costs_are_those_of_the_plain_way():
    seen = set()
    for seed in range(40):
        scene, matches = drawn_scene(seed), matches_of(drawn_scene(seed))
        found = error_costs(matches, *outcomes(matches))
        before, kinds = plain.costs(scene)
        assert found["AP50"] == pytest.approx(before, abs=1e-12)
        assert {name: (kind["count"], pytest.approx(kind["cost"], abs=1e-12))
                for name, kind in found["kinds"].items()} == kinds
        seen |= {name for name, (count, _) in kinds.items() if count}
    assert seen == {*ERRORS, "missed"}


@quiet
def test_law_nothing_costs_where_all_is_found():
    scene = [([(label, 0.9, box) for label, is_crowd, box in known], known) for _, known in drawn_scene(3)]
    found = analyse(*as_coco(scene), "bbox")
    assert all(kind == {"count": 0, "cost": 0.0} for kind in found["errors"]["kinds"].values())
    for counts in found["confusion"]["counts"]:
        assert counts and all(a == p for a, p, _ in counts)


def test_each_kind_of_error_by_hand():
    known = [(0, False, (0, 0, 10, 10)), (0, False, (20, 0, 10, 10)), (1, False, (0, 20, 10, 10)),
             (1, False, (30, 30, 10, 10))]
    found = [(0, 0.9, (0, 0, 10, 10)), (0, 0.8, (0, 0, 10, 10)),  # right, and found twice
             (0, 0.7, (25, 0, 10, 10)),  # a third of the second object
             (2, 0.6, (0, 20, 10, 10)),  # the third, as another class
             (2, 0.5, (5, 20, 10, 10)),  # and badly, too
             (1, 0.4, (40, 0, 5, 5))]  # nothing there
    matches = matches_of([(found, known)])
    kind, about = outcomes(matches)
    names = ("right", *ERRORS)
    told = {float(score): (names[k], int(g)) for score, k, g in zip(matches.scores, kind, about, strict=True)}
    assert told == {0.9: ("right", 0), 0.8: ("duplicate", 0), 0.7: ("localisation", 1), 0.6: ("classification", 2),
                    0.5: ("both", 2), 0.4: ("background", -1)}
    errors = error_costs(matches, kind, about)
    # Class 0: right, wrong, wrong; 51 of 101 recalls with precision 1. Class 1: nothing. Class 2 has no object.
    first = 51 / 101
    assert errors["AP50"] == pytest.approx(first / 2)
    costs = {name: value["cost"] for name, value in errors["kinds"].items()}
    assert costs["duplicate"] == pytest.approx(0)
    assert costs["localisation"] == pytest.approx((51 + 50 * 2 / 3) / 101 / 2 - first / 2)
    assert costs["classification"] == pytest.approx(first / 2)  # the half of class 1 before its error
    assert costs["missed"] == pytest.approx(0)  # one of two of class 1 counts no more, and the other is not found
    assert errors["kinds"]["missed"]["count"] == 1


def test_the_best_score_is_the_best_of_all():
    random = np.random.default_rng(0)
    for _ in range(50):
        scores = -np.sort(-random.integers(1, 8, 12) / 8)
        right = random.random(12) < 0.5
        found = best_threshold(scores, right, ~right, 9)
        tried = {s: 2 * right[scores >= s].sum() / ((scores >= s).sum() + 9) for s in np.unique(scores)}
        if not right.any():
            assert found is None
            continue
        assert found["f1"] == pytest.approx(max(tried.values()))
        assert found["score"] == max(s for s, f1 in tried.items() if f1 == max(tried.values()))
        kept = scores >= found["score"]
        assert found["precision"] == right[kept].mean() and found["recall"] == right[kept].sum() / 9


@quiet
def test_the_file_holds_the_figures(tmp_path):
    content, results = as_coco(drawn_scene(1))
    found = analyse(content, results, "bbox", score_threshold=0.25)
    write_analysis(tmp_path, {"bbox": found})
    assert json.loads((tmp_path / "analysis.json").read_text()) == {"bbox": found}
    assert found["confusion"]["score_threshold"] == 0.25
    for entry in found["classes"]:
        curves = np.array(entry["precision"])
        assert curves.shape == (10, 101) and curves.mean() == pytest.approx(entry["AP"], abs=1e-12)
        assert (np.diff(curves, axis=1) <= 0).all()


def test_no_results_and_classes_without_objects_have_figures():
    content, _ = as_coco([([], [(0, False, (0, 0, 10, 10))])])
    found = analyse(content, [], "bbox")
    first, second, _ = found["classes"]
    assert (first["AP"], first["recall"], first["best"]) == (0.0, 0.0, None)
    assert (second["AP"], second["objects"], second["precision"]) == (-1.0, 0, None)
    assert found["errors"]["kinds"]["missed"] == {"count": 1, "cost": 1.0}
    assert found["confusion"]["counts"][0] == [[0, 3, 1]]


def test_an_unknown_kind_and_an_unknown_image_are_sentences():
    content, results = as_coco(drawn_scene(0))
    with pytest.raises(ValueError, match="analyse: iou_type must be one of bbox, segm, rbox, got 'keypoints'"):
        analyse(content, results, "keypoints")
    with pytest.raises(ValueError, match="image_ids must be ids of annotated images, got 77"):
        analyse(content, results, "bbox", image_ids=[77])


@quiet
@pytest.mark.parametrize("iou", [0.5, 0.75, 0.3])
def test_the_chosen_iou_is_that_of_confusions_and_best_scores(iou):
    scene = drawn_scene(2)
    content, results = as_coco(scene)
    found = analyse(content, results, "bbox", iou=iou, score_threshold=0.25)
    other = analyse(content, results, "bbox")
    at = found["ious"].index(pytest.approx(iou))
    assert found["iou"] == pytest.approx(iou) and len(found["ious"]) == (11 if iou == 0.3 else 10)
    table = plain.confusion(scene, 3, iou, 0.25)
    assert found["confusion"]["counts"][at] == [[a, p, n] for a, row in enumerate(table)
                                                for p, n in enumerate(row) if n]
    for one, its in zip(found["classes"], other["classes"], strict=True):
        assert (one["AP"], one["AP50"], one["AP75"]) == (its["AP"], its["AP50"], its["AP75"])
        assert one["precision"] is None or len(one["precision"]) == len(found["ious"])
    assert found["errors"] == other["errors"]
    table = plain.confusion(scene, 3, iou, 0.0)
    for c, one in enumerate(found["classes"]):
        assert one["recall"] == (pytest.approx(table[c][c] / one["objects"]) if one["objects"] else -1)


def test_an_iou_that_is_none_is_a_sentence():
    content, results = as_coco(drawn_scene(0))
    for iou in (0, 1.5, "0.5", True, float("nan")):
        with pytest.raises(ValueError, match="analyse: iou must be a number above 0 and at most 1, got"):
            analyse(content, results, "bbox", iou=iou)
