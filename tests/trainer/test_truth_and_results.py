"""Annotations and results as people have them: perfect detections score 1, or a sentence says why they do not."""

import copy
import json
import warnings

import numpy as np
import pytest
from click.testing import CliRunner

from roikit import masks as rle
from roikit.cli import main
from roikit.errors import RoikitWarning
from roikit.trainer import coco_scores, evaluate

pycoco = pytest.importorskip("pycocotools.coco")
cocoeval = pytest.importorskip("pycocotools.cocoeval")

HEIGHT, WIDTH = 60, 80


def rectangle(x, y, w, h):
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def pixels(x, y, w, h):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y:y + h, x:x + w] = 1
    return mask


@pytest.fixture
def truth():
    """Three images with three rectangles each, of two categories."""
    content = {"images": [{"id": i, "file_name": f"{i}.png", "height": HEIGHT, "width": WIDTH} for i in (1, 2, 3)],
               "categories": [{"id": 1, "name": "bolt"}, {"id": 2, "name": "nut"}], "annotations": []}
    for image in (1, 2, 3):
        for k in range(3):
            box = [4 + 25 * k, 5 + 7 * image, 10 + k, 12 + 2 * image]
            content["annotations"].append({
                "id": len(content["annotations"]) + 1, "image_id": image, "category_id": 1 + k % 2, "bbox": box,
                "area": box[2] * box[3], "iscrowd": 0, "segmentation": [rectangle(*box)]})
    return content


@pytest.fixture
def found(truth):
    return [{"image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"], "score": 0.9,
             "segmentation": rle.encode(np.asfortranarray(pixels(*a["bbox"])))} for a in truth["annotations"]]


def aps(truth, found, kinds=("bbox", "segm"), **options):
    figures = evaluate(found, truth, iou_types=kinds, **options)
    return [round(figures[kind]["AP"], 6) for kind in kinds]


def each(change):
    def edit(truth):
        for k, annotation in enumerate(truth["annotations"]):
            change(k, annotation)
    return edit


def uncompressed(mask):
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    return {"size": list(mask.shape), "counts": np.diff([0, *ends, flat.size]).tolist()}


@pytest.mark.parametrize("edit", [
    each(lambda k, a: a.update(id=k)),
    each(lambda k, a: a.update(id=0)),
    each(lambda k, a: [a.pop(name) for name in ("id", "area", "iscrowd")]),
    each(lambda k, a: a.update(area=None, iscrowd=None, id=None)),
    each(lambda k, a: a.update(area=0)),
    each(lambda k, a: a.pop("bbox")),
    each(lambda k, a: a.update(bbox=None)),
    each(lambda k, a: a.update(bbox=[])),
    each(lambda k, a: a.update(image_id=float(a["image_id"]), category_id=str(a["category_id"]))),
    each(lambda k, a: a.update(segmentation=uncompressed(pixels(*a["bbox"])))),
    each(lambda k, a: a.update(bbox=np.array(a["bbox"], np.float32), area=np.float32(a["area"]), iscrowd=np.int64(0),
                               segmentation=[np.array(a["segmentation"][0])])),
    each(lambda k, a: a.update(segmentation=pixels(*a["bbox"]))),
    each(lambda k, a: a.update(segmentation=pixels(*a["bbox"]).astype((bool, float, np.int64)[k % 3]))),
    each(lambda k, a: a.update(segmentation=255 * pixels(*a["bbox"])[None])),
    each(lambda k, a: a.update(segmentation=pixels(*a["bbox"]).tolist())),
    lambda t: [i.update(height=None, width=None) for i in t["images"]],
    lambda t: t["categories"].insert(0, {"id": 0, "name": "all"}),
    lambda t: t["categories"][1].update(name="bolt"),
])
def test_law_perfect_detections_score_one_whatever_an_annotation_leaves_out(truth, found, edit):
    edit(truth)
    before = copy.deepcopy(truth)
    assert aps(truth, found) == [1.0, 1.0]
    assert str(truth) == str(before)


def test_law_one_object_with_id_0_is_found(truth, found):
    one = {**truth, "annotations": [{**truth["annotations"][0], "id": 0}], "images": truth["images"][:1]}
    assert aps(one, found[:1]) == [1.0, 1.0]


def array(result):
    return {**result, "segmentation": rle.decode(result["segmentation"])}


