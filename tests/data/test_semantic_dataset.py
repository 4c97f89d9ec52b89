"""Data sets of label maps, and what the doctor says of faulty ones."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from roikit.data import SemanticDataset, inspect_semantic, nuclei_mini
from roikit.data import transforms as T
from roikit.data.image_folder import listed_images
from roikit.data.semantic_dataset import is_semantic_source


@pytest.fixture
def folder(tmp_path):
    """Three images, one of them in a folder of its own, and their label maps of 0..2 and 255."""
    values = {}
    for number, name in enumerate(("a.png", "b.jpg", "sub/c.png")):
        random = np.random.default_rng(number)
        size = (8 + number, 12)
        values[name] = random.choice(np.uint8([0, 1, 2, 255]), size)
        for root, pixels, ending in (("images", random.integers(0, 255, (*size, 3), dtype=np.uint8), None),
                                     ("labels", values[name], ".png")):
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path if ending is None else path.with_suffix(ending))
    (tmp_path / "images" / "notes.txt").write_text("no picture")
    return tmp_path, values


def put(path, pixels):
    Image.fromarray(pixels).save(path)


def test_label_maps_beside_images(folder):
    root, values = folder
    dataset = SemanticDataset(root / "images", semantic=root / "labels", classes=("sky", "tree", "road"))
    assert len(dataset) == 3 and dataset.image_ids == [1, 2, 3]
    assert dataset.categories == [{"id": 0, "name": "sky"}, {"id": 1, "name": "tree"}, {"id": 2, "name": "road"}]
    for k, ((image, target), wanted) in enumerate(zip(dataset, values.values(), strict=True)):
        assert image.shape == (3, *wanted.shape) and image.dtype == torch.float32
        assert target.keys() == {"semantic", "image_id"} and target["image_id"] == k + 1
        assert target["semantic"].dtype == torch.uint8 and np.array_equal(target["semantic"], wanted)
    assert SemanticDataset(root / "images", semantic=root / "labels", classes=3).class_names == ["0", "1", "2"]
    assert SemanticDataset(root / "images", semantic=root / "labels").categories == []


def test_instances_turned_into_classes():
    annotations, images = nuclei_mini("val")
    ids = [image["id"] for image in json.loads(open(annotations).read())["images"]][:2]
    dataset = SemanticDataset(images, annotations, ids=ids)
    assert dataset.class_names == ["background", "nucleus"] and len(dataset) == 2
    image, target = dataset[0]
    assert set(target["semantic"].unique().tolist()) == {0, 1} and target["semantic"].shape == image.shape[1:]
    sample = dataset.sample(0)
    assert len(sample.boxes) == len(sample.labels) == 0 and sample.masks is None


def test_panoptic_files_stand_by_themselves(folder):
    root, _ = folder
    (root / "panoptic").mkdir()
    ids = np.zeros((8, 12), np.int64)
    ids[:4], ids[4:6] = 300, 7
    put(root / "panoptic" / "a.png", np.dstack([ids % 256, ids // 256, ids // 65536]).astype(np.uint8))
    content = {"images": [{"id": 4, "file_name": "a.png", "height": 8, "width": 12}],
               "categories": [{"id": 9, "name": "sky"}, {"id": 2, "name": "dog"}],
               "annotations": [{"image_id": 4, "file_name": "a.png", "segments_info": [
                   {"id": 300, "category_id": 9}, {"id": 7, "category_id": 2}]}]}
    path = root / "panoptic.json"
    path.write_text(json.dumps(content))
    assert is_semantic_source(path) and is_semantic_source(root / "labels")
    assert not is_semantic_source(nuclei_mini("val")[0])
    dataset = SemanticDataset(root / "images", semantic=path)
    assert dataset.class_names == ["background", "dog", "sky"]
    labels = dataset[0][1]["semantic"].numpy()
    assert (labels[:4] == 2).all() and (labels[4:6] == 1).all() and (labels[6:] == 255).all()
    assert not inspect_semantic(root / "images", semantic=path).findings
    content["annotations"][0]["segments_info"].pop()
    path.write_text(json.dumps(content))
    finding, = inspect_semantic(root / "images", semantic=path).errors
    assert "has the segment 7, which" in finding.sentence and "a.png" in finding.sentence


def test_crops_and_jitter_carry_the_labels(folder):
    root, _ = folder
    change = T.Compose((T.RandomScaleCrop((16, 20), (0.5, 2.0), of="pixels"), T.HorizontalFlip(0.5)))
    dataset = SemanticDataset(root / "images", semantic=root / "labels", transform=change, seed=3)
    image, target = dataset[0]
    assert image.shape == (3, 16, 20) and target["semantic"].shape == (16, 20)
    assert torch.equal(dataset[0][0], image)  # what is random depends on seed, epoch and index
    dataset.set_epoch(1)
    assert not torch.equal(dataset[0][0], image)


@pytest.mark.parametrize("of, expected", [("fit", 1.0), ("pixels", 0.25)])
def test_law_a_scale_is_of_the_fit_or_of_the_pixels(of, expected):
    """At 1 an image fits the crop, or keeps its pixels; the rest is padding that is ignored."""
    sample = T.Sample(np.full((8, 8, 3), 9, np.uint8), np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0), None,
                      np.zeros((0, 4)), semantic=np.ones((8, 8), np.uint8))
    changed = T.RandomScaleCrop((16, 16), (1.0, 1.0), of=of)(sample, np.random.default_rng(0))
    assert (changed.semantic == 1).mean() == expected == (changed.image == 9).mean()
    assert set(np.unique(changed.semantic)) <= {1, 255}


FAULTS = {
    "size": (lambda p: put(p, np.zeros((8, 13), np.uint8)), "semantic-size", "a.png is 13x8 pixels, the image 12x8",
             "a.png must be 12x8 as its image, got 13x8"),
    "label": (lambda p: put(p, np.full((8, 12), 7, np.uint8)), "semantic-label",
              "a.png has the label 7, and labels are", "a.png has the label 7, and labels are 0..2 and 255"),
    "colours": (lambda p: put(p, np.zeros((8, 12, 3), np.uint8)), "semantic-label",
                "a.png must be 8-bit grey or have a palette, got mode RGB", "got mode RGB"),
    "missing": (lambda p: p.unlink(), "missing-semantic", "there is no file .*a.png", "there is no file .*a.png"),
    "broken": (lambda p: p.write_bytes(b"nothing"), "broken-semantic", "a.png is not an image",
               "a.png is not an image"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_contract_the_doctor_names_each_faulty_map_and_so_does_the_data_set(folder, fault):
    root, _ = folder
    assert not inspect_semantic(root / "images", semantic=root / "labels", classes=3).findings
    spoil, kind, told, raised = FAULTS[fault]
    spoil(root / "labels" / "a.png")
    report = inspect_semantic(root / "images", semantic=root / "labels", classes=3)
    finding, = report.findings
    assert report.fatal and (finding.kind, finding.severity, finding.subject) == (kind, "error", "image 1")
    with pytest.raises((OSError, ValueError), match=raised):
        SemanticDataset(root / "images", semantic=root / "labels", classes=3)[0]
    assert re.search(told, finding.sentence)


def test_the_doctor_looks_at_every_map_of_a_large_set(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for k in range(300):
        put(tmp_path / "images" / f"{k:03}.png", np.zeros((2, 2, 3), np.uint8))
        put(tmp_path / "labels" / f"{k:03}.png", np.full((2, 2), 9 if k in (3, 298) else 0, np.uint8))
    report = inspect_semantic(tmp_path / "images", semantic=tmp_path / "labels", classes=2)
    assert [f.subject for f in report.errors] == ["image 4", "image 299"]


def test_the_doctor_names_faulty_images_and_sources(folder):
    root, _ = folder
    (root / "images" / "b.jpg").write_bytes(b"nothing")
    finding, = inspect_semantic(root / "images", semantic=root / "labels").errors
    assert finding.kind == "broken-image" and "b.jpg" in finding.sentence
    with pytest.raises(OSError, match="b.jpg is not an image"):
        SemanticDataset(root / "images", semantic=root / "labels")
    finding, = inspect_semantic(root / "none", semantic=root / "labels").errors
    assert finding.kind == "unreadable-semantic" and "there is no folder" in finding.sentence
    (root / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty has no images"):
        listed_images(root / "empty")
    with pytest.raises(ValueError, match="annotations or semantic must be given"):
        SemanticDataset(root / "images")
    finding, = inspect_semantic(root / "images", semantic=__file__).errors
    assert finding.kind == "unreadable-semantic"


def test_the_doctor_looks_at_objects_where_they_are_learnt(tmp_path, folder):
    root, _ = folder
    content = {"images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 12}], "categories": [{"id": 1}],
               "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16}]}
    finding, = inspect_semantic(root / "images", content).errors
    assert finding.kind == "no-masks" and "masks are what is learnt" in finding.sentence
    assert not inspect_semantic(root / "images", content, root / "labels", classes=3).findings
    put(root / "labels" / "a.png", np.zeros((8, 12, 3), np.uint8))
    finding, = inspect_semantic(root / "images", content, root / "labels", classes=3).errors
    assert finding.kind == "semantic-label"
