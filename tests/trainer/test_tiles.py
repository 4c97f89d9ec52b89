"""Tiles: where they lie, which tile an object is taken from, and how what several saw of one is joined."""

import json

import numpy as np
import pytest
import torch

from roikit import masks as rle
from roikit.data import nuclei_mini
from roikit.data.pictures import Picture
from roikit.trainer.evaluation import coco_results, evaluate
from roikit.trainer.tiles import Tiles, detect_in_tiles
from roikit.trainer.tiles.grid import spans, windows


@pytest.mark.parametrize("length", [1, 63, 64, 65, 100, 112, 113, 1000, 20_000])
@pytest.mark.parametrize("size, overlap", [(64, 16), (64, 0), (64, 32), (7, 3)])
def test_law_tiles_cover_a_side_with_the_overlap_and_none_too_many(length, size, overlap):
    found = spans(length, Tiles(size, overlap))
    assert found[0][0] == 0 and found[-1][1] == length
    assert all(end - begin == min(size, length) for begin, end in found)
    assert all(before[1] - after[0] >= overlap for before, after in zip(found, found[1:], strict=False))
    assert len(found) == 1 or (len(found) - 2) * (size - overlap) + size < length


@pytest.mark.parametrize("size, overlap, text", [(0, 0, "tile must be 1"), (10, 6, "0 to half of the tile, 5, got 6"),
                                                 (10, -1, "got -1")])
def test_contract_tiles_that_make_no_sense_are_refused(size, overlap, text):
    with pytest.raises(ValueError, match=text):
        Tiles(size, overlap)


def blobs(seed, height, width, count, largest, gap=3, smallest=3):
    """A label image of rectangles and ellipses that do not touch."""
    random, labels = np.random.default_rng(seed), np.zeros((height, width), np.uint16)
    for _ in range(50 * count):
        h, w = random.integers(smallest, largest + 1, 2)
        y, x = random.integers(0, height - h + 1), random.integers(0, width - w + 1)
        if labels[max(y - gap, 0):y + h + gap, max(x - gap, 0):x + w + gap].any():
            continue
        yy, xx = np.mgrid[:h, :w]
        shape = random.random() < 0.5 or ((2 * yy - h + 1) / h) ** 2 + ((2 * xx - w + 1) / w) ** 2 <= 1
        labels[y:y + h, x:x + w][np.broadcast_to(shape, (h, w))] = labels.max() + 1
        if labels.max() == count:
            break
    return labels


def exact(with_masks=True, noise=0, seed=0):
    """A ``run`` that finds every object of a picture whose pixels are its label image; scores follow the area."""
    random = np.random.default_rng(seed)

    def run(images):
        return [output(image[0].numpy().astype(int)) for image in images], 0.25, 0.5

    def output(labels):
        numbers = [k for k in np.unique(labels) if k]
        masks = [labels == k for k in numbers]
        if noise:
            masks = [moved(mask, *random.integers(-noise, noise + 1, 2)) for mask in masks]
        rles = rle.encode(np.asfortranarray(np.stack(masks, -1), np.uint8)) if masks else []
        boxes = rle.toBbox(rles) if masks else np.zeros((0, 4))
        boxes[:, 2:] += boxes[:, :2]
        scores = np.array([1 - 1 / (1 + mask.sum()) for mask in masks])
        order = np.argsort(-scores)
        found = {"boxes": torch.tensor(boxes[order], dtype=torch.float32).reshape(-1, 4),
                 "labels": torch.tensor([1 + int(numbers[k]) % 2 for k in order], dtype=torch.int64),
                 "scores": torch.tensor(scores[order], dtype=torch.float32)}
        if with_masks:
            found["masks"] = [rles[k] for k in order]
        return found

    return run


def moved(mask, dy, dx):
    padded = np.pad(mask, 9)
    return padded[9 - dy:9 - dy + mask.shape[0], 9 - dx:9 - dx + mask.shape[1]]


def prepare(image):
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def picture_of(labels):
    return Picture(np.repeat(labels[:, :, None], 3, 2).astype(np.float32))


def by_place(output):
    return sorted(zip(output["boxes"].tolist(), output["labels"].tolist(), output["scores"].tolist(), strict=True))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("with_masks", [True, False])
def test_law_objects_smaller_than_the_overlap_are_found_as_in_the_whole_picture(seed, with_masks):
    labels = blobs(seed, 150, 200, 60, largest=14)
    run, picture = exact(with_masks), picture_of(labels)
    (whole,), *_ = run([prepare(picture.whole())])
    tiled, *spent = detect_in_tiles(run, picture, prepare, Tiles(64, 32))
    assert by_place(tiled) == by_place(whole)
    assert tiled["scores"].tolist() == sorted(tiled["scores"].tolist(), reverse=True)
    assert spent[1] == 2 * spent[0] > 0
    if with_masks:
        order = {tuple(box): mask for box, mask in zip(whole["boxes"].tolist(), whole["masks"], strict=True)}
        assert [order[tuple(box)] for box in tiled["boxes"].tolist()] == tiled["masks"]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("with_masks", [True, False])
