"""A Mask R-CNN as a program of torch.export and as an ONNX file: the detections of the model itself."""

import dataclasses
import warnings

import pytest
import torch

from roikit.errors import RoikitWarning
from roikit.models import (
    KeypointConfig,
    SelectionConfig,
    build_detector,
    measure_ranges,
    prepare_for_inference,
    rotated_fasterrcnn_resnet50_fpn,
)
from roikit.models.parts.int8 import has_int8

NEAR = 1e-4  # of scores and masks; of boxes 1e-4 of the image's longer side


def agree(got, expected, size):
    """Two detections of an image: same number, same labels, the rest within NEAR."""
    assert got.keys() == expected.keys()
    for key in expected:
        assert got[key].shape == expected[key].shape and got[key].dtype == expected[key].dtype, key
    assert torch.equal(got["labels"], expected["labels"])
    for key, unit in (("boxes", max(size)), ("scores", 1), ("masks", 1)):
        if key not in expected:
            continue
        torch.testing.assert_close(got[key], expected[key], rtol=0, atol=NEAR * unit)


@pytest.fixture(scope="module")
def program(detector, nuclei):
    with torch.no_grad():
        return torch.export.export(detector, (nuclei[:1],), strict=False)


@torch.no_grad()
def test_a_program_detects_what_the_model_detects(program, detector, nuclei):
    counts = set()
    for image in nuclei:
        (got,), (expected,) = program.module()([image]), detector([image])
        counts.add(len(expected["boxes"]))
        agree(got, expected, (256, 256))
    assert min(counts) >= 10 and len(counts) > 1  # the number depends on the image


@torch.no_grad()
def test_a_program_is_saved_and_loaded(program, detector, nuclei, tmp_path, run_python):
    torch.export.save(program, tmp_path / "model.pt2")
    torch.save(nuclei[1], tmp_path / "image.pt")
    run_python(f"import torch, roikit.ops; folder = {str(tmp_path)!r}\n"
               "model = torch.export.load(folder + '/model.pt2').module()\n"
               "torch.save(model([torch.load(folder + '/image.pt')])[0], folder + '/found.pt')")
    agree(torch.load(tmp_path / "found.pt"), detector([nuclei[1]])[0], (256, 256))


@torch.no_grad()
def test_a_batch_of_two_sizes_is_exported(detector, nuclei):
    images = [nuclei[0][:, :200], nuclei[1][:, 30:, 100:]]
    program = torch.export.export(detector, (images,), strict=False)
    images = [images[0].flip(2), nuclei[2][:, 30:, 100:]]
    for got, expected, image in zip(program.module()(images), detector(images), images, strict=True):
        assert len(expected["boxes"]) >= 10
        agree(got, expected, image.shape[1:])


@pytest.fixture(scope="module")
def written(detector, nuclei, onnxruntime, tmp_path_factory):
    """What `to_onnx` says of one image, and the file in onnxruntime as a function of an image."""
    from roikit.export import to_onnx

    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    file = to_onnx(detector, nuclei[:1], path, metadata={"classes": "one, two"})
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(image):
        found = session.run(list(file.outputs), {"image": image.numpy()})
        return {name: torch.from_numpy(value) for name, value in zip(file.outputs, found, strict=True)}

    return file, run


@torch.no_grad()
def test_onnxruntime_detects_what_the_model_detects(written, detector, nuclei):
    _, run = written
    counts = set()
    for image in (*nuclei, nuclei[0].flip(1)):
        expected, = detector([image])
        counts.add(len(expected["boxes"]))
        agree(run(image), expected, (256, 256))
    assert min(counts) >= 10 and len(counts) > 1


