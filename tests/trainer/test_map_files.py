"""Panoptic files and folders of label maps that are there already, against annotated ones."""

import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given

from roikit.cli import main
from roikit.data import write_panoptic
from roikit.errors import RoikitWarning
from roikit.trainer import evaluate, panoptic_quality, pixel_quality
from roikit.trainer.pixel_scores import confusion, pixel_scores

from .plain_panoptic_scores import plain_quality
from .test_panoptic_scores import CATEGORIES, NAMES, THINGS, images

image = pytest.importorskip("PIL.Image")

CATEGORY_RECORDS = [{"id": i, "name": name, "isthing": int(thing)}
                    for i, name, thing in zip(CATEGORIES, NAMES, THINGS, strict=True)]


def written(path, cases, categories=CATEGORY_RECORDS):
    """A panoptic file of (ids, segments) of images 1, 2, ...; pixels of unlisted segments are void."""
    images = []
    for number, (ids, segments) in enumerate(cases, start=1):
        kept = [s for s in segments if s["category"] is not None]
        images.append(({"id": number, "file_name": f"{number}.jpg"},
                       np.where(np.isin(ids, [s["id"] for s in kept]), ids, 0),
                       [{"id": s["id"], "category_id": s["category"], "iscrowd": s.get("iscrowd", 0)} for s in kept]))
    write_panoptic(path, images, categories)
    return path


@given(images())
def test_agreement_with_every_pair_compared_by_hand(cases):
    with tempfile.TemporaryDirectory() as folder:
        found = written(Path(folder, "found.json"), [case[:2] for case in cases])
        truth = written(Path(folder, "truth.json"), [case[2:] for case in cases])
        got = panoptic_quality(found, truth)
    plain = plain_quality([(f.tolist(), fs, t.tolist(), ts) for f, fs, t, ts in cases], CATEGORIES)
    for place, name in enumerate(("PQ", "SQ", "RQ")):
        own = got["per_class" if name == "PQ" else f"per_class_{name}"]
        assert list(own.values()) == pytest.approx([plain.get(c, (-1.0,) * 3)[place] for c in CATEGORIES], abs=1e-12)
        for group, members in (("", CATEGORIES), ("_things", (1, 2)), ("_stuff", (3,))):
            values = [plain[c][place] for c in members if c in plain]
            assert got[name + group] == pytest.approx(sum(values) / len(values) if values else -1.0, abs=1e-12)


MAPS = [(np.array([[5, 5, 0], [9, 9, 9]]), [{"id": 5, "category": 1}, {"id": 9, "category": 3}]),
        (np.array([[7, 7], [7, 2]]), [{"id": 7, "category": 2}, {"id": 2, "category": 3}])]


@pytest.fixture
def files(tmp_path):
    """(found, truth): two panoptic files of the same segments."""
    return written(tmp_path / "found.json", MAPS), written(tmp_path / "truth.json", MAPS)


def changed(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_ready_files_are_evaluated_by_function_and_command(files, tmp_path):
    found, truth = files
    metrics = evaluate(found, truth, out=tmp_path / "out")
    assert metrics["panoptic"]["PQ"] == metrics["panoptic"]["PQ_stuff"] == 1.0
    assert metrics["panoptic"]["per_class"] == dict.fromkeys(NAMES, 1.0)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == metrics
    result = CliRunner().invoke(main, ["eval", str(found), str(truth)])
    assert result.exit_code == 0 and "panoptic  PQ 1.0000" in result.output and "table: PQ 1.000" in result.output


def test_cocos_form_of_results_has_neither_images_nor_categories(files):
    found, truth = files
    changed(found, lambda content: [content.pop(name) for name in ("images", "categories")])
    assert panoptic_quality(found, truth)["PQ"] == 1.0


def test_images_and_categories_are_paired_by_their_names(files):
    found, truth = files

    def other_numbers(content):
        for record in content["images"]:
            record["id"] += 40
            record["file_name"] = f"photos/{record['file_name']}"
        for record in content["categories"]:
            record["id"] = 9 - record["id"]
        for record in content["annotations"]:
            record["image_id"] += 40
            for segment in record["segments_info"]:
                segment["category_id"] = 9 - segment["category_id"]

    changed(found, other_numbers)
    with pytest.warns(RoikitWarning, match="3 categories of the results and the annotations are paired by name"):
        assert panoptic_quality(found, truth)["PQ"] == 1.0

    def other_names(content):
        for record in content["categories"]:
            record.update(name=f"new {record['name']}", id=record["id"] + 50)
        for segment in (s for record in content["annotations"] for s in record["segments_info"]):
            segment["category_id"] += 50

    changed(found, other_names)
    with pytest.raises(ValueError, match="the results and the annotations have no category in common"):
        panoptic_quality(found, truth)


def test_an_image_of_which_nothing_is_listed_is_missed(files):
    found, truth = files
    changed(found, lambda content: (content["annotations"].pop(), content["images"].pop()))
    with pytest.warns(RoikitWarning, match="of 1 of 2 annotated images .*lists nothing, image 2 among them"):
        figures = panoptic_quality(found, truth)
    assert figures["per_class"] == {"cell": 1.0, "dish": 0.0, "table": pytest.approx(2 / 3)}


def test_images_that_are_not_annotated_are_left_out(files):
    found, truth = files
    changed(truth, lambda content: (content["annotations"].pop(), content["images"].pop()))
    with pytest.warns(RoikitWarning, match="left out 1 image of .* not in the annotations, among them image 2"):
        assert panoptic_quality(found, truth)["PQ"] == 1.0
    changed(found, lambda content: (content["annotations"].pop(0), content["images"].pop(0)))
    with pytest.raises(ValueError, match="evaluate: 1 image of .*found.json not in the annotations"):
        panoptic_quality(found, truth)


def drop_segment(content):
    content["annotations"][0]["segments_info"].pop()


def add_segment(content):
    content["annotations"][0]["segments_info"].append({"id": 70, "category_id": 1})


def repeat_segment(content):
    content["annotations"][0]["segments_info"][1]["id"] = 5


def other_category(content):
    content["annotations"][0]["segments_info"][0]["category_id"] = 77


def without_lists(content):
    other_category(content)
    del content["categories"]


def repeat_image(content):
    content["annotations"][1]["image_id"] = 1


@pytest.mark.parametrize("side", ["found", "truth"])
@pytest.mark.parametrize("change, sentence", [
    (drop_segment, r"{0}/1.png has the segment 9, which .*{0}.json does not list"),
    (add_segment, r"{0}.json lists the segment 70, of which .*{0}/1.png has no pixel"),
    (repeat_segment, r"{0}.json: a segment of image 1 has the id 5, and so has another one"),
    (other_category, r"{0}.json: a segment of image 1 has the id 5 and the category 77, which it does not list"),
    (repeat_image, r"{0}.json: it lists image 1 twice"),
    (lambda content: content["annotations"][0].pop("segments_info"), r"{0}.json is no COCO panoptic file"),
])
def test_contract_files_that_contradict_themselves_are_named(files, side, change, sentence):
    changed(dict(zip(("found", "truth"), files, strict=True))[side], change)
    with pytest.raises(ValueError, match=sentence.format(side)):
        panoptic_quality(*files)


def test_contract_an_unknown_category_of_a_file_without_categories(files):
    changed(files[0], without_lists)
    with pytest.raises(ValueError, match="has the id 5 and the category 77, which the annotations do not list"):
        panoptic_quality(*files)


def test_contract_png_files_of_another_size_or_missing_are_named(files, tmp_path):
    path = tmp_path / "found" / "2.png"
    image.open(path).resize((3, 2)).save(path)
    with pytest.raises(ValueError, match=r"found/2.png must be 2x2 as its image, got 3x2"):
        panoptic_quality(*files)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"found/2.png"):
        panoptic_quality(*files)


