"""Where bfloat16 is had: what the processor and the environment leave of it, and what "auto" makes of that."""

import pytest
import torch
from torch import nn

from roikit.errors import BackendError
from roikit.models import maskrcnn_resnet18_fpn, prepare_for_inference
from roikit.models.parts.bf16 import has_bf16, native_bf16

ONEDNN = torch.backends.mkldnn.is_available()


def dtypes(model):
    return {part.dtype for part in model.modules() if hasattr(part, "fused")}


@pytest.fixture(scope="module")
def model():
    return maskrcnn_resnet18_fpn(num_classes=2)


@pytest.mark.parametrize("native, expected", [(True, torch.bfloat16), (False, torch.float32)])
def test_contract_auto_is_bf16_where_it_is_native(model, native, expected, monkeypatch):
    if native and not has_bf16("cpu"):
        pytest.skip("oneDNN has no bfloat16 here")
    monkeypatch.setattr("roikit.models.inference.native_bf16", lambda device: native)
    assert dtypes(prepare_for_inference(model, "auto")) == {expected}


def test_contract_auto_takes_parts_that_are_in_float32_alone(model, monkeypatch):
    monkeypatch.setattr("roikit.models.inference.native_bf16", lambda device: has_bf16("cpu"))
    other = maskrcnn_resnet18_fpn(num_classes=2)
    other.roi_heads.box_head = nn.Sequential(nn.Flatten(1), nn.Linear(256 * 49, 1024))
    if has_bf16("cpu"):
        with pytest.raises(TypeError, match="got a Flatten"):
            prepare_for_inference(other, "bf16")
    assert dtypes(prepare_for_inference(other, "auto")) == {torch.float32}
    with pytest.raises(TypeError, match="must be a detector or a segmenter of roikit.models, got ReLU"):
        prepare_for_inference(nn.ReLU(), "auto")


@pytest.mark.skipif(not (ONEDNN and has_bf16("cpu")), reason="oneDNN has no bfloat16 here")
@pytest.mark.parametrize("variable", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_contract_instructions_that_are_turned_off_are_not_native(variable, monkeypatch):
    """oneDNN goes on to compute bfloat16 with AVX-512 alone, in more than float32's time."""
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert native_bf16("cpu")
    for level, expected in (("AVX512_CORE_BF16", True), ("AVX512_CORE", False), ("avx512_core_vnni", False)):
        monkeypatch.setenv(variable, level)
        assert native_bf16("cpu") is expected


@pytest.mark.skipif(not ONEDNN, reason="torch has no oneDNN here")
def test_contract_a_processor_without_it(model, monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert not has_bf16("cpu") and not native_bf16("cpu")
    assert has_bf16("cuda")
    assert dtypes(prepare_for_inference(model, "auto")) == {torch.float32}
    with pytest.raises(BackendError, match="where 'float32' works"):
        prepare_for_inference(model, "bf16")