@pytest.mark.parametrize("form", [
    lambda r: {**r, "segmentation": uncompressed(rle.decode(r["segmentation"]))},
    lambda r: {**r, "segmentation": {**r["segmentation"], "counts": r["segmentation"]["counts"].decode()}},
    lambda r: {**r, "segmentation": {**r["segmentation"], "size": np.array([HEIGHT, WIDTH])}},
    lambda r: {**r, "segmentation": [rectangle(*r["bbox"])]},
    lambda r: {**r, "segmentation": [np.array(rectangle(*r["bbox"]))]},
    array,
    lambda r: {**r, "segmentation": array(r)["segmentation"].astype(bool)[None]},
    lambda r: {**r, "segmentation": array(r)["segmentation"] * 255},
    lambda r: {**r, "segmentation": array(r)["segmentation"].tolist()},
    lambda r: {k: v for k, v in r.items() if k != "bbox"},
    lambda r: {**r, "bbox": []},
    lambda r: {**r, "bbox": np.array(r["bbox"], np.float32), "score": np.float32(0.5),
               "image_id": np.int64(r["image_id"]), "category_id": np.int32(r["category_id"])},
    lambda r: {**r, "score": "0.5", "image_id": float(r["image_id"]), "category_id": str(r["category_id"])},
])
def test_law_perfect_detections_score_one_in_any_form(truth, found, form):
    assert aps(truth, [form(r) for r in found]) == [1.0, 1.0]


def test_law_what_training_leaves_out_is_not_punished(truth, found):
    truth["annotations"][0]["segmentation"] = []
    truth["annotations"][1]["segmentation"] = None
    for given in (found, found[2:]):  # found or not
        with pytest.warns(RoikitWarning, match="2 without a mask"):
            assert aps(truth, given, ("segm",)) == [1.0]
    assert aps(truth, found, ("bbox",)) == [1.0]
    assert aps(truth, found[2:], ("bbox",))[0] < 1  # they have boxes, which count


@pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning")
def test_law_an_object_whose_box_has_no_area_is_ignored(truth, found):
    truth["annotations"][0]["bbox"] = [10, 10, 0, 5]
    assert aps(truth, found) == aps(truth, found[1:]) == [1.0, 1.0]
    truth["annotations"][0]["segmentation"] = []
    assert aps(truth, found[1:]) == [1.0, 1.0]


def test_contract_an_empty_mask_among_the_results_is_a_detection_of_nothing(truth, found):
    found[0]["segmentation"] = []
    box, mask = aps(truth, found)
    assert box == 1.0 and mask < 1.0


@pytest.mark.parametrize("edit, sentence", [
    (each(lambda k, a: a.update(iscrowd=1)), "9 of 9 annotations are marked as crowds"),
    (each(lambda k, a: a.update(bbox=[v / 100 for v in a["bbox"]])), "fractions of the image"),
    (each(lambda k, a: a.update(segmentation=[a["segmentation"][0][:4]])), "polygons of two points have no area"),
    (each(lambda k, a: a.pop("segmentation")), "'segm' needs masks, and no annotation has one"),
    (each(lambda k, a: a.update(iscrowd="perhaps")), "iscrowd must be 0 or 1, got 'perhaps'"),
    (each(lambda k, a: a.update(area="large")), "its area must be a number, got 'large'"),
    (each(lambda k, a: a.update(bbox=[1, 2])), "annotation 1 of image 1: a box must be four numbers"),
    (lambda t: t.pop("categories"), "the file lists no categories; ids 1, 2 are used"),
    (lambda t: t["categories"].append({"id": 2, "name": "washer"}), "category id 2 occurs twice, of nut and of washer"),
    (lambda t: t["images"].append({**t["images"][0], "file_name": "9.png"}),
     "image id 1 occurs twice, of 1.png and of 9.png"),
    (lambda t: t["images"].append("4.png"), "image at place 3 must be a dict with an id, got '4.png'"),
    (lambda t: t["annotations"].append(None), "annotation at place 9 must be a dict, got None"),
])
def test_contract_annotations_of_no_use_get_a_sentence(truth, found, edit, sentence):
    edit(truth)
    with pytest.raises(ValueError, match=f"^evaluate: .*{sentence}"):
        aps(truth, found)


def test_contract_half_of_the_objects_as_crowds_is_said(truth, found):
    for annotation in truth["annotations"][:6]:
        annotation["iscrowd"] = 1
    with pytest.warns(RoikitWarning, match="6 of 9 annotations are marked as crowds"):
        aps(truth, found)


