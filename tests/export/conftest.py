"""What the tests of the export share: functions as ONNX graphs in onnxruntime, a detector with detections, images."""

import warnings
from pathlib import Path

import pytest
import torch

from roikit.models import maskrcnn_resnet18_fpn


@pytest.fixture(scope="session")
def onnxruntime():
    """onnxruntime, or a skip with the reason where it or what writes graphs is missing."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    import onnxruntime
    return onnxruntime


@pytest.fixture
def in_onnx(onnxruntime):
    """From a function of tensors and example arguments to the same function in onnxruntime.

    ``sizes`` names the axes that may differ: for each argument a dict from axis to name.
    """
    from roikit.export import translations

    def export(function, examples, sizes=None):
        class Model(torch.nn.Module):
            def forward(self, *arguments):
                return function(*arguments)

        names = sorted({name for axes in sizes or () for name in axes.values()})
        dims = {name: torch.export.Dim(name) for name in names}
        shapes = None if sizes is None else (tuple({axis: dims[name] for axis, name in axes.items()} or None
                                                   for axes in sizes),)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own deprecations
            program = torch.onnx.export(Model().eval(), examples, dynamo=True, dynamic_shapes=shapes, verbose=False,
                                        custom_translation_table=translations())
        session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(),
                                               providers=["CPUExecutionProvider"])

        def run(*arguments):
            feed = {given.name: x.numpy() for given, x in zip(session.get_inputs(), arguments, strict=True)}
            found = [torch.from_numpy(x) for x in session.run(None, feed)]
            return found[0] if len(found) == 1 else found

        return run

    return export


@pytest.fixture(scope="session")
def detector():
    """`maskrcnn_resnet18_fpn` with weights by which nuclei have some thirty detections each, between 10 and 50."""
    torch.manual_seed(0)
    model = maskrcnn_resnet18_fpn(num_classes=3, min_size=160, max_size=256, box_score_thresh=0.4,
                                  rpn_post_nms_top_n_test=100, box_detections_per_img=50)
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.weight.mul_(10)
        model.roi_heads.box_predictor.bbox_pred.weight.mul_(3)
    return model.eval()


@pytest.fixture(scope="session")
def nuclei():
    """Three microscope images (3, 256, 256) that ship with roikit."""
    pytest.importorskip("PIL", reason="Pillow is not installed")
    from roikit.data import nuclei_mini, read_image
    from roikit.data.transforms import image_tensor

    files = sorted(Path(nuclei_mini("val")[1]).iterdir())
    return [image_tensor(read_image(file)) for file in files[:3]]