@torch.no_grad()
def test_a_file_for_images_of_any_size(detector, nuclei, onnxruntime, tmp_path):
    """Sizes that padding completes and such that need none, landscape, portrait, and as small as may be."""
    from roikit.export import to_onnx, without_resizing

    file = to_onnx(detector, [nuclei[0][:, :150, :224]], tmp_path / "model.onnx", any_size=True)
    assert file.inputs == {"image": (3, "height", "width")} and "image (3, height, width)" in file.text()
    session = onnxruntime.InferenceSession(file.path, providers=["CPUExecutionProvider"])
    model = without_resizing(detector)
    for image in (nuclei[1], nuclei[2][:, :97, :250], nuclei[0][:, 30:190, 20:180], nuclei[1][:, :200, :65]):
        found = [torch.from_numpy(x) for x in session.run(None, {"image": image.numpy()})]
        expected, = model([image])
        assert len(expected["boxes"]) >= 10
        agree(dict(zip(file.outputs, found, strict=True)), expected, image.shape[1:])


@torch.no_grad()
def test_a_detector_without_resizing_is_that_of_resized_images(detector, nuclei):
    """Where there is nothing to resize, the same bits; the detector itself stays as it is."""
    from roikit.export import without_resizing

    image = nuclei[0][:, :160, :200]
    assert all(torch.equal(a, b) for a, b in zip(without_resizing(detector)([image])[0].values(),
                                                 detector([image])[0].values(), strict=True))
    assert without_resizing(detector)([nuclei[0]])[0]["boxes"].shape != detector([nuclei[0]])[0]["boxes"].shape


@torch.no_grad()
def test_an_image_without_detections(written, detector):
    nothing = torch.full((3, 256, 256), float("nan"))
    expected, = detector([nothing])
    assert len(expected["boxes"]) == 0
    agree(written[1](nothing), expected, (256, 256))


def test_the_file_is_described(written, detector, nuclei):
    import onnx

    file, _ = written
    assert file.inputs == {"image": (3, 256, 256)} and file.outputs == ("boxes", "labels", "scores", "masks")
    assert file.detections == (len(detector([nuclei[0]])[0]["boxes"]),)
    assert all(0 <= value < 256 * NEAR for value in file.differences.values()) and len(file.differences) == 3
    assert "opset" in file.text() and f"{sum(file.detections)} detections" in file.text()
    model = onnx.load(file.path)
    onnx.checker.check_model(model)
    assert file.opset == model.opset_import[0].version >= 16
    assert {node.domain for node in model.graph.node} == {""}, "standard operators alone"
    assert {(p.key, p.value) for p in model.metadata_props} == {("classes", "one, two")}


@torch.no_grad()
def test_a_file_that_does_not_agree_is_a_warning(written, detector, nuclei):
    from roikit.export.detector import compare

    file, _ = written
    expected = tuple(detector([nuclei[0]])[0].values())
    keys = ("boxes", "labels", "scores", "masks")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compare(file.path, nuclei[:1], expected, keys) == file.differences
    with pytest.warns(RoikitWarning, match="image 0: masks differ by 1.0e-02"):
        compare(file.path, nuclei[:1], (*expected[:3], expected[3] + 0.01), keys)
    with pytest.warns(RoikitWarning, match="detections for the model's"):
        found = compare(file.path, nuclei[:1], tuple(x[1:] for x in expected), keys)
    assert all(value != value for value in found.values())


@torch.no_grad()
def test_keypoints_are_exported(detector, nuclei, onnxruntime, tmp_path):
    from roikit.export import to_onnx

    torch.manual_seed(0)
    model = build_detector(dataclasses.replace(detector.config, mask=None, keypoint=KeypointConfig(5, layers=(32, 32))))
    model.load_state_dict(detector.state_dict(), strict=False)
    model.eval()
    file = to_onnx(model, nuclei[:1], tmp_path / "model.onnx")
    assert file.outputs == ("boxes", "labels", "scores", "keypoints", "keypoints_scores")
    assert file.differences["keypoints"] < 0.02 and file.differences["keypoints_scores"] < 1e-3
    session = onnxruntime.InferenceSession(file.path, providers=["CPUExecutionProvider"])
    for image in (nuclei[1], torch.full((3, 256, 256), float("nan"))):
        found = dict(zip(file.outputs, map(torch.from_numpy, session.run(None, {"image": image.numpy()})), strict=True))
        expected, = model([image])
        assert (len(expected["boxes"]) >= 10) == (image is nuclei[1])
        agree({key: found[key] for key in file.outputs[:3]}, {key: expected[key] for key in file.outputs[:3]},
              image.shape[1:])
        assert found["keypoints"].shape == expected["keypoints"].shape
        torch.testing.assert_close(found["keypoints_scores"], expected["keypoints_scores"], rtol=NEAR, atol=NEAR)
        same = (found["keypoints"] - expected["keypoints"]).abs().amax(-1) < 0.02
        assert same.float().sum() >= 0.95 * same.numel()  # of two cells nearly alike rounding chooses


