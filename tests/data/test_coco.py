"""CocoDataset: every form of COCO's annotations, ids, image kinds, determinism."""

import numpy as np
import pytest
import torch
from PIL import Image

import roikit.masks as rle
from roikit.data import CocoDataset, collate, nuclei_mini, read_image
from roikit.data.transforms import BrightnessContrast, Compose, HorizontalFlip, RandomScaleCrop, Rotate90
from roikit.errors import RoikitWarning


def dense(mask, height, width):
    if isinstance(mask, list):
        mask = rle.merge(rle.frPyObjects(mask, height, width))
    return rle.decode(mask)


@pytest.mark.parametrize(("split", "images", "objects"), [("train", 48, 1088), ("val", 16, 562)])
def test_law_bundled_nuclei_are_whole(split, images, objects):
    dataset = CocoDataset(*nuclei_mini(split))
    assert (len(dataset), dataset.num_classes) == (images, 2)
    assert (dataset.category_ids, dataset.category_names) == ([1], ["nucleus"])
    count = 0
    for image, target in dataset:
        assert image.shape == (3, 256, 256) and image.dtype == torch.float32
        assert 0 <= image.min() and image.max() <= 1
        for box, mask, area in zip(target["boxes"], target["masks"], target["area"], strict=True):
            x, y, w, h = rle.toBbox(mask)
            assert box.tolist() == [x, y, x + w, y + h]
            assert area == rle.area(mask)
        count += len(target["labels"])
    assert count == objects


def test_law_every_form_of_a_mask_gives_the_same_object(made):
    made.image(1)
    bitmap = np.zeros((20, 30), np.uint8, order="F")
    bitmap[5:11, 4:10] = 1
    packed = rle.encode(bitmap)
    runs = np.diff(np.flatnonzero(np.diff(bitmap.ravel("F"), prepend=0, append=0)),
                   prepend=0).tolist()
    runs.append(600 - sum(runs))
    made.square(1)
    made.add(1, {"size": [20, 30], "counts": packed["counts"].decode()})
    made.add(1, {"size": [20, 30], "counts": runs})
    _, target = CocoDataset(*made.write())[0]
    assert target["boxes"].tolist() == [[4, 5, 10, 11]] * 3
    assert target["area"].tolist() == [36] * 3
    assert isinstance(target["masks"][0], list)
    for mask in target["masks"]:
        np.testing.assert_array_equal(dense(mask, 20, 30), bitmap)
    assert target["masks"][1]["counts"] == target["masks"][2]["counts"] == packed["counts"]


def test_law_labels_follow_category_ids_and_are_restored(made):
    made.image(1)
    made.square(1, category_id=7)
    made.square(1, category_id=3)
    dataset = CocoDataset(*made.write())
    _, target = dataset[0]
    assert target["labels"].tolist() == [2, 1]
    assert (dataset.category_ids, dataset.category_names) == ([3, 7], ["cat", "dog"])
    assert dataset.category_of(target["labels"]).tolist() == [7, 3]
    assert dataset.category_of(2) == 7
    with pytest.raises(ValueError, match=r"category_of: labels must be in 1\.\.2, got 0\.\.1"):
        dataset.category_of([0, 1])


def test_law_crowds_are_no_objects_but_their_boxes_are_kept(made):
    made.image(1)
    made.square(1)
    made.square(1, x=12, iscrowd=1)
    made.square(1, x=20)
    dataset = CocoDataset(*made.write())
    _, target = dataset[0]
    assert target["boxes"].tolist() == [[4, 5, 10, 11], [20, 5, 26, 11]]
    assert target["crowd_boxes"].tolist() == [[12, 5, 18, 11]]
    assert target["iscrowd"].tolist() == [0, 0]
    assert dataset.num_objects == 2


def test_law_an_image_without_objects_gives_empty_targets(made):
    made.image(1)
    made.image(2)
    made.square(2)
    made.square(2, x=12)
    made.image(3)
    made.square(3, iscrowd=1)
    dataset = CocoDataset(*made.write())
    _, target = dataset[0]
    assert dataset.image_ids == [1, 2, 3]
    assert target["boxes"].shape == target["crowd_boxes"].shape == (0, 4)
    assert target["labels"].shape == (0,) and target["labels"].dtype == torch.int64
    assert target["masks"] == []
    assert CocoDataset(*made.write(), keep_empty=False).image_ids == [2]


def test_law_images_come_by_id_or_in_the_order_asked(made):
    for number in (5, 2, 9):
        made.image(number)
        made.square(number, side=number)
    assert CocoDataset(*made.write()).image_ids == [2, 5, 9]
    dataset = CocoDataset(*made.write(), ids=[9, 2])
    assert dataset.image_ids == [9, 2]
    assert [target["area"].item() for _, target in dataset] == [81, 4]
    assert dataset.image_path(0).name == "9.png"


