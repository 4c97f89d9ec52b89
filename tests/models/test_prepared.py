"""What a prepared model is beside its detections: without graph and state, never trained, true to parts of users."""

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from roikit.models import (  # noqa: E402
    InferencePlan,
    InferenceRanges,
    build_segmenter,
    load_backbone,
    load_checkpoint,
    measure_ranges,
    prepare_for_inference,
    save_checkpoint,
)
from roikit.models.bodies.vgg import VGG16  # noqa: E402
from roikit.models.configs.segmenter import SegmenterConfig  # noqa: E402
from roikit.models.inference import _prepare  # noqa: E402
from roikit.models.parts import fused, ways  # noqa: E402
from roikit.models.parts.int8 import has_int8  # noqa: E402
from roikit.models.parts.norm import norm_layer  # noqa: E402
from roikit.models.prepared.heads import box_head  # noqa: E402
from roikit.models.roi.box import FastRCNNConvFCHead  # noqa: E402
from roikit.models.roi.keypoint import KeypointRCNNHeads  # noqa: E402
from roikit.models.segmentation.fcn import FCNHead  # noqa: E402
from roikit.models.segmentation.pspnet import PSPHead  # noqa: E402

from .test_inference import assert_same, detector  # noqa: E402

NORMS = [("frozen", "none"), ("group", "group")]


def kinds(model, image):
    """The model prepared in each precision that this processor has."""
    yield prepare_for_inference(model)
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        yield prepare_for_inference(model, "bf16")
    if has_int8():
        yield prepare_for_inference(model, "int8", ranges=measure_ranges(model, [image]))


@pytest.mark.parametrize("norms", NORMS)
def test_contract_results_have_no_graph_whoever_asks_for_them(small_config, scene, norms):
    image = scene()[0]
    with torch.inference_mode():
        models = list(kinds(detector(small_config, "resnet18", *norms), image))
    for prepared in models:
        found, = prepared([image])
        assert not any(value.requires_grad for value in found.values())
        found["scores"].numpy()


@pytest.mark.parametrize("norms", NORMS)
def test_contract_it_is_not_prepared_again_nor_has_it_a_state(small_config, scene, norms, tmp_path):
    model, image = detector(small_config, "resnet18", *norms), scene()[0]
    save_checkpoint(model, tmp_path / "whole.pth")
    for prepared in kinds(model, image):
        for call, arguments in ((prepare_for_inference, (prepared,)), (prepare_for_inference, (prepared, "auto")),
                                (measure_ranges, (prepared, [image])),
                                (save_checkpoint, (prepared, tmp_path / "m.pth")),
                                (save_checkpoint, (prepared, tmp_path / "m.pth", "torchvision")),
                                (load_checkpoint, (prepared, tmp_path / "whole.pth")),
                                (load_backbone, (prepared.backbone.body, tmp_path / "whole.pth"))):
            op = "prepare_for_inference" if call is measure_ranges else call.__name__
            with pytest.raises(ValueError, match=f"^{op}: model must not be one of prepare_for_inference; give the "):
                call(*arguments)
        with pytest.raises(ValueError, match="^load_checkpoint: model must not be one of prepare_for_inference"):
            load_checkpoint(prepared, tmp_path / "whole.pth", strict=False)
        assert not (tmp_path / "m.pth").exists()


@pytest.mark.parametrize("kind", [InferencePlan, InferenceRanges])
def test_contract_a_path_is_no_plan_and_other_files_are_none(small_config, tmp_path, kind):
    path = tmp_path / "measured.json"
    given = {"plan": path} if kind is InferencePlan else {"precision": "int8", "ranges": path}
    with pytest.raises(TypeError, match=f"must be an {kind.__name__}, got .*Path; {kind.__name__}.load reads a file"):
        prepare_for_inference(detector(small_config), **given)
    head = '{"format": 1, "weights": 1, "images": 1, "layers": {"a": "b"}, "results": {"a": [0, 1]}, "inputs": {"a": '
    for content in ("[" * 100_000, head + f"[0, {10**400}]}}}}"):
        path.write_text(content)
        with pytest.raises(ValueError, match=f"measured.json is nothing that {kind.__name__}.save wrote"):
            kind.load(path)
    path.write_text(head + "[0, 1]}}")
    assert kind is InferencePlan or kind.load(path).inputs == {"a": [0, 1]}


def test_contract_asked_to_train_it_stays_as_it_is(small_config, scene):
    image = scene()[0]
    segmenter = build_segmenter(SegmenterConfig(num_classes=3))
    for prepared in (*kinds(detector(small_config), image), prepare_for_inference(segmenter)):
        with pytest.raises(RuntimeError, match="^a model prepared for inference cannot be trained"):
            prepared.train()
        assert not any(part.training for part in prepared.modules())
        assert prepared.eval() is prepared