@torch.no_grad()
def test_roi_pool_is_exported(detector, nuclei, onnxruntime, tmp_path):
    from roikit.export import to_onnx

    box = dataclasses.replace(detector.config.box, pool_kind="roi_pool", pool_reduce="max")
    model = build_detector(dataclasses.replace(detector.config, mask=None, box=box))
    model.load_state_dict({name: value for name, value in detector.state_dict().items() if "mask" not in name})
    file = to_onnx(model.eval(), nuclei[:1], tmp_path / "model.onnx")
    assert file.detections[0] >= 5 and file.differences["scores"] < NEAR and file.differences["boxes"] < 0.02


def test_soft_nms_is_refused_by_name(detector, nuclei, onnxruntime, tmp_path):
    from roikit.export import to_onnx

    box = dataclasses.replace(detector.config.box, selection=SelectionConfig("soft_nms"))
    model = build_detector(dataclasses.replace(detector.config, box=box)).eval()
    with pytest.raises(ValueError, match=r"without an ONNX form: roikit.soft_nms, of roi_heads.box.selection"):
        to_onnx(model, nuclei[:1], tmp_path / "model.onnx")


def test_rotated_boxes_are_refused_by_name(nuclei, onnxruntime, tmp_path):
    from roikit.export import to_onnx

    with torch.device("meta"):
        model = rotated_fasterrcnn_resnet50_fpn(num_classes=2).eval()
    with pytest.raises(ValueError, match="without an ONNX form: those of rotated boxes, of roi_heads.geometry"):
        to_onnx(model, nuclei[:1], tmp_path / "model.onnx")


def test_what_cannot_be_exported_is_refused(detector, nuclei, tmp_path, onnxruntime):
    from roikit.export import to_onnx

    path = tmp_path / "model.onnx"
    with pytest.raises(TypeError, match="to_onnx: model must be a detector or a segmenter .*, got Linear"):
        to_onnx(torch.nn.Linear(2, 2), nuclei[:1], path)
    with pytest.raises(ValueError, match="prepare_for_inference"):
        to_onnx(prepare_for_inference(detector), nuclei[:1], path)
    if has_int8():
        with pytest.raises(ValueError, match="to_onnx: model must not be one of prepare_for_inference"):
            ranges = measure_ranges(detector, nuclei[:1])
            to_onnx(prepare_for_inference(detector, "int8", ranges=ranges), nuclei[:1], path)
    with pytest.raises(ValueError, match="images must not be empty"):
        to_onnx(detector, [], path)
    with pytest.raises(ValueError, match=r"images\[0\] of torch.float64"):
        to_onnx(detector, [nuclei[0].double()], path)
    with pytest.raises(ValueError, match=r"any_size needs one image .* got \(3, 64, 256\)"):
        to_onnx(detector, [nuclei[0][:, :64]], path, any_size=True)
    detector.train()
    try:
        with pytest.raises(ValueError, match="evaluation mode"):
            to_onnx(detector, nuclei[:1], path)
    finally:
        detector.eval()
    detector.mask_format = "rle"
    try:
        with pytest.raises(ValueError, match="mask_format must be one of soft, bool, got 'rle'"):
            to_onnx(detector, nuclei[:1], path)
    finally:
        detector.mask_format = "soft"
    assert not path.exists()


def test_a_missing_package_is_named(run_python):
    run_python("import sys; sys.modules['onnxscript'] = None\n"
               "import roikit.export\n"
               "try: roikit.export.translations()\n"
               "except ImportError as error: assert 'pip install \"roikit[onnx]\"' in str(error), error\n"
               "else: raise AssertionError")
