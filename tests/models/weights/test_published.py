"""The table of published weights: facts in order, nothing doubled, names found."""

import dataclasses
import re
from pathlib import Path

import pytest

from roikit.models.weights.published import find_published, published, published_table

DOCS = Path(__file__).resolve().parents[3] / "docs" / "weights.md"
BRANCHES = {"faster_rcnn": "box", "cascade_rcnn": "box", "keypoint_rcnn": "box keypoint", "mask_rcnn": "box mask",
            "cascade_mask_rcnn": "box mask", "htc": "box mask", "mask_scoring_rcnn": "box mask",
            "panoptic_fpn": "box mask", "yolact": "mask", "yolact_plus": "mask", "fcn": ""}
# What their authors do not state.
UNSTATED = {("Cityscapes/mask_rcnn_R_50_FPN", "box"), ("mask_rcnn/mask-rcnn_x101-32x8d_fpn_ms-poly-3x_coco", "mask")}


def test_law_names_urls_and_files_are_unique():
    entries = published()
    assert len(entries) == 176
    for field in ("name", "url", "file_name"):
        assert len({getattr(entry, field) for entry in entries}) == len(entries), field
    with pytest.raises(dataclasses.FrozenInstanceError):
        entries[0].url = "http://elsewhere"


@pytest.mark.parametrize("entry", published(), ids=lambda entry: entry.name)
def test_law_an_entry_is_whole(entry):
    assert entry.url.startswith({"torchvision": "https://download.pytorch.org/models/",
                                 "detectron2": f"https://dl.fbaipublicfiles.com/detectron2/{entry.name}/",
                                 "mmdetection": "https://download.openmmlab.com/mmdetection/",
                                 "yolact": "https://huggingface.co/dbolya/yolact-"}[entry.source])
    assert re.fullmatch({"torchvision": r"[0-9a-f]{8}", "detectron2": r"[0-9a-f]{6}",
                         "mmdetection": r"[0-9a-f]{8}", "yolact": ""}[entry.source], entry.digest)
    assert re.fullmatch(rf"{entry.name}\.pth" if entry.source == "yolact" else
                        rf"[\w.-]*[_-]{entry.digest}\.(pth|pkl)", entry.file_name)
    assert (entry.algorithm, entry.licence) == {
        "torchvision": ("sha256", "BSD-3-Clause"), "detectron2": ("md5", "CC-BY-SA-3.0"),
        "mmdetection": ("sha256", "Apache-2.0"), "yolact": ("sha256", "MIT")}[entry.source]
    assert entry.data in ("COCO", "LVIS v0.5", "Cityscapes", "PASCAL VOC", "COCO, VOC's classes")
    for kind in ("box", "mask", "keypoint"):
        value = getattr(entry, f"{kind}_ap")
        if kind in BRANCHES[entry.system].split() and (entry.name, kind) not in UNSTATED:
            assert 20 < value < 70
        else:
            assert value is None
    assert (entry.pq is not None) == (entry.system == "panoptic_fpn") and (entry.pq is None or 30 < entry.pq < 50)
    if entry.system == "fcn":
        assert 60 < entry.miou < 65 and 91 < entry.pixel_accuracy < 92
    else:
        assert entry.miou is entry.pixel_accuracy is None


@pytest.mark.parametrize("name, found", [
    ("maskrcnn_resnet50_fpn", ("torchvision", "mask_rcnn", "bf2d0c1e", 37.9, 34.6, None)),
    ("keypointrcnn_resnet50_fpn", ("torchvision", "keypoint_rcnn", "fc266e95", 54.6, None, 65.0)),
    ("COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x", ("detectron2", "mask_rcnn", "4ce675", 39.8, 34.4, None)),
    ("Misc/cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv",
     ("detectron2", "cascade_mask_rcnn", "e76410", 50.2, 44.0, None)),
    ("htc/htc_r50_fpn_1x_coco", ("mmdetection", "htc", "7332cf16", 42.3, 37.4, None)),
    ("mask_rcnn/mask-rcnn_r50_fpn_1x_coco", ("mmdetection", "mask_rcnn", "d4b0c5d6", 38.2, 34.7, None)),
])
def test_contract_an_entry_is_found_by_name(name, found):
    entry = find_published(name)
    assert (entry.source, entry.system, entry.digest, entry.box_ap, entry.mask_ap, entry.keypoint_ap) == found


@pytest.mark.parametrize("name, near", [
    ("mask_rcnn_R_50_C4_3x", "did you mean COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x?"),
    ("htc/htc_r50_fpn_1x_coc", "did you mean htc/htc_r50_fpn_1x_coco"),
    ("mask_rcnn/mask_rcnn_r50_fpn_1x_coco", "did you mean mask_rcnn/mask-rcnn_r50_fpn_1x_coco"),
    ("", "`roikit zoo` lists them"), ("123456", "`roikit zoo` lists them")])
def test_contract_an_unknown_name_says_what_is_near(name, near):
    with pytest.raises(ValueError, match="is no published name") as error:
        find_published(name)
    assert near in str(error.value)


def test_contract_the_table_is_filtered_by_words():
    lines = published_table("Detectron2 keypoint").splitlines()
    assert len(lines) == 6 and all("CC-BY-SA-3.0" in line and "keypoint" in line for line in lines[1:])
    assert lines[1].split() == ["COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x", "detectron2", "COCO", "53.6", "-", "64.0",
                                "-", "-", "-", "-", "CC-BY-SA-3.0"]
    assert published_table("fcn").splitlines()[1].split() == [
        "fcn_resnet50", "torchvision", "COCO,", "VOC's", "classes", "-", "-", "-", "-", "60.5", "91.4", "135",
        "BSD-3-Clause"]
    assert len(published_table().splitlines()) == len(published()) + 1
    with pytest.raises(ValueError, match="no entry has 'yolov3'"):
        published_table("yolov3")


def test_contract_the_command_prints_the_table():
    from click.testing import CliRunner

    from roikit.cli import main

    result = CliRunner().invoke(main, ["zoo", "torchvision", "mask"])
    assert result.exit_code == 0 and result.output == published_table("torchvision mask") + "\n"
    result = CliRunner().invoke(main, ["zoo", "nothing"])
    assert result.exit_code == 1 and len(result.output.splitlines()) == 1


def test_law_the_page_shows_every_entry():
    page = DOCS.read_text(encoding="utf-8")
    for entry in published():
        pixels = entry.system == "fcn"
        figures = (entry.miou, entry.pixel_accuracy) if pixels else (entry.box_ap, entry.mask_ap, entry.keypoint_ap)
        cells = [entry.data, *("" if value is None else f"{value:.1f}" for value in figures)]
        cells += [] if entry.pq is None else [f"{entry.pq:.1f}"]
        digest = f"`{entry.digest}`" if entry.digest else ""
        assert f"| [{entry.name}]({entry.url}) | {' | '.join(cells)} | {digest} |" in page
