"""Files that are given for annotations and are something else: each is named in a sentence, by all commands alike."""

import gzip
import json
import pickle

import pytest

from roikit.data import CocoDataset, inspect_dataset, mend_dataset
from roikit.data.layouts import find_source
from roikit.trainer.evaluation import evaluate

from .messy_sets import Messy

RING = {"name": "polygon", "all_points_x": [1, 9, 9], "all_points_y": [1, 1, 9]}
REGION = {"filename": "1.png", "size": 9, "regions": [{"shape_attributes": RING, "region_attributes": {}}]}
OBJECT = {"bbox": [1, 2, 9, 9], "bbox_mode": 0, "category_id": 0, "segmentation": [[1, 2, 9, 2, 9, 9]]}


def of(content):
    return lambda messy: json.dumps(content).encode()


@pytest.mark.parametrize(("made", "sentence"), [
    (lambda m: b"", "is not JSON: it is empty"),
    (lambda m: json.dumps(m.content).encode()[:-9], "is not JSON: "),
    (lambda m: json.dumps({**m.content, "info": "Blüte"}, ensure_ascii=False).encode("latin-1"),
     "must be text in UTF-8"),
    (lambda m: gzip.compress(json.dumps(m.content).encode()), "is packed by gzip: unpack it"),
    (lambda m: b"PK\x03\x04", "is a ZIP file: unpack it"),
    (lambda m: pickle.dumps([OBJECT]), "is a pickle of Python's, not JSON"),
    (lambda m: b"\n".join(json.dumps(a).encode() for a in m.content["annotations"]), "has a JSON value on each line"),
    (lambda m: json.dumps(m.content)[:-1].encode() + b', "annotations": []}', "has the list 'annotations' twice"),
    (lambda m: json.dumps(m.found).encode(), "a file of results, which has no images: give the annotations"),
    (lambda m: json.dumps(m.content["annotations"]).encode(), "it is a list of annotations alone"),
    (lambda m: json.dumps([m.content]).encode(), "it has a list around COCO's object: take it away"),
    (lambda m: json.dumps({"coco": m.content}).encode(), "its lists are below 'coco'"),
    (lambda m: json.dumps({**m.content, "images": {"1": m.content["images"][0]}}).encode(),
     "'images' must be a list of dicts"),
    (of([{"file_name": "1.png", "image_id": 1, "annotations": [OBJECT]}]), "detectron2's list of dicts"),
    (of([{"filename": "1.png", "width": 9, "height": 9, "ann": {"bboxes": []}}]), "MMDetection's middle format"),
    (of({"metainfo": {}, "data_list": []}), "MMDetection's own format"),
    (of([{"image": "1.png", "annotations": [{"label": "bolt", "coordinates": {"x": 1}}]}]), "CreateML's file"),
    (of([{"id": 1, "data": {"image": "1.png"}, "annotations": [{"result": []}]}]), "Label Studio's own export"),
    (of({"1.png9": REGION}), "it seems to be VIA's file: export the annotations as COCO"),
    (of({"_via_settings": {}, "_via_img_metadata": {"1.png9": REGION}}), "a project of VIA"),
    (of({"version": "5.5", "shapes": [], "imagePath": "1.png"}), "labelme's file of one image: give its folder"),
    (of({"size": {"height": 9, "width": 9}, "objects": [], "tags": []}), "Supervisely's file of one image"),
    (of({"version": "2.0", "item": {"name": "1.png"}, "annotations": []}), "V7 Darwin's file of one image"),
    (of({"info": {}, "categories": {}, "items": []}), "Datumaro's file"),
    (of({"image": {"file_name": "1.png"}, "annotations": []}), "a file of SA-1B"),
    (of({"type": "FeatureCollection", "features": []}), "GeoJSON"),
    (of([{"segmentation": {}, "bbox": [1, 2, 9, 9], "predicted_iou": 0.9}]), "what SAM's generator of masks"),
    (of({"videos": [{"id": 1}], "annotations": [{"video_id": 1, "segmentations": [None]}], "categories": []}),
     "YouTube-VIS' file of videos"),
    (of({"images": [], "categories": [], "annotations": [{"image_id": 1, "segments_info": []}]}),
     "a COCO panoptic file"),
    (of({"images": [], "annotations": [{"image_id": 1, "id": 1, "caption": "a bolt"}]}), "a file of captions"),
    (of({"images": [], "categories": []}), "must have a list 'annotations'"),
    (of([]), "must have a list 'images'"),
    (of("annotations"), "must have a list 'images'")])
def test_law_it_is_named_by_all(tmp_path, made, sentence):
    messy = Messy(tmp_path)
    path = tmp_path / "a.json"
    path.write_bytes(made(messy))
    for read in (lambda: CocoDataset(path, messy.images), lambda: evaluate(messy.found, path, messy.images),
                 lambda: mend_dataset(path, messy.images)):
        with pytest.raises(ValueError) as caught:
            read()
        assert sentence in str(caught.value) and str(path) in str(caught.value)
    report = inspect_dataset(path, messy.images)
    assert report.fatal and len(report.errors) == 1 and sentence in report.text()


def test_law_without_a_folder_of_images_it_is_named_too(tmp_path):
    messy = Messy(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps(messy.found))
    with pytest.raises(ValueError, match=r"results.json: it seems to be a file of results"):
        find_source(tmp_path / "results.json")
    with pytest.raises(ValueError, match="images is in no layout that is read, for it has 4 pictures and no "):
        find_source(messy.images)
    deep = tmp_path / "zip" / "my data"
    deep.mkdir(parents=True)
    (deep / "a.json").write_text(json.dumps(messy.content))
    with pytest.raises(ValueError, match="zip is in no layout that is read, and has my data/a.json in it: name that"):
        find_source(tmp_path / "zip")
