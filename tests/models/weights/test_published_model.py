"""Published weights as models: the right builder, configuration and categories for each name."""

import hashlib

import pytest
import torch

from roikit import models
from roikit.models import detectron2_model, load_published, maskrcnn_resnet50_fpn, save_checkpoint
from roikit.models.weights import download
from roikit.models.weights.categories import categories_of
from roikit.models.weights.published import Published, published
from roikit.models.weights.published_model import named_model

NAME = "COCO-Detection/faster_rcnn_R_50_FPN_1x"


@pytest.fixture
def file_of(tmp_path, monkeypatch):
    """Puts a file in the place of published weights, so that nothing is downloaded."""
    def put(name, model, layout):
        path = tmp_path / "weights"
        path.mkdir()
        save_checkpoint(model, path / "model.pth", layout)
        digest = hashlib.sha256((path / "model.pth").read_bytes()).hexdigest()
        entry = next(entry for entry in published() if entry.name == name)
        fake = Published(entry.name, entry.source, entry.system, entry.data, "https://example.org/model.pth",
                         digest[:8], "sha256", entry.licence)
        monkeypatch.setattr("roikit.models.weights.published_model.find_published", lambda _: fake)
        monkeypatch.setattr("roikit.trainer.trained.find_published", lambda _: fake)
        monkeypatch.setenv("ROIKIT_HOME", str(path))
        return path / "model.pth"
    return put


def test_contract_a_model_of_detectron2(file_of):
    torch.manual_seed(0)
    model = detectron2_model(NAME)
    path = file_of(NAME, model, "detectron2")
    loaded = load_published(NAME, folder=path.parent, progress=False, score_threshold=0.2)
    assert not loaded.training and loaded.config.box.score_threshold == 0.2
    weight = "roi_heads.box_predictor.cls_score.weight"
    assert torch.equal(loaded.state_dict()[weight], model.state_dict()[weight])


def test_contract_a_model_of_torchvision(file_of):
    torch.manual_seed(0)
    model = maskrcnn_resnet50_fpn()
    file_of("maskrcnn_resnet50_fpn", model, "torchvision")
    loaded = load_published("maskrcnn_resnet50_fpn")
    assert not loaded.training and loaded.config.backbone.norm == "frozen" and loaded.config.num_classes == 91


@pytest.mark.parametrize("name", ["fcn_resnet50", "fcn_resnet101"])
def test_contract_a_segmenter_of_torchvision(file_of, name):
    torch.manual_seed(0)
    model = getattr(models, name)(aux_loss=True)
    file_of(name, model, "torchvision")
    loaded = load_published(name)
    assert not loaded.training and loaded.config == model.config and loaded.config.auxiliary is not None
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in model.state_dict().items())
    fewer = load_published(name, num_classes=4, min_size=300)
    assert fewer.config.num_classes == 4 and fewer.config.image.min_size == (300,)
    with pytest.raises(TypeError, match="changes must be of min_size, max_size, num_classes, got score_threshold"):
        load_published(name, score_threshold=0.5)


def test_contract_without_a_network_the_url_and_the_place_are_named(tmp_path, monkeypatch):
    def closed(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(download.urllib.request.OpenerDirector, "open", closed)
    with pytest.raises(ConnectionError, match=r"https://dl\.fbaipublicfiles\.com/.*model_final_b275ba\.pkl.*put the "):
        load_published(NAME, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_contract_unknown_names():
    with pytest.raises(ValueError, match="did you mean"):
        load_published("faster_rcnn_R_50_FPN_1x")
    with pytest.raises(ValueError, match="named_model: 'maskrcnn_vgg' is no name that it knows"):
        named_model("maskrcnn_vgg")


def test_law_labels_and_categories_are_as_many():
    """For every name, without building it."""
    from roikit.models.weights.detectron2_zoo import detectron2_config
    from roikit.models.weights.mmdetection_zoo import mmdetection_config
    for entry in published():
        if entry.system == "fcn":
            found = categories_of(entry, 21)
            assert [category["id"] for category in found] == list(range(21)) and found[0]["name"] == "background"
            continue
        if entry.source == "torchvision":
            classes = 2 if entry.system == "keypoint_rcnn" else 91
        elif entry.source == "yolact":
            classes = 81
        else:
            classes = {"detectron2": detectron2_config, "mmdetection": mmdetection_config}[entry.source](
                entry.name).num_classes
        found = categories_of(entry, classes)
        things = [category for category in found if category.get("isthing", 1)]
        assert len(found) - len(things) == (53 if entry.system == "panoptic_fpn" else 0)
        found = things
        assert len(found) == classes - 1 and len({category["id"] for category in found}) == len(found), entry.name


def test_contract_categories():
    entries = {entry.name: entry for entry in published()}
    torchvisions = categories_of(entries["maskrcnn_resnet50_fpn"], 91)
    assert torchvisions[89] == {"id": 90, "name": "toothbrush"} and torchvisions[11]["name"] == "N/A"
    coco = categories_of(entries["htc/htc_r50_fpn_1x_coco"], 81)
    assert coco[79] == {"id": 90, "name": "toothbrush"} and coco[11] == {"id": 13, "name": "stop sign"}
    (person,) = categories_of(entries["COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x"], 2)
    assert len(person["keypoints"]) == 17 and len(person["skeleton"]) == 19
    panoptic = categories_of(entries["COCO-PanopticSegmentation/panoptic_fpn_R_50_3x"], 81)
    assert panoptic[79] == {"id": 90, "name": "toothbrush", "isthing": 1}
    assert (panoptic[80], panoptic[132]) == ({"id": 92, "name": "banner", "isthing": 0},
                                             {"id": 200, "name": "rug-merged", "isthing": 0})
    assert categories_of(entries["Cityscapes/mask_rcnn_R_50_FPN"], 9)[7] == {"id": 33, "name": "bicycle"}
    assert categories_of(entries["PascalVOC-Detection/faster_rcnn_R_50_C4"], 21)[19]["name"] == "tvmonitor"
