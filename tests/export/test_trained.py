"""What the trainer made, as an ONNX file, by the command."""

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

from roikit.cli import main

for library in ("yaml", "safetensors", "PIL"):
    pytest.importorskip(library)


# Scores of random weights are so alike that rounding may order them.
@pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning")
def test_a_trained_model_by_the_command(onnxruntime, tmp_path):
    import onnx

    from roikit.data import nuclei_mini
    from roikit.models import build_detector
    from roikit.trainer import load_config
    from roikit.trainer.checkpoint import export_safetensors

    config = load_config("nuclei-mini", ["model.box.score_threshold=0.3", "model.rpn.keep_after_nms_test=50"])
    weights, path = tmp_path / "model.safetensors", tmp_path / "model.onnx"
    torch.manual_seed(0)
    model = build_detector(config.model)
    export_safetensors(weights, model.state_dict(), asdict(config), [{"id": 7, "name": "nucleus"}])
    image = sorted(Path(nuclei_mini("val")[1]).iterdir())[0]
    result = CliRunner().invoke(main, ["export", str(weights), str(path), "--image", str(image), "--masks", "bool"])
    assert result.exit_code == 0, result.output
    assert "opset" in result.output and "against the detector" in result.output
    metadata = {p.key: json.loads(p.value) for p in onnx.load(path).metadata_props}
    assert metadata == {"categories": [{"id": 7, "name": "nucleus"}],
                        "per_image_normalize": config.augment.per_image_normalize}
    outputs = {given.name: given.type for given in onnxruntime.InferenceSession(path).get_outputs()}
    assert outputs["masks"] == "tensor(bool)"


def test_contract_addresses_are_read_and_not_written_to(tmp_path, monkeypatch):
    from PIL import Image

    from roikit.trainer import export_onnx, load_config
    from roikit.trainer.converting import convert

    fs = pytest.importorskip("fsspec").filesystem("memory")
    monkeypatch.setenv("ROIKIT_HOME", str(tmp_path / "home"))
    for path, error, text in (("s3://bucket/m.onnx", ValueError, "s3://bucket/m.onnx must be a path on this machine"),
                              (tmp_path / "none" / "m.onnx", FileNotFoundError, "must be in a folder that exists")):
        with pytest.raises(error, match=text):
            export_onnx(tmp_path / "no.pt", path, tmp_path / "a.png")
    with pytest.raises(ValueError, match="must be a path on this machine"):
        convert(tmp_path / "no.pt", "s3://bucket/ours.pth")
    Image.new("RGB", (9, 8)).save(tmp_path / "a.png")
    fs.pipe("/photos18/a.png", (tmp_path / "a.png").read_bytes())
    trained = SimpleNamespace(model=torch.nn.Identity(), has_masks=False, categories=[],
                              config=load_config("nuclei-mini"))
    monkeypatch.setattr("roikit.trainer.onnx_file.load_trained", lambda *args, **options: trained)
    monkeypatch.setattr("roikit.trainer.onnx_file.to_onnx", lambda model, images, path, **options: SimpleNamespace(
        text=lambda: f"{path} takes {tuple(images[0].shape)}"))
    (tmp_path / "run.pt").write_bytes(b"")
    result = CliRunner().invoke(main, ["export", str(tmp_path / "run.pt"), str(tmp_path / "m.onnx"), "--image",
                                       "memory://photos18/a.png"])
    assert result.exit_code == 0 and "takes (3, 8, 9)" in result.output, result.output