def test_segments_that_lie_on_others_are_counted_and_told(files):
    changed(files[0], lambda content: content["annotations"][0]["segments_info"][0].update(area=5))
    with pytest.warns(RoikitWarning, match="1 segment of other areas than listed; the first: .*segment 5 has 5 pixels.*"
                                           "has 2; another one may lie on it"):
        assert panoptic_quality(*files)["PQ"] == 1.0


def test_contract_options_and_annotations_that_do_not_fit(files, squares, tmp_path):
    found, truth = files
    for options, name in (({"iou_types": ("bbox",)}, "iou_types"), ({"use_cats": False}, "use_cats"),
                          ({"max_detections": (1, 10)}, "max_detections"), ({"sigmas": (0.1,)}, "sigmas")):
        with pytest.raises(ValueError, match=f"evaluate: {name} is not for ready maps, and .*found.json is a panoptic"):
            evaluate(found, truth, **options)
    with pytest.raises(ValueError, match="evaluate: images is not for ready maps"):
        evaluate(found, truth, tmp_path)
    with pytest.raises(ValueError, match="found.json is a panoptic file, and so must the annotations be; .*is not"):
        evaluate(found, squares[0])
    with pytest.raises(ValueError, match="annotations must be given"):
        evaluate(found)


@pytest.fixture
def maps(tmp_path):
    """Folders of found and annotated label maps, and the maps in them."""
    random = np.random.default_rng(0)
    pairs = {}
    for name in ("a.png", "in/b.png"):
        pairs[name] = truth, found = random.choice(np.uint8([0, 1, 4, 255]), (2, 6, 5))
        for folder, values in (("labels", truth), ("found", found)):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            image.fromarray(values).save(path)
    return tmp_path / "found", tmp_path / "labels", pairs


def test_label_maps_have_the_figures_of_their_pixels(maps):
    found, labels, pairs = maps
    whole = sum(confusion(pair[1], pair[0], 5) for pair in pairs.values())
    assert pixel_quality(found, labels) == pixel_scores(whole, range(5))
    assert evaluate(found, labels) == {"semantic": pixel_scores(whole, range(5))}
    result = CliRunner().invoke(main, ["eval", str(found), str(labels)])
    assert result.exit_code == 0 and "mIoU" in result.output and "4: IoU" in result.output
    assert pixel_quality(labels, labels)["mIoU"] == 1.0


def test_contract_label_maps_that_do_not_fit_are_named(maps, tmp_path):
    found, labels, _ = maps
    image.new("RGB", (5, 6)).save(found / "a.png")
    with pytest.raises(ValueError, match="found/a.png must be 8-bit grey or have a palette, got mode RGB"):
        evaluate(found, labels)
    image.new("L", (6, 5)).save(found / "a.png")
    with pytest.raises(ValueError, match="found/a.png must be 5x6 as its image, got 6x5"):
        evaluate(found, labels)
    (found / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match="found has no label map for .*labels/a.png"):
        evaluate(found, labels)
    with pytest.raises(FileNotFoundError, match="has no PNG label maps"):
        pixel_quality(found, tmp_path / "nothing")
    with pytest.raises(ValueError, match="is a folder of label maps, and so must the annotations be"):
        evaluate(found, found / "in" / "b.png")


def test_law_nothing_is_told_where_the_files_agree(files):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        panoptic_quality(*files)