@pytest.mark.parametrize("norms", NORMS)
@pytest.mark.parametrize("way", ["fused", "plain", "product", "winograd"])
def test_contract_a_convolution_has_its_own_dtype_under_autocast(small_config, scene, norms, way, monkeypatch):
    monkeypatch.setattr(fused, "fastest", lambda layer, x, onto: way if way in ways.candidates(layer, len(x)) else
                        "fused")
    model, image = detector(small_config, "resnet18", *norms), scene()[0]
    prepared = prepare_for_inference(model, example=image)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = prepared.backbone(x)
        with torch.autocast("cpu", torch.bfloat16):
            found = prepared.backbone(x.bfloat16().float())
            assert prepared([image])[0]["boxes"].dtype == torch.float32
            prepared.backbone(x.bfloat16())
        again = prepared.backbone(x.bfloat16().float())
    assert all(torch.equal(found[name], again[name]) and found[name].dtype == expected[name].dtype for name in found)


def test_law_hooks_are_of_one_model_alone(small_config, scene):
    model, image = detector(small_config), scene()[0]
    called = []
    model.backbone.register_forward_hook(lambda *arguments: called.append("both"))
    prepared = prepare_for_inference(model)
    prepared.backbone.register_forward_hook(lambda *arguments: called.append("prepared"))
    prepared.register_forward_pre_hook(lambda *arguments: called.append("prepared"))
    with torch.no_grad():
        model([image])
    assert called == ["both"]


def swapped(model, kind):
    """The model with another activation wherever one is a layer of its own."""
    for parent in list(model.modules()):
        for name, part in list(parent.named_children()):
            if isinstance(part, nn.ReLU | nn.ReLU6 | nn.LeakyReLU):
                setattr(parent, name, kind())
    return model.eval()


def padded(model, mode):
    """The model with convolutions that pad in another way, or with padding in words."""
    for parent in list(model.modules()):
        for name, part in list(parent.named_children()):
            if type(part) is nn.Conv2d and max(part.padding) > 0 and (mode != "same" or part.stride == (1, 1)):
                how = {"padding": "same"} if mode == "same" else {"padding": part.padding, "padding_mode": mode}
                other = nn.Conv2d(part.in_channels, part.out_channels, part.kernel_size, part.stride,
                                  groups=part.groups, bias=part.bias is not None, **how)
                other.load_state_dict(part.state_dict())
                setattr(parent, name, other)
    return model.eval()


@pytest.mark.parametrize(("name", "norms"), [("resnet18", NORMS[1]), ("resnet50", NORMS[0]), ("darknet53", NORMS[0]),
                                              ("efficientnet_lite0", NORMS[0])])
def test_law_activations_that_a_user_put_in_are_kept(small_config, scene, name, norms):
    model, image = swapped(detector(small_config, name, *norms), nn.SiLU), scene()[0]
    with torch.no_grad():
        assert_same(prepare_for_inference(model)([image])[0], model([image])[0])


@pytest.mark.parametrize("norms", NORMS)
@pytest.mark.parametrize("mode", ["replicate", "circular", "same"])
def test_law_a_padding_that_a_user_put_in_is_kept(small_config, scene, mode, norms):
    model, image = padded(detector(small_config, "resnet18", *norms), mode), scene()[0]
    with torch.no_grad():
        assert_same(prepare_for_inference(model)([image])[0], model([image])[0])
        for prepared in kinds(model, image):
            assert len(prepared([image])[0]["boxes"])


CHANGES = [lambda model: swapped(model, nn.SiLU), lambda model: padded(model, "replicate")]
HEADS = {FCNHead: lambda: FCNHead(16, 3, make_norm=norm_layer("frozen")),
         PSPHead: lambda: PSPHead(16, 3, bins=(1, 2), channels=8, make_norm=norm_layer("frozen")),
         FastRCNNConvFCHead: lambda: FastRCNNConvFCHead(16, 7, (8, 8), (12, 12), norm_layer("group", groups=2)),
         KeypointRCNNHeads: lambda: KeypointRCNNHeads(16, (8, 8)), VGG16: VGG16}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", HEADS)
def test_law_other_parts_keep_what_a_user_put_in(kind, change):
    torch.manual_seed(0)
    model = change(HEADS[kind]())
    size = (1, 3, 33, 40) if kind is VGG16 else (2, 16, 7, 7)
    prepared = (box_head(model, 7, torch.float32) if kind is FastRCNNConvFCHead else _prepare(model, torch.float32))
    x = torch.rand(size)
    with torch.no_grad():
        found, expected = (torch.cat([x.flatten() for x in out.values()]) if isinstance(out, dict) else out
                           for out in (prepared(x), model(x)))
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
