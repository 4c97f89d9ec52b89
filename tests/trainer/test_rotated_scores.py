"""Average precision over rotated overlaps against a plain implementation, which shares nothing with it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit.trainer import evaluate
from roikit.trainer.evaluation import coco_results, score
from roikit.trainer.scores import coco_scores, figure_names

pytest.importorskip("pycocotools")

STEPS = [k / 100 for k in range(101)]


# A plain implementation: polygons clipped by half planes, sets walked through one by one.

def corners(box):
    cx, cy, w, h, degrees = box
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [(cx + x * cos + y * sin, cy - x * sin + y * cos)
            for x, y in ((-w / 2, -h / 2), (w / 2, -h / 2), (w / 2, h / 2), (-w / 2, h / 2))]


def side(a, b, p):
    return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])


def common_area(one, other):
    polygon, window = corners(one), corners(other)
    for a, b in zip(window, window[1:] + window[:1], strict=True):
        kept = []
        for p, q in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            at_p, at_q = side(a, b, p), side(a, b, q)
            if at_p >= 0:
                kept.append(p)
            if at_p * at_q < 0:
                part = at_p / (at_p - at_q)
                kept.append((p[0] + part * (q[0] - p[0]), p[1] + part * (q[1] - p[1])))
        polygon = kept
        if not polygon:
            return 0.0
    return abs(sum(p[0] * q[1] - p[1] * q[0] for p, q in zip(polygon, polygon[1:] + polygon[:1], strict=True))) / 2


def overlap(found, item, crowd=False):
    common = common_area(found, item)
    return common / (found[2] * found[3] if crowd else found[2] * found[3] + item[2] * item[3] - common)


def plain_coco(truth, found, threshold):
    """AP of one category at one threshold; objects (image, box, crowd), found (image, box, score)."""
    marks = []
    for image in {item[0] for item in truth} | {item[0] for item in found}:
        own = sorted((item for item in truth if item[0] == image), key=lambda item: item[2])
        taken = set()
        for _, box, value in sorted((f for f in found if f[0] == image), key=lambda f: -f[2]):
            best, match = threshold, None
            for k, (_, other, crowd) in enumerate(own):
                if k in taken and not crowd:
                    continue
                if match is not None and not own[match][2] and crowd:
                    break
                if (iou := overlap(box, other, crowd)) >= best:
                    best, match = iou, k
            if match is None:
                marks.append((value, 0))
            elif not own[match][2]:
                taken.add(match)
                marks.append((value, 1))
    total = sum(not crowd for _, _, crowd in truth)
    if not total:
        return None
    curve, right, wrong = [], 0, 0
    for _, mark in sorted(marks, key=lambda m: -m[0]):
        right, wrong = right + mark, wrong + 1 - mark
        curve.append((right / total, right / (right + wrong)))
    return sum(max((p for r, p in curve if r >= step), default=0.0) for step in STEPS) / 101


def plain_voc(truth, found, eleven):
    total = sum(not ignored for _, _, ignored in truth)
    if not total:
        return None
    taken, curve, right, wrong = set(), [], 0, 0
    for image, box, _ in sorted(found, key=lambda f: -f[2]):
        own = [(overlap(box, other), -k) for k, (where, other, _) in enumerate(truth) if where == image]
        best, k = max(own, default=(0.0, 0))
        if best > 0.5 and truth[-k][2]:
            continue
        hit = best > 0.5 and -k not in taken
        taken.add(-k) if hit else None
        right, wrong = right + hit, wrong + (not hit)
        curve.append((right / total, right / (right + wrong)))
    if eleven:
        return sum(max((p for r, p in curve if r >= k / 10), default=0.0) for k in range(11)) / 11
    area, before = 0.0, 0.0
    for i, (recall, _) in enumerate(curve):
        area += (recall - before) * max(p for _, p in curve[i:])
        before = recall
    return area


def content(truth):
    """COCO annotations of {category: [(image, box, crowd)]} in 3 images."""
    return {"images": [{"id": i, "width": 100, "height": 100, "file_name": f"{i}.png"} for i in (1, 2, 3)],
            "categories": [{"id": c, "name": f"c{c}"} for c in (1, 2)],
            "annotations": [{"id": k, "image_id": image, "category_id": c, "rbox": list(box), "iscrowd": int(crowd)}
                            for k, (c, image, box, crowd) in enumerate(
                                ((c, *item) for c, items in truth.items() for item in items), start=1)]}


def results(found):
    return [{"image_id": image, "category_id": c, "rbox": list(box), "score": value}
            for c, items in found.items() for image, box, value in items]


def drawn(seed, objects=12, misses=4):
    """Objects and detections near some of them; no overlap lies near a threshold, no two scores are equal."""
    rng = np.random.default_rng(seed)

    def box():
        return [*rng.uniform(25, 75, 2), *rng.uniform(8, 40, 2), rng.uniform(-180, 180)]

    truth, found = {}, {}
    for c in (1, 2):
        truth[c] = [(int(rng.integers(1, 4)), box(), k == 0 and c == 1) for k in range(objects)]
        moved = [(image, [v + d for v, d in zip(b, rng.normal(0, [2, 2, 1, 1, 6]), strict=True)], rng.random())
                 for image, b, _ in truth[c] for _ in range(int(rng.integers(0, 3)))]
        found[c] = [(i, [*b[:2], *np.abs(b[2:4]), b[4]], v) for i, b, v in moved]
        found[c] += [(int(rng.integers(1, 4)), box(), rng.random()) for _ in range(misses)]
    return truth, found


@pytest.mark.parametrize("seed", range(8))
def test_agreement_with_the_plain_implementation(seed):
    truth, found = drawn(seed)
    got = coco_scores(content(truth), results(found), "rbox", max_detections=(1, 10, 1000))
    for name, threshold in (("AP50", 0.5), ("AP75", 0.75)):
        want = np.mean([plain_coco(truth[c], found[c], threshold) for c in (1, 2)])
        assert got[name] == pytest.approx(want, abs=1e-9), name
    want = np.mean([plain_coco(truth[c], found[c], 0.5 + k / 20) for c in (1, 2) for k in range(10)])
    assert got["AP"] == pytest.approx(want, abs=1e-9) and 0.02 < got["AP"] < 0.98
    for name, eleven in (("VOC07", True), ("VOC12", False)):
        want = np.mean([plain_voc(truth[c], found[c], eleven) for c in (1, 2)])
        assert got[name] == pytest.approx(want, abs=1e-9), name
    assert [name for name in got if name != "per_class"] == figure_names("rbox", (1, 10, 1000))


@given(st.integers(0, 10**6))
def test_law_the_truth_scores_1_and_nothing_scores_0(seed):
    truth, _ = drawn(seed, objects=3, misses=0)
    exact = {c: [(image, box, 0.5 + k / 100) for k, (image, box, crowd) in enumerate(items) if not crowd]
             for c, items in truth.items()}
    got = coco_scores(content(truth), results(exact), "rbox")
    assert [got[name] for name in ("AP", "VOC07", "VOC12")] == pytest.approx([1, 1, 1], abs=1e-12)
    none = coco_scores(content(truth), [], "rbox")
    assert none["AP"] == none["VOC07"] == none["VOC12"] == 0.0


@given(st.integers(0, 10**6))
def test_law_a_turn_by_half_a_circle_or_a_quarter_with_exchanged_sides_changes_nothing(seed):
    truth, found = drawn(seed, objects=3)
    other = {c: [(image, (x, y, h, w, a + 90) if k % 2 else (x, y, w, h, a - 180), value)
                 for k, (image, (x, y, w, h, a), value) in enumerate(items)] for c, items in found.items()}
    one, two = (coco_scores(content(truth), results(f), "rbox", per_class=False) for f in (found, other))
    assert one == pytest.approx(two, abs=1e-9)


def test_law_boxes_without_a_turn_score_as_upright_ones():
    truth, found = drawn(3)
    flat = [{c: [(i, (*b[:4], 0.0), v) for i, b, v in items] for c, items in d.items()} for d in (truth, found)]
    gt, dt = content(flat[0]), results(flat[1])
    for item in (*gt["annotations"], *dt):
        x, y, w, h, _ = item["rbox"]
        item["bbox"] = [x - w / 2, y - h / 2, w, h]
    rotated, upright = coco_scores(gt, dt, "rbox"), coco_scores(gt, dt, "bbox")
    for name, value in upright.items():
        assert rotated[name] == pytest.approx(value, abs=1e-9), name


def test_objects_may_be_four_corners_or_masks_and_are_the_same():
    box = (50.0, 40.0, 30.0, 12.0, -35.0)
    points = [v for xy in corners(box) for v in xy]
    found = [{"image_id": 1, "category_id": 1, "rbox": [50, 40, 12, 30, 55], "score": 0.5}]
    for field in ({"obb": points}, {"rbox": list(box)}, {"obb": list(box)}, {"segmentation": [points]}):
        gt = {"images": [{"id": 1, "width": 100, "height": 100}], "categories": [{"id": 1, "name": "a"}],
              "annotations": [{"id": 1, "image_id": 1, "category_id": 1, **field}]}
        # A mask's pixels stand out from the polygon.
        figure = "AP50" if "segmentation" in field else "AP"
        assert coco_scores(gt, found, "rbox")[figure] == pytest.approx(1, abs=1e-12), field
    assert evaluate(found, gt).keys() == {"rbox"}


@pytest.mark.parametrize("field, sentence", [
    ({"rbox": [1, 2, 3]}, "annotation 1 of image 1: its rbox must be cx, cy, w, h and an angle, or four corners"),
    ({"rbox": [5, 5, -3, 4, 0]}, "its rbox must have positive sides"),
    ({"obb": [5, 5, 3, 4, float("nan")]}, "its obb must be finite"),
    ({"bbox": [5, 5, 3, 4]}, "iou_type 'rbox' needs rotated boxes"),
])
def test_contract_malformed_rotated_boxes_are_named(field, sentence):
    gt = {"images": [{"id": 1, "width": 9, "height": 9}], "categories": [{"id": 1, "name": "a"}],
          "annotations": [{"id": 1, "image_id": 1, "category_id": 1, **field}]}
    with pytest.raises(ValueError, match=sentence):
        coco_scores(gt, [], "rbox")


def test_contract_results_without_rotated_boxes_are_named():
    truth, found = drawn(0)
    some = results(found)
    with pytest.raises(ValueError, match="iou_type 'rbox' needs 'rbox' in every result"):
        coco_scores(content(truth), [{**some[0], "rbox": None}], "rbox")
    with pytest.raises(ValueError, match="its rbox must be cx, cy, w, h and an angle"):
        coco_scores(content(truth), [{**some[0], "rbox": [1, 2, 3, 4]}], "rbox")


def test_what_a_model_gives_becomes_results_that_are_scored():
    import torch
    output = {"boxes": torch.tensor([[50.0, 40.0, 30.0, 10.0, 90.0]]), "labels": torch.tensor([2]),
              "scores": torch.tensor([0.75])}
    found = coco_results(output, 1, [1, 2])
    assert found == [{"image_id": 1, "category_id": 2, "bbox": pytest.approx([45, 25, 10, 30]), "score": 0.75,
                      "rbox": [50.0, 40.0, 30.0, 10.0, 90.0]}]
    gt = content({2: [(1, (50.0, 40.0, 10.0, 30.0, 0.0), False)]})
    assert score(gt, found)["rbox"]["AP"] == pytest.approx(1, abs=1e-12)