def test_law_objects_larger_than_tiles_are_joined(seed, with_masks):
    labels = blobs(seed, 150, 200, 12, largest=90)
    run, picture = exact(with_masks), picture_of(labels)
    (whole,), *_ = run([prepare(picture.whole())])
    tiled, *_ = detect_in_tiles(run, picture, prepare, Tiles(48, 16, batch=3))
    assert sorted(tiled["boxes"].tolist()) == sorted(whole["boxes"].tolist())
    if with_masks:
        assert sorted(m["counts"] for m in tiled["masks"]) == sorted(m["counts"] for m in whole["masks"])


@pytest.mark.parametrize("seed", range(6))
def test_law_outlines_that_tiles_draw_differently_make_no_second_object(seed):
    labels = blobs(seed, 150, 200, 30, largest=26, gap=8, smallest=10)
    tiled, *_ = detect_in_tiles(exact(noise=1), picture_of(labels), prepare, Tiles(80, 40))
    assert len(tiled["boxes"]) == labels.max()


def test_law_a_picture_that_fits_one_tile_is_looked_at_as_it_is():
    labels = blobs(0, 60, 64, 9, largest=20)
    run, picture, seen = exact(), picture_of(labels), []

    def noted(images):
        seen.append(images)
        outputs, *times = run(images)
        outputs[0]["own"] = outputs[0]
        return outputs, *times

    output, *_ = detect_in_tiles(noted, picture, prepare, Tiles(64, 16))
    assert output["own"] is output and len(seen) == 1 and seen[0][0].shape == (3, 60, 64)


def test_contract_limits_and_pictures_without_objects():
    picture = picture_of(blobs(1, 150, 200, 40, largest=10))
    output, *_ = detect_in_tiles(exact(), picture, prepare, Tiles(64, 32), limit=5)
    assert len(output["masks"]) == len(output["boxes"]) == 5
    empty, *_ = detect_in_tiles(exact(), picture_of(np.zeros((150, 200))), prepare, Tiles(64, 32))
    assert empty["boxes"].shape == (0, 4) and empty["masks"] == [] and empty["labels"].dtype == torch.int64


def test_law_masks_are_of_the_pictures_size_and_no_tile_is_read_twice():
    reads, labels = [], blobs(2, 150, 200, 9, largest=20)

    class Noted(Picture):
        def read(self, *window):
            reads.append(window)
            return super().read(*window)

    noted = Noted(picture_of(labels).pixels)
    output, *_ = detect_in_tiles(exact(), noted, prepare, Tiles(64, 16))
    assert all(mask["size"] == [150, 200] for mask in output["masks"])
    assert len(reads) == len(set(reads)) == len(windows(150, 200, Tiles(64, 16)))


def nuclei_labels():
    """The nuclei of the bundled val images as 16 label images of 256 x 256, each number one nucleus of all."""
    path, _ = nuclei_mini("val")
    content = json.loads(path.read_text())
    images = {image["id"]: np.zeros((image["height"], image["width"]), np.uint16) for image in content["images"]}
    for number, item in enumerate(content["annotations"], start=1):
        images[item["image_id"]][rle.decode(item["segmentation"]) > 0] = number
    return [images[i] for i in sorted(images)]


def told(images):
    """Annotations of label images, a record each."""
    annotations = []
    for i, labels in enumerate(images, start=1):
        for number in np.unique(labels[labels > 0]).tolist():
            mask = rle.encode(np.asfortranarray(labels == number, np.uint8))
            annotations.append({"id": number, "image_id": i, "category_id": 1, "iscrowd": 0, "segmentation": {
                **mask, "counts": mask["counts"].decode()}, "area": int(rle.area(mask)),
                "bbox": rle.toBbox(mask).tolist()})
    return {"images": [{"id": i, "file_name": f"{i}.png", "height": labels.shape[0], "width": labels.shape[1]}
                       for i, labels in enumerate(images, start=1)], "annotations": annotations,
            "categories": [{"id": 1, "name": "nucleus"}]}


def scored(images, run):
    """Mask AP of what ``run`` finds in tiles of label images."""
    results = []
    for i, labels in enumerate(images, start=1):
        output, *_ = detect_in_tiles(run, picture_of(labels), prepare, Tiles(256, 64))
        output["labels"][:] = 1
        results += coco_results(output, i, [1])
    return evaluate(results, told(images), iou_types=("segm",), max_detections=(5000,))["segm"]["AP"]


def test_law_a_mosaic_of_nuclei_in_tiles_has_the_ap_of_its_images():
    """With a detector that draws each nucleus a little aside."""
    singles = nuclei_labels()
    columns = [np.concatenate(singles[k:k + 4]) for k in range(0, 16, 4)]

    def run(images):
        outputs, *times = exact()(images)
        for output, image in zip(outputs, images, strict=True):
            for k, mask in enumerate(output["masks"]):
                pixels = rle.decode(mask)
                number = int(image[0].numpy()[pixels > 0][0])
                dy, dx = number % 5 - 2, number // 5 % 5 - 2
                output["masks"][k] = rle.encode(np.asfortranarray(moved(pixels, dy, dx)))
                output["scores"][k] = 0.5 + number * 7 % 10 / 20
        return outputs, *times

    alone, together = scored(singles, run), scored([np.concatenate(columns, 1)], run)
    assert 0.3 < alone < 0.9 and abs(alone - together) < 0.01
