"""Segmenters as ONNX files."""

from dataclasses import replace

import pytest
import torch

from roikit.models import BackboneConfig, ImageConfig, SegmenterConfig, SemanticFPNConfig, WindowConfig, build_segmenter

pytest.importorskip("onnxscript")

SMALL = SegmenterConfig(
    num_classes=3, image=ImageConfig(min_size=(96,), max_size=192, size_divisible=1), head=SemanticFPNConfig(8),
    backbone=BackboneConfig("resnet18", norm="group", fpn_channels=8, fpn_norm="group"))


def model(**changes):
    torch.manual_seed(0)
    found = build_segmenter(replace(SMALL, **changes)).eval()
    torch.nn.init.normal_(found.classifier.predictor.weight)
    return found


@pytest.mark.parametrize("any_size, logits", [(False, True), (True, False)])
def test_a_segmenter_is_written_whole(tmp_path, any_size, logits):
    from roikit.export import to_onnx

    segmenter = model()
    segmenter.give_logits = logits
    file = to_onnx(segmenter, [torch.rand(3, 80, 100)], tmp_path / "model.onnx", any_size=any_size)
    assert file.outputs == ("classes", "logits")[:1 + logits] and file.detections == ()
    assert file.inputs == {"image": (3, "height", "width") if any_size else (3, 80, 100)}
    assert file.differences is None or file.differences["classes"] <= 1e-4
    assert "against the model: classes" in file.text() or file.differences is None


def test_contract_windows_need_a_size(tmp_path):
    from roikit.export import to_onnx

    with pytest.raises(ValueError, match="model.window asks for sliding windows; set it to None"):
        to_onnx(model(window=WindowConfig((64, 64))), [torch.rand(3, 80, 100)], tmp_path / "model.onnx", any_size=True)
