"""Segmenters beside torchvision's, and the laws of their parts."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from roikit.models import (
    AuxiliaryConfig,
    BackboneConfig,
    DetectorConfig,
    FCNHeadConfig,
    FCNSkipHead,
    PSPHead,
    ResNet,
    SegmenterConfig,
    SemanticFPNConfig,
    SkipsConfig,
    WindowConfig,
    build_segmenter,
    fcn_resnet50,
    fcn_resnet101,
    fcn_vgg16_8s,
    load_backbone,
    load_checkpoint,
    pspnet_resnet50,
    save_checkpoint,
    semantic_fpn_resnet18,
)
from roikit.models.bodies.resnet import RESNETS
from roikit.models.parts.norm import norm_layer
from roikit.models.prepared.segmentation import PreparedPSPHead
from roikit.models.segmentation.fcn import bilinear_filter
from roikit.models.segmentation.losses import pixel_loss
from roikit.models.segmentation.windows import window_starts, windowed

from .family import FCN, PYRAMID, SEGMENTERS, eager, label_map


@pytest.mark.parametrize("build, parameters", [(fcn_resnet50, 35_322_218), (fcn_resnet101, 54_314_346)])
@torch.no_grad()
def test_parity_with_torchvision(torchvision, build, parameters):
    import torchvision.models.segmentation as segmentation

    torch.manual_seed(0)
    theirs = getattr(segmentation, build.__name__)(weights=None, weights_backbone=None, aux_loss=True)
    for name, value in theirs.state_dict().items():
        if name.endswith("bn3.weight"):  # or a hundred random blocks add up to thousands
            value.fill_(0.2)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif name == "classifier.4.weight":
            value.normal_(std=0.5)
    model = build(aux_loss=True)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert list(model.state_dict()) == list(theirs.state_dict())
    model.load_state_dict(theirs.state_dict())
    image = torch.rand(3, 97, 130)
    x = model.transform([image])[0].tensor[:, :, :97, :130]
    expected = theirs.eval()(x)
    found = model.eval()(x)
    assert list(found) == list(expected)
    for name, logits in expected.items():
        torch.testing.assert_close(found[name], logits, atol=1e-4, rtol=0)
    classes = expected["out"].argmax(1)
    assert torch.equal(found["out"].argmax(1), classes) and len(classes.unique()) > 3


@torch.no_grad()
def test_a_list_of_images_is_normalised_and_resized_here():
    model = eager(build_segmenter(replace(FCN, num_classes=3)))
    model.give_logits = True
    image = torch.rand(3, 40, 60)
    found, = model([image])
    mean, std = (torch.tensor(values)[:, None, None] for values in (FCN.image.mean, FCN.image.std))
    x = F.interpolate(((image - mean) / std)[None], size=(64, 96), mode="bilinear")
    logits = F.interpolate(model(x)["out"], size=(40, 60), mode="bilinear")
    torch.testing.assert_close(found["logits"], logits[0])


def test_parameter_counts():
    assert sum(p.numel() for p in fcn_resnet50().parameters()) == 32_957_013
    assert fcn_resnet50().aux_classifier is None and pspnet_resnet50().aux_classifier is not None
    assert pspnet_resnet50().config.auxiliary.loss_weight == 0.4


@torch.no_grad()
@pytest.mark.parametrize("name, first", [("resnet18", False), ("resnet50", False), ("resnet50", True)])
def test_law_dilated_maps_are_those_of_the_network_at_more_places(name, first):
    """Every second, every fourth cell is a cell of the undilated map, wherever the stride stands."""
    spec = replace(RESNETS[name], stride_in_1x1=first)
    body, dilated = (ResNet(s, norm_layer("frozen"), (1, 2, 3)).eval().double()
                     for s in (spec, replace(spec, output_stride=8)))
    dilated.load_state_dict(body.state_dict())
    x = torch.randn(1, 3, 128, 96, dtype=torch.float64)
    for step, one, other in zip((1, 2, 4), body(x).values(), dilated(x).values(), strict=True):
        assert other.shape[-2:] == (16, 12)
        torch.testing.assert_close(other[..., ::step, ::step], one)


def test_output_strides():
    config = BackboneConfig("resnet50", neck="maps", output_stride=16)
    assert config.strides == (4, 8, 16, 16) and replace(config, output_stride=8).strides == (4, 8, 8, 8)
    with pytest.raises(ValueError, match="output_stride 8 excludes dilated_c5, and a pyramid"):
        BackboneConfig("resnet50", output_stride=8)
    with pytest.raises(ValueError, match="output_stride must be one of 8, 16, 32, got 4"):
        BackboneConfig("resnet50", neck="maps", output_stride=4)
    with pytest.raises(ValueError, match="output_stride must be 32 for the name 'vgg16'"):
        build_segmenter(replace(SEGMENTERS["skips_8"],
                                backbone=replace(SEGMENTERS["skips_8"].backbone, output_stride=8)))
    with pytest.raises(ValueError, match="backbone.neck must be 'fpn' or 'none', got 'maps'"):
        DetectorConfig(backbone=BackboneConfig(neck="maps"))


@torch.no_grad()
@pytest.mark.parametrize("border", [0, 99])
@pytest.mark.parametrize("stride", [32, 16, 8])
def test_law_what_the_skips_add_lies_on_its_pixels(stride, border):
    """Each map tells where its cells lie in the image; the mean of what the scores tell is that place, everywhere."""
    head = FCNSkipHead((1, 1, 1), 2, stride, 4, 0.0, border).eval().double()
    for layer in (head.fc6, head.fc7):
        layer.weight.zero_()
        layer.bias.zero_()
    head.fc6.weight[0, 0, 3, 3] = head.fc7.weight[0, 0, 0, 0] = 1
    height, width = 160, 224
    maps, scores = [], [head.score_fr]
    for step in (4, 8, 16, 32):  # a map before its pooling has cells of half the pooled one's size
        columns = torch.arange(-(-(width + 2 * border) // step), dtype=torch.float64)
        rows = torch.ones(-(-(height + 2 * border) // step), dtype=torch.float64)
        maps.append((rows[:, None] * (columns * step + (step - 1) / 2 - border + 1000))[None, None])
    scores += [getattr(head, f"score_pool{n}") for n in (4, 3) if hasattr(head, f"score_pool{n}")]
    for score in scores:
        score.weight[1, 0] = 1 / len(scores)
    found = head(maps, (height, width))
    assert found.shape == (1, 2, height, width) and not found[0, 0].any()
    # Max pooling takes the later cell of two: half of a finer cell's size to the right.
    late = {32: 0, 16: 4 / 2, 8: (4 + 2) / 3}[stride]
    where = found[0, 1] - 1000 - late
    inside = slice(64, -64)
    expected = torch.arange(width, dtype=torch.float64).expand(height, -1)
    torch.testing.assert_close(where[inside, inside], expected[inside, inside])


def test_the_last_deconvolution_is_bilinear_and_stays_so():
    model = build_segmenter(SEGMENTERS["skips_8"])
    weight = model.classifier.upscore8.weight
    assert not weight.requires_grad and model.classifier.upscore2.weight.requires_grad
    assert torch.equal(weight[1, 1], bilinear_filter(16)) and not weight[0, 1].any()
    line = F.conv_transpose2d(torch.arange(5.0)[None, None, None].expand(1, 1, 5, 5).contiguous(), weight[:1, :1],
                              stride=8)[0, 0, 20, 8:-8]
    torch.testing.assert_close(line[4:28], (torch.arange(24) + 4.5) / 8)


def test_vgg_weights_go_into_the_convolutions(torchvision, tmp_path):
    theirs = torchvision.models.vgg16(weights=None)
    torch.save(theirs.state_dict(), tmp_path / "vgg16.pth")
    model = build_segmenter(replace(SEGMENTERS["skips_8"], head=SkipsConfig(8, border=0)))
    report = load_backbone(model.backbone, tmp_path / "vgg16.pth", model.classifier)
    assert "classifier.0.weight" in report.loaded and "classifier.6.weight" in report.dropped
    pooled = torch.rand(2, 512, 7, 7)
    with torch.no_grad():
        expected = theirs.classifier[:5].eval()(pooled.flatten(1))
        found = F.relu(model.classifier.fc7(F.relu(F.conv2d(pooled, model.classifier.fc6.weight,
                                                            model.classifier.fc6.bias))))
    torch.testing.assert_close(found[..., 0, 0], expected, atol=1e-4, rtol=1e-4)


@given(length=st.integers(1, 300), window=st.integers(1, 300), overlap=st.floats(0, 0.9))
def test_law_windows_cover_and_overlap(length, window, overlap):
    window = min(window, length)
    starts = window_starts(length, window, overlap)
    assert starts[0] == 0 and starts[-1] == length - window and starts == sorted(set(starts))
    steps = [b - a for a, b in zip(starts, starts[1:], strict=False)]
    assert all(step <= max(int(window * (1 - overlap)), 1) for step in steps)


def test_law_windows_of_a_network_without_a_view_change_nothing():
    x = torch.randn(2, 3, 50, 37, dtype=torch.float64)
    torch.testing.assert_close(windowed(lambda part: part[:, :2] * 3, x, (16, 64), 0.4), x[:, :2] * 3)


@torch.no_grad()
def test_windows_are_taken_of_images_that_are_larger():
    model = eager(build_segmenter(PYRAMID))
    model.give_logits = True
    small, large = torch.rand(3, 64, 64), torch.rand(3, 64, 100)
    whole = [found["logits"] for found in model([small, large])]
    model.window = ((64, 64), 0.5)
    found = [found["logits"] for found in model([small, large])]
    assert torch.equal(found[0], whole[0]) and not torch.allclose(found[1], whole[1])
    x = model.transform([large])[0].tensor
    parts = torch.stack([F.pad(model(x[..., a:a + 64])["out"], (a, 36 - a), value=float("nan")) for a in (0, 18, 36)])
    torch.testing.assert_close(found[1], parts.nanmean(0)[0])


def test_law_the_loss_is_the_mean_over_what_is_known():
    logits = torch.randn(2, 3, 8, 9, dtype=torch.float64)
    labels = torch.stack([label_map((8, 9), seed=seed) for seed in (0, 1)]).long()
    known = labels != 255
    picked = logits.log_softmax(1).movedim(1, -1)[known]
    expected = -picked[torch.arange(len(picked)), labels[known]].mean()
    torch.testing.assert_close(pixel_loss(logits, labels), expected)
    torch.testing.assert_close(pixel_loss(logits + 100 * (~known)[:, None], labels), expected)


def test_a_segmenter_learns_an_image():
    torch.manual_seed(0)
    model = build_segmenter(replace(PYRAMID, num_classes=2)).train()
    image, labels = torch.rand(3, 64, 64) * 0.3, torch.zeros(64, 64, dtype=torch.uint8)
    image[:, 10:40, 20:50] += 0.6
    labels[10:40, 20:50] = 1
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    losses = []
    for _ in range(30):
        losses.append(model([image], [{"semantic": labels}])["loss_semantic"])
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 3
    with torch.no_grad():
        assert (model.eval()([image])[0]["classes"] == labels).float().mean() > 0.9


def test_law_padding_in_a_batch_has_no_loss():
    torch.manual_seed(0)
    model = build_segmenter(replace(PYRAMID, image=replace(PYRAMID.image, resize=False))).train()
    large, small = torch.rand(3, 64, 64), torch.rand(3, 32, 64)
    targets = [{"semantic": torch.full((64, 64), 255)}, {"semantic": torch.full((32, 64), 255)}]
    assert model([large, small], targets)["loss_semantic"] == 0


def test_checkpoints_of_other_classes_and_layouts(tmp_path):
    model = build_segmenter(replace(FCN, backbone=replace(FCN.backbone, name="resnet50", norm="batch"),
                                    head=FCNHeadConfig()))
    for layout in ("roikit", "torchvision"):
        save_checkpoint(model, tmp_path / "model.pt", layout)
        twin = build_segmenter(model.config)
        load_checkpoint(twin, tmp_path / "model.pt")
        assert all(torch.equal(value, twin.state_dict()[key]) for key, value in model.state_dict().items())
    other = build_segmenter(replace(model.config, num_classes=7))
    with pytest.raises(ValueError, match="classifier.4.weight"):
        load_checkpoint(other, tmp_path / "model.pt")
    report = load_checkpoint(other, tmp_path / "model.pt", allow_new_classes=True)
    assert report.reinitialised == tuple(sorted(f"{head}classifier.4.{kind}" for head in ("", "aux_")
                                                for kind in ("bias", "weight")))
    with pytest.raises(ValueError, match="detectron2 would compute something else than this model"):
        save_checkpoint(model, tmp_path / "model.pt", "detectron2")
    with pytest.raises(ValueError, match="torchvision would compute something else than this model: .*head"):
        save_checkpoint(build_segmenter(PYRAMID), tmp_path / "model.pt", "torchvision")


@pytest.mark.parametrize("changes, told", [
    ({"head": SemanticFPNConfig()}, "head 'semantic_fpn' takes the levels of a pyramid: .* got 'maps'"),
    ({"backbone": BackboneConfig()}, "head 'fcn' takes the maps of a body: backbone.neck must be 'maps', got 'fpn'"),
    ({"head": SkipsConfig()}, "head 'skips' takes all four maps of a VGG-16"),
    ({"backbone": BackboneConfig(neck="maps", levels=("c5",)), "auxiliary": AuxiliaryConfig()},
     "auxiliary looks at the map before the last"),
    ({"num_classes": 256}, "num_classes must be between 2 and 255, got 256"),
    ({"ignored_label": 20}, "ignored_label must be at least 21, got 20"),
])
def test_contract_combinations_that_cannot_work_name_their_fields(changes, told):
    with pytest.raises(ValueError, match=f"^SegmenterConfig: {told}"):
        replace(SegmenterConfig(), **changes)


@pytest.mark.parametrize("make, told", [
    (lambda: FCNHeadConfig(channels=0), "FCNHeadConfig: channels must be positive, got 0"),
    (lambda: FCNHeadConfig(dropout=1.5), "FCNHeadConfig: dropout must be between 0 and 1, got 1.5"),
    (lambda: SkipsConfig(stride=4), "SkipsConfig: stride must be one of 8, 16, 32, got 4"),
    (lambda: SkipsConfig(border=100), "SkipsConfig: border must be one of 0, 99, got 100"),
    (lambda: SemanticFPNConfig(fusion="max"), "SemanticFPNConfig: fusion must be one of sum, concat, got 'max'"),
    (lambda: WindowConfig(overlap=1.0), "WindowConfig: overlap must be at least 0 and below 1, got 1.0"),
    (lambda: WindowConfig(size=(0, 4)), "WindowConfig: size must hold positive numbers"),
])
def test_contract_numbers_out_of_range_are_refused(make, told):
    with pytest.raises(ValueError, match=f"^{told}"):
        make()


def test_builders_take_the_fields_of_the_configuration():
    model = semantic_fpn_resnet18(num_classes=2, window=WindowConfig(), fusion="concat", fpn_channels=64)
    assert model.window == ((512, 512), 1 / 3) and model.config.head.fusion == "concat"
    assert model.classifier.levels[0][0][0].in_channels == 64
    assert fcn_vgg16_8s(head=SkipsConfig(8, 8)).config.image.std == (1 / 255,) * 3


@torch.no_grad()
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_law_a_prepared_pyramid_pooling_head_multiplies_cells_in_place_of_pixels(norm):
    torch.manual_seed(0)
    head = PSPHead(24, 5, 16, norm_layer(norm, groups=4), 0.1, (1, 2, 3, 6)).eval()
    if norm == "batch":
        for part in head.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
                part.weight.uniform_(0.5, 2)
    prepared = PreparedPSPHead(head, torch.float32)
    for size in ((13, 9), (6, 6), (1, 4)):
        x = torch.randn(2, 24, *size)
        torch.testing.assert_close(prepared(x), head(x), atol=1e-5, rtol=1e-4)
    assert prepared.conv.kernel_size == (3, 3) and prepared.taps.shape == (4, 6, 9 * 16)