def test_law_without_any_mask_targets_have_none(made):
    made.image(1)
    made.add(1, [], bbox=[2, 3, 5, 4])
    image, target = CocoDataset(*made.write(), transform=HorizontalFlip(1))[0]
    assert "masks" not in target
    assert target["boxes"].tolist() == [[23, 3, 28, 7]]
    assert target["area"].tolist() == [20]


def test_law_a_missing_box_is_the_extent_of_the_mask(made):
    made.image(1)
    made.square(1, bbox=None)
    made.add(1, {"size": [20, 30], "counts": [45, 3, 17, 3, 532]})
    _, target = CocoDataset(*made.write())[0]
    assert target["boxes"].tolist() == [[4, 5, 10, 11], [2, 5, 4, 8]]
    assert target["area"].tolist() == [36, 6]


def test_law_boxes_are_cut_at_the_border(made):
    made.image(1)
    made.square(1, bbox=[-3, 5, 50, 6])
    _, target = CocoDataset(*made.write())[0]
    assert target["boxes"].tolist() == [[0, 5, 30, 11]]


def test_law_a_sample_depends_on_seed_epoch_and_index_alone():
    jitter = Compose((Rotate90(), RandomScaleCrop((96, 96)), BrightnessContrast()))

    def sample(seed, epoch, index, touched=()):
        dataset = CocoDataset(*nuclei_mini("val"), transform=jitter, seed=seed)
        dataset.set_epoch(epoch)
        for i in touched:
            dataset[i]
        return dataset[index]

    image, target = sample(1, 2, 3)
    again, same = sample(1, 2, 3, touched=(5, 3, 0))
    assert torch.equal(image, again)
    assert torch.equal(target["boxes"], same["boxes"]) and target["masks"] == same["masks"]
    for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4)):
        assert not torch.equal(image, sample(*other)[0])


def test_law_workers_see_the_epoch_and_give_what_one_process_gives():
    dataset = CocoDataset(*nuclei_mini("val"), transform=RandomScaleCrop((32, 32)), seed=4,
                          ids=None)
    loader = torch.utils.data.DataLoader(dataset, batch_size=8, collate_fn=collate, num_workers=1,
                                         persistent_workers=True)
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        images = [image for batch, _ in loader for image in batch]
        assert all(torch.equal(image, dataset[i][0]) for i, image in enumerate(images))
        assert len(images) == 16


def test_law_collate_keeps_images_of_different_sizes(made):
    made.image(1, 20, 30)
    made.image(2, 10, 12)
    images, targets = collate(list(CocoDataset(*made.write())))
    assert [tuple(image.shape) for image in images] == [(3, 20, 30), (3, 10, 12)]
    assert [target["image_id"] for target in targets] == [1, 2]