@pytest.mark.parametrize("edit, sentence", [
    (lambda r: r.pop("score"), "each result must have a score, .*; 1 of 9 have none, the first is result 4"),
    (lambda r: r.update(score=float("nan")), "must have a score"),
    (lambda r: r.update(score=[1]), "must have a score"),
    (lambda r: r.update(bbox=[1, 2, 3]), "result 4: its box must be x, y, width, height, got \\[1.0, 2.0, 3.0\\]"),
    (lambda r: r.update(bbox=[9, 9, float("inf"), 4]), "result 4: its box must be finite numbers"),
    (lambda r: r.update(bbox="wide"), "result 4: its box must be numbers, got 'wide'"),
    (lambda r: r.update(bbox=None, segmentation=None), "result 4: it has neither a box nor a mask"),
    (lambda r: r.pop("segmentation"), "'segm' needs 'segmentation' in every result, 1 of 9 have none"),
    (lambda r: r.update(segmentation={"size": [4, 4], "counts": [16]}), "result 4: the RLE is of an image of .4, 4."),
    (lambda r: r.update(segmentation={"size": [HEIGHT, WIDTH], "counts": "?!"}), "result 4: "),
    (lambda r: r.update(segmentation={}), "result 4: "),
    (lambda r: r.update(segmentation=[[1, 2, 3, 4]]), "result 4: a polygon has 2 points"),
    (lambda r: r.update(segmentation=np.zeros((4, 4))), "result 4: its mask must have the shape of the image"),
    (lambda r: r.update(segmentation=np.full((HEIGHT, WIDTH), 0.5)), "an array \\(H, W\\) of zeros and ones"),
    (lambda r: r.update(image_id="x"), "1 image id of the results is not in the annotations, among them \\['x'\\]"),
    (lambda r: r.update(image_id=[1]), "is not in the annotations"),
    (lambda r: r.update(file_name="1.png"), "either all results or none must have a file_name, 1 of 9 have"),
])
def test_contract_results_of_no_use_get_a_sentence(truth, found, edit, sentence):
    edit(found[4])
    with pytest.raises(ValueError, match=f"^evaluate: .*{sentence}"):
        aps(truth, found)


