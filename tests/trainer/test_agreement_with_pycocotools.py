"""The figures of bbox, segm and keypoints are pycocotools': drawn cases with ties, crowds and objects of every size."""

import contextlib
import copy
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import masks as rle
from roikit.trainer.scores import coco_scores, figure_names

pycoco = pytest.importorskip("pycocotools.coco")
cocoeval = pytest.importorskip("pycocotools.cocoeval")
pytestmark = pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning")

HEIGHT, WIDTH = 160, 150
LIMITS = (1, 3, 6)


def drawn(seed):
    """Annotations and results; coordinates are multiples of 10, and scores of 1/8, so that many are equal."""
    random = np.random.default_rng(seed)
    images = [{"id": i, "file_name": f"{i}.png", "height": HEIGHT, "width": WIDTH} for i in (3, 7, 11)]
    content = {"info": {}, "images": images, "categories": [{"id": c, "name": str(c)} for c in (1, 4, 5)],
               "annotations": []}
    results = []
    for image in images:
        for k in range(random.integers(0, 16)):
            x, y, w, h = (int(v) * 10 for v in random.integers((0, 0, 1, 1), (8, 8, 8, 9)))
            if random.random() < 0.1:
                w, h = 110, 120  # a large one
            item = {"image_id": image["id"], "category_id": int(random.choice([1, 4, 5], p=[0.6, 0.3, 0.1]))}
            points = np.array([x, y, 0]) + random.uniform(0, 1, (17, 3)) * [w, h, 0]
            box = [x, y, w, h]
            if k % 2:
                seen = random.integers(0, 3, 17) * (random.random() < 0.8)
                points[:, 2] = seen
                content["annotations"].append({
                    **item, "id": len(content["annotations"]) + 1, "bbox": box, "iscrowd": int(random.random() < 0.15),
                    "area": w * h - 50, "segmentation": mask(box, random), "keypoints": points.ravel().tolist(),
                    "num_keypoints": int((seen > 0).sum())})
            else:
                results.append({**item, "bbox": box, "score": int(random.integers(1, 8)) / 8,
                                "segmentation": mask(box, random), "keypoints": points.ravel().tolist()})
    for a in content["annotations"]:
        if random.random() < 0.6:
            near = np.array(a["keypoints"]).reshape(17, 3) + random.normal(0, random.uniform(0, 4), (17, 3))
            results.append({k: a[k] for k in ("image_id", "category_id", "bbox", "segmentation")} | {
                "score": int(random.integers(1, 8)) / 8, "keypoints": near.ravel().tolist()})
    return content, results


def mask(box, random):
    x, y, w, h = box
    bitmap = np.zeros((HEIGHT, WIDTH), np.uint8)
    bitmap[y:y + h, x:x + w] = 1
    if random.random() < 0.5:
        bitmap[y:y + h // 2, x:x + w // 2] = 0
    found = rle.encode(bitmap)
    return {**found, "counts": found["counts"].decode()}


def theirs(content, results, kind, use_cats, images):
    fields = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}
    results = [{k: r[k] for k in ("image_id", "category_id", "score", fields[kind])} for r in results]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = pycoco.COCO()
        coco.dataset = copy.deepcopy(content)
        coco.createIndex()
        judge = cocoeval.COCOeval(coco, coco.loadRes(copy.deepcopy(results)), kind)
        judge.params.useCats = use_cats
        judge.params.maxDets = list(LIMITS[-1:] if kind == "keypoints" else LIMITS)
        if images is not None:
            judge.params.imgIds = images
        judge.evaluate()
        judge.accumulate()
    return judge.eval["precision"], judge.eval["recall"]


def mean(values):
    values = values[values > -1]
    return np.mean(values) if values.size else -1.0


def summary(precision, recall, kind):
    """What pycocotools' summary prints, at the last limit for every AP."""
    sizes = range(1, precision.shape[3])
    ap = [mean(precision[..., 0, -1]), mean(precision[0, ..., 0, -1]), mean(precision[5, ..., 0, -1]),
          *(mean(precision[..., a, -1]) for a in sizes)]
    if kind == "keypoints":
        return [*ap, mean(recall[..., 0, -1]), mean(recall[0, ..., 0, -1]), mean(recall[5, ..., 0, -1]),
                *(mean(recall[..., a, -1]) for a in sizes)]
    return [*ap, *(mean(recall[..., 0, m]) for m in range(3)), *(mean(recall[..., a, -1]) for a in sizes)]


@pytest.mark.parametrize("kind", ["bbox", "segm", "keypoints"])
@given(seed=st.integers(0, 2**32 - 1), use_cats=st.booleans(), some=st.booleans())
def test_agreement_of_all_figures(kind, seed, use_cats, some):
    content, results = drawn(seed)
    if not results or not content["annotations"] or all(a["iscrowd"] for a in content["annotations"]):
        return  # pycocotools reads no empty results, and roikit no file of crowds alone
    use_cats |= kind == "keypoints"  # whose similarities pycocotools does not compute across categories
    images = [11, 3] if some else None
    own = coco_scores(content, results, kind, max_detections=LIMITS, use_cats=use_cats, image_ids=images)
    precision, recall = theirs(content, results, kind, use_cats, images)
    names = figure_names(kind, LIMITS)
    assert [own[name] for name in names] == pytest.approx(summary(precision, recall, kind), abs=1e-12, rel=0)
    if use_cats:
        assert list(own["per_class"].values()) == pytest.approx(
            [mean(precision[:, :, k, 0, -1]) for k in range(3)], abs=1e-12, rel=0)


def test_drawn_cases_have_what_they_are_drawn_for():
    figures = [coco_scores(*drawn(seed), kind, max_detections=LIMITS) for seed in range(8)
               for kind in ("bbox", "segm", "keypoints")]
    assert all(0.1 < np.mean([f[name] for f in figures if f[name] >= 0]) < 0.9 for name in ("AP", "APm", "APl"))


@pytest.mark.parametrize("ids", [lambda k: k, lambda k: 0, lambda k: 7, lambda k: None, lambda k: -k])
def test_annotation_ids_do_not_matter(ids):
    content, results = drawn(5)
    wanted = coco_scores(content, results, "bbox")
    for k, annotation in enumerate(content["annotations"]):
        annotation["id"] = ids(k)
    assert coco_scores(content, results, "bbox") == wanted


def test_files_without_info_and_numbers_of_numpy_score_alike():
    content, results = drawn(6)
    wanted = coco_scores(content, results, "segm")
    content.pop("info")
    for one in (*content["annotations"], *results):
        one.update(bbox=np.array(one["bbox"], np.float32), image_id=np.int64(one["image_id"]))
        if "score" in one:
            one["score"] = np.float64(one["score"])
        else:
            one.update(area=np.float32(one["area"]), iscrowd=np.bool_(one["iscrowd"]))
    assert coco_scores(content, results, "segm") == wanted


def test_a_missing_area_is_that_of_the_mask_or_the_box():
    content, results = drawn(6)
    for annotation in content["annotations"]:
        annotation["area"] = int(rle.area(annotation["segmentation"]))
    wanted = [coco_scores(content, results, kind) for kind in ("bbox", "segm")]
    for annotation in content["annotations"]:
        del annotation["area"]
    assert [coco_scores(content, results, kind) for kind in ("bbox", "segm")] == wanted


def test_no_results_find_nothing():
    content, _ = drawn(6)
    figures = coco_scores(content, [], "bbox")
    assert figures["AP"] == figures["AR100"] == 0.0