def image_kinds():
    grey = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    colour = np.stack([grey, grey // 2, 255 - grey], axis=2)
    palette = Image.fromarray(grey).convert("P")
    cmyk = Image.fromarray(255 - np.dstack([colour, np.full_like(grey, 255)]), "CMYK")
    alpha = np.dstack([colour, np.full_like(grey, 9)])
    threefold = np.repeat(grey[:, :, None], 3, axis=2)
    deep = grey.astype(np.uint16) * 256 + 7
    return {
        "grey.png": (Image.fromarray(grey), threefold),
        "grey_alpha.png": (Image.fromarray(np.dstack([grey, grey]), "LA"), threefold),
        "bits.png": (Image.fromarray(grey > 99), (threefold > 99) * np.uint8(255)),
        "palette.png": (palette, threefold),
        "colour.png": (Image.fromarray(colour), colour),
        "alpha.png": (Image.fromarray(alpha), colour),
        "cmyk.tif": (cmyk, colour),
        "deep.png": (Image.fromarray(deep), np.repeat(deep[:, :, None], 3, axis=2)),
        "deep.tif": (Image.fromarray(deep), np.repeat(deep[:, :, None], 3, axis=2)),
        "float.tif": (Image.fromarray(grey / np.float32(255)), threefold / np.float32(255)),
    }


@pytest.mark.parametrize("name", image_kinds())
def test_law_images_of_every_kind_become_rgb(name, tmp_path):
    image, wanted = image_kinds()[name]
    image.save(tmp_path / name)
    found = read_image(tmp_path / name)
    assert found.dtype == wanted.dtype and found.flags.writeable
    np.testing.assert_array_equal(found, wanted)


def test_law_exif_orientation_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (20, 30, 3)


def test_law_deep_images_keep_their_grey_levels(made):
    deep = np.full((20, 30), 300, np.uint16)
    made.image(1, pixels=deep)
    image, _ = CocoDataset(*made.write())[0]
    torch.testing.assert_close(image, torch.full((3, 20, 30), 300 / 65535))


def test_agreement_with_coco_photographs(test_data):
    root = test_data / "coco-mini"
    pycocotools_coco = pytest.importorskip("pycocotools.coco")
    truth = pycocotools_coco.COCO(root / "annotations" / "instances_train.json")
    dataset = CocoDataset(root / "annotations" / "instances_train.json", root / "images" / "train")
    assert dataset.image_ids == sorted(truth.getImgIds()) and dataset.num_classes == 81
    for index in range(0, len(dataset), 4):
        image, target = dataset[index]
        wanted = truth.loadAnns(truth.getAnnIds(dataset.image_ids[index], iscrowd=False))
        assert dataset.category_of(target["labels"]).tolist() == [a["category_id"] for a in wanted]
        assert len(target["crowd_boxes"]) == len(truth.getAnnIds(dataset.image_ids[index],
                                                                 iscrowd=True))
        for mask, box, annotation in zip(target["masks"], target["boxes"], wanted, strict=True):
            np.testing.assert_array_equal(dense(mask, *image.shape[1:]),
                                          truth.annToMask(annotation))
            x, y, w, h = annotation["bbox"]
            np.testing.assert_allclose(box, [x, y, x + w, y + h], atol=1e-3)


def test_contract_objects_that_cannot_be_learnt_are_counted(made):
    made.image(1)
    made.square(1)
    made.square(1, bbox=[4, 5, 0, 6])
    made.square(1, bbox=[40, 5, 6, 6], x=4)
    made.square(1, x=35)
    made.add(1, [])
    made.add(1, {"size": [20, 30], "counts": [600]})
    made.square(99)
    with pytest.warns(RoikitWarning) as caught:
        dataset = CocoDataset(*made.write())
    assert str(caught[0].message) == (
        "CocoDataset: left out 6 of 7 annotations: 1 of an image that the file does not list, 1 with a box "
        "outside the image, 1 with a box without area, 2 with an empty mask, 1 without a mask; "
        "roikit.data.inspect_dataset names each")
    assert len(dataset[0][1]["labels"]) == 1


@pytest.mark.parametrize(("fields", "sentence"), [
    ({"category_id": 8}, r"CocoDataset: annotation 1 of image 1 has category id 8, which"),
    ({"segmentation": [[1, 2, 3, 4, 5]]}, "annotation 1 of image 1: a polygon has an odd count"),
    ({"segmentation": [[1, 2, 3, 4]]}, "polygons of two points have no area, and all 1 are such"),
    ({"segmentation": [[1, 2, 3, 4, 5, "a"]]}, "a polygon must be a flat list of numbers"),
    ({"segmentation": [1, 2, 3, 4, 5]}, "a polygon has an odd count"),
    ({"segmentation": {"size": [30, 20], "counts": [600]}},
     r"the RLE is of an image of \[30, 20\] \(height, width\), the image is \[20, 30\]"),
    ({"segmentation": {"size": [20, 30], "counts": [5, 6]}}, "annotation 1 of image 1: .*sum"),
    ({"segmentation": {"size": [20, 30], "counts": [605, -5]}}, "annotation 1 of image 1: .*-5"),
    ({"segmentation": {"counts": [600]}}, "the RLE has no size"),
])
def test_contract_malformed_annotations_are_named(made, fields, sentence):
    made.image(1)
    made.square(1, **fields)
    with pytest.raises(ValueError, match=sentence):
        CocoDataset(*made.write())


def test_contract_files_and_arguments_that_do_not_fit(made):
    made.image(1)
    made.square(1)
    paths = made.write()
    with pytest.raises(ValueError, match="seed must be a whole number of at least 0, got -1"):
        CocoDataset(*paths, seed=-1)
    with pytest.raises(ValueError, match="ids must be ids of images in the annotation file, got 4"):
        CocoDataset(*paths, ids=[1, 4])
    with pytest.raises(ValueError, match="image ids must differ, got 1 twice"):
        CocoDataset(*paths, ids=[1, 1])
    with pytest.raises(ValueError, match="epoch must be at least 0, got -1"):
        CocoDataset(*paths).set_epoch(-1)
    with pytest.raises(IndexError, match=r"index must be in 0\.\.0, got 1"):
        CocoDataset(*paths)[1]
    with pytest.raises(ValueError, match="nuclei_mini: split must be 'train' or 'val', got 'test'"):
        nuclei_mini("test")
    made.annotations.write_text("{")
    with pytest.raises(ValueError, match=r"instances\.json is not JSON"):
        CocoDataset(*paths)
    made.annotations.write_text('{"images": []}')
    with pytest.raises(ValueError, match="must have a list 'annotations'"):
        CocoDataset(*paths)


def test_contract_broken_missing_and_resized_images_are_named(made):
    for number in (1, 2, 3):
        made.image(number)
        made.square(number)
    made.content["images"][2]["height"] = 21
    dataset = CocoDataset(*made.write())
    whole = dataset.image_path(0).read_bytes()
    dataset.image_path(0).write_bytes(whole[:len(whole) // 2])
    dataset.image_path(1).unlink()
    with pytest.raises(OSError, match=r"read_image: .*1\.png cannot be decoded"):
        dataset[0]
    with pytest.raises(FileNotFoundError, match=r"read_image: there is no file .*2\.png"):
        dataset[1]
    with pytest.raises(ValueError, match="image 3 must be 30x21 as the annotation file says, got "
                                         "30x20"):
        dataset[2]