@pytest.mark.parametrize("box", [[9, 9, -3, 4], [9, 9, 3, -4], [9, 9, -3, -4]])
def test_agreement_of_a_box_of_negative_size_with_pycocotools(truth, found, box):
    found[4]["bbox"] = box
    coco, judged = pycoco.COCO(), cocoeval.COCOeval
    coco.dataset = copy.deepcopy(truth)
    coco.createIndex()
    results = [{k: v for k, v in r.items() if k != "segmentation"} for r in found]
    judge = judged(coco, coco.loadRes(copy.deepcopy(results)), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    with pytest.warns(RoikitWarning, match="1 of 9 results have a box of negative width or height"):
        figures = evaluate(results, truth)["bbox"]
    assert list(figures.values())[:12] == pytest.approx(judge.stats.tolist(), abs=1e-12) and figures["AR100"] < 1


def test_contract_categories_are_not_asked_for_where_they_do_not_matter(truth, found, tmp_path):
    named = [{**r, "category_name": "screw"} for r in found]
    for edit in (lambda t: t.pop("categories"), lambda t: t["categories"].clear(),
                 lambda t: (t.pop("categories"), [a.pop("category_id") for a in t["annotations"]])):
        content = copy.deepcopy(truth)
        edit(content)
        (tmp_path / "truth.json").write_text(json.dumps(content))
        for given in (content, tmp_path / "truth.json"):
            for results in (found, named, [{k: v for k, v in r.items() if k != "category_id"} for r in found]):
                assert aps(given, results, use_cats=False) == [1.0, 1.0]
        assert coco_scores(content, found, "bbox", use_cats=False)["AP"] == 1.0
        with pytest.raises(ValueError, match="categor"):
            aps(content, found)


def test_contract_unknown_categories_are_counted_and_the_others_scored(truth, found):
    more = [{**found[0], "category_id": i} for i in (7, 8, None)]
    with pytest.warns(RoikitWarning, match=r"left out 3 of 12 results, whose category ids \(7, 8, None\)"):
        assert aps(truth, found + more) == [1.0, 1.0]
    with pytest.raises(ValueError, match=r"category ids 7, 8, None of the results are not in .* which have 1, 2"):
        aps(truth, more)
    assert aps(truth, [{**r, "category_id": 7} for r in found], use_cats=False) == [1.0, 1.0]


@pytest.mark.parametrize("names", [
    {1: "1.png", 2: "2.png", 3: "3.png"},
    {1: "images/1.png", 2: "images/2.png", 3: "images/3.png"},
    {1: "images\\1.PNG", 2: "images\\2.PNG", 3: "images\\3.PNG"},
    {1: "/home/me/set/1.png", 2: "/home/me/set/2.png", 3: "/home/me/set/3.png"},
])
def test_law_file_names_say_which_image_a_result_is_of(truth, found, names):
    for record in truth["images"]:
        record["file_name"] = names[record["id"]]
        record["id"] = 40 - record["id"]
    for annotation in truth["annotations"]:
        annotation["image_id"] = 40 - annotation["image_id"]
    named = [{**r, "file_name": f"{r['image_id']}.png"} for r in found]
    assert aps(truth, named) == [1.0, 1.0]


def test_contract_file_names_that_fit_no_image_or_several(truth, found):
    named = [{**r, "file_name": f"photos/{r['image_id']}.png"} for r in found]
    truth["images"][0]["file_name"] = "first.png"
    with pytest.warns(RoikitWarning, match=r"1 of 3 images of the results .* photos/1\.png; their results are"):
        assert aps(truth, named)[0] < 1
    truth["images"][0]["file_name"] = "a/2.png"
    truth["images"][1]["file_name"] = "b/2.png"
    with pytest.raises(ValueError, match=r"2\.png of the results fits 2 images of the annotations: a/2\.png, b/2\.png"):
        aps(truth, [{**r, "file_name": "2.png"} for r in found])
    with pytest.raises(ValueError, match=r"b/2\.png of the annotations fits 2 file names of the results"):
        aps(truth, [{**r, "file_name": name} for r, name in zip(found, ["x/b/2.png", "y/b/2.png"], strict=False)])
    with pytest.raises(ValueError, match=r"3 of 3 images .*; the annotations have a/2\.png"):
        aps(truth, [{**r, "file_name": f"other{r['image_id']}.png"} for r in found])


@pytest.fixture
def keypoints(truth):
    """Objects of five keypoints."""
    for k, a in enumerate(truth["annotations"]):
        x, y, w, h = a["bbox"]
        a["keypoints"] = [v for i in range(5) for v in (x + i * w / 5, y + (i * 2 % 5) * h / 5, 2)]
        if k % 2:
            a["num_keypoints"] = 5
    return truth, [{"image_id": a["image_id"], "category_id": a["category_id"], "score": 0.5,
                    "keypoints": [float(v) for v in a["keypoints"]]} for a in truth["annotations"]]


def test_contract_keypoints_of_another_number_need_sigmas(keypoints):
    truth, found = keypoints
    with pytest.raises(ValueError, match="objects have 5 keypoints, .* are for 17: pass sigmas, 5 numbers"):
        coco_scores(truth, found, "keypoints")
    assert coco_scores(truth, found, "keypoints", sigmas=[0.05] * 5)["AP"] == 1.0
    with pytest.raises(ValueError, match="sigmas must be 5 numbers above 0"):
        coco_scores(truth, found, "keypoints", sigmas=[0.05] * 4)
    with pytest.raises(ValueError, match=r"the same number of keypoints, got \[4, 5\]"):
        coco_scores(truth, [{**found[0], "keypoints": found[0]["keypoints"][:12]}, *found[1:]], "keypoints",
                    sigmas=[0.05] * 5)


def test_contract_objects_without_keypoints_do_not_count(keypoints):
    truth, found = keypoints
    truth["annotations"][0].pop("keypoints")
    truth["annotations"][1]["keypoints"] = [0] * 15
    truth["annotations"][1].pop("num_keypoints")
    with pytest.warns(RoikitWarning, match="1 without keypoints"):
        assert coco_scores(truth, found[2:], "keypoints", sigmas=[0.05] * 5)["AP"] == 1.0


@pytest.fixture
def files(truth, found, tmp_path):
    for result in found:
        result["segmentation"] = {**result["segmentation"], "counts": result["segmentation"]["counts"].decode()}
    paths = tmp_path / "results.json", tmp_path / "truth.json"
    for path, content in zip(paths, (found, truth), strict=True):
        path.write_text(json.dumps(content))
    return paths


def command(*words):
    return CliRunner().invoke(main, [str(w) for w in words])


def test_contract_categories_of_predictions_are_paired_by_the_names_beside_them(files, truth, found):
    results, annotations = files
    exchanged = [{**r, "category_id": {1: 22, 2: 11}[r["category_id"]], "file_name": f"{r['image_id']}.png"}
                 for r in found]
    results.write_text(json.dumps(exchanged))
    beside = results.with_name("images.json")
    named = [{"id": i, "name": name} for i, name in ((11, "nut"), (22, "bolt"), (3, "x"))]
    beside.write_text(json.dumps({"categories": named, "images": [{"file_name": f"{i}.png"} for i in (1, 2, 3)]}))
    with pytest.warns(RoikitWarning, match=r"by name: nut \(11\) is nut \(2\), .*; only in the results: x"):
        figures = evaluate(results, annotations)
    assert figures["segm"]["per_class"] == {"bolt": 1.0, "nut": 1.0}
    for odd in ("[]", "{}", '{"images": [], "categories": [3]}', '{"images": [{"file_name": []}], "categories": []}'):
        beside.write_text(odd)
        assert "images.json must have images with file_name" in command("eval", results, annotations).output


def test_contract_annotated_images_that_were_not_predicted_are_said(files, found):
    results, annotations = files
    named = [{**r, "file_name": f"{r['image_id']}.png"} for r in found if r["image_id"] == 1]
    results.write_text(json.dumps(named))
    results.with_name("images.json").write_text(json.dumps({
        "images": [{"file_name": "1.png"}, {"file_name": "2.png"}],
        "categories": [{"id": 1, "name": "bolt"}, {"id": 2, "name": "nut"}]}))
    with pytest.warns(RoikitWarning, match="1 of 3 annotated images are not among those of the results; .* as missed"):
        assert evaluate(results, annotations)["bbox"]["AR100"] == pytest.approx(1 / 3)


def test_contract_byte_order_marks_are_read(files):
    for path in files:
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert evaluate(*files)["segm"]["AP"] == 1.0


def test_contract_the_command_takes_sigmas(keypoints, files):
    truth, found = keypoints
    files[0].write_text(json.dumps(found))
    files[1].write_text(json.dumps(truth))
    words = ["eval", *files, "--iou-type", "keypoints"]
    assert "pass sigmas, 5 numbers" in command(*words).output
    assert "AP 1.0000" in command(*words, "--sigmas", "0.05,0.05,0.05,0.05,0.05").output
    assert "numbers with commas" in command(*words, "--sigmas", "a").output


WHOLE = [b"", b"\x00\xff\x89PNG", b"{", b"null", b"3", b'"x"', b"[]", b"{}", b"[1]", b"[null]", b"[[]]", b"[" * 5000,
         b'{"images": []}', b'{"images": [], "annotations": [], "categories": []}',
         b'{"images": {}, "annotations": [], "categories": []}', b"\xff\xfe[\x00]\x00"]
ODD = [None, -1, 1e400, float("nan"), "", "x", "1", [], [None], {}, [[]], {"size": None}, True, [1, 2, 3, 4], 10**30]


def test_law_no_traceback_whatever_the_files_hold(files, truth, found):
    results, annotations = files
    cases = [(whole, None) for whole in WHOLE] + [(None, whole) for whole in WHOLE]
    for odd in ODD:
        for field in found[0]:
            cases.append((json.dumps([{**found[0], field: odd}, *found[1:]]).encode(), None))
        for field in truth["annotations"][0]:
            edited = [{**truth["annotations"][0], field: odd}, *truth["annotations"][1:]]
            cases.append((None, json.dumps({**truth, "annotations": edited}).encode()))
        for key in ("images", "categories"):
            for field in truth[key][0]:
                edited = [{**truth[key][0], field: odd}, *truth[key][1:]]
                cases.append((None, json.dumps({**truth, key: edited}).encode()))
    whole = results.read_bytes(), annotations.read_bytes()
    for first, second in cases:
        results.write_bytes(whole[0] if first is None else first)
        annotations.write_bytes(whole[1] if second is None else second)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ended = command("eval", results, annotations, "--iou-type", "bbox", "--iou-type", "segm")
        assert ended.exception is None or isinstance(ended.exception, SystemExit), (first, second, ended.exception)


def test_contract_folders_in_place_of_files(files, tmp_path):
    (tmp_path / "folder.json").mkdir()
    ended = command("eval", tmp_path / "folder.json", files[1])
    assert ended.exit_code == 1 and ended.output.splitlines() == [f"Error: {tmp_path / 'folder.json'}: Is a directory"]
