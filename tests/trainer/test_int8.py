"""A run for 8-bit integers: its ranges beside its weights, and prediction and evaluation by them."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")
for library in ("yaml", "matplotlib", "safetensors"):
    pytest.importorskip(library)

from roikit.cli import main  # noqa: E402
from roikit.errors import BackendError, RoikitWarning  # noqa: E402
from roikit.models import InferenceRanges  # noqa: E402
from roikit.models.parts.int8 import has_int8  # noqa: E402
from roikit.trainer import evaluate, load_config, predict, quantize, train  # noqa: E402
from roikit.trainer.int8 import in_int8, ranges_file  # noqa: E402
from roikit.trainer.trained import load_trained  # noqa: E402

from .test_real_model import SMALL  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning")


@pytest.fixture
def run(squares, tmp_path):
    part = dict(zip(("annotations", "images"), map(str, squares), strict=True))
    train(load_config({**SMALL, "data": {"train": part, "val": part, "batch_size": 2}},
                      ["schedule.steps=1", "schedule.warmup_steps=0", "run.report=0", "eval.every=null"]),
          out=tmp_path / "run")
    return tmp_path / "run"


def command(*words):
    result = CliRunner().invoke(main, [str(word) for word in words])
    return result.exit_code, result.output


def test_contract_a_run_on_integers(run, squares, tmp_path):
    code, said = command("eval", run, "--int8", "--device", "cpu")
    assert code == 1 and said.startswith("Error: ") and said.count("\n") == 1
    assert "last.int8.json does not exist: `roikit quantize" in said or "best.int8.json does not exist" in said
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(5):
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (16, 16, 3), np.uint8)).save(
            photos / f"{number}.png")
    (photos / "broken.png").write_bytes(b"no picture")
    code, said = command("quantize", run, "--images", photos, "--most", 4)
    written, = run.glob("*.int8.json")
    assert code == 0 and f"{written}: the ranges of 4 images in " in said
    assert json.loads(written.read_text())["images"] == 4
    code, said = command("quantize", run, "--images", photos)
    assert code == 1 and "broken.png" in said and json.loads(written.read_text())["images"] == 5
    if not has_int8():
        with pytest.raises(BackendError, match="'int8' needs a processor with VNNI or AMX"):
            evaluate(run, int8=True, device="cpu")
        return
    plain, coded = (evaluate(run, int8=int8, device="cpu", out=tmp_path / str(int8)) for int8 in (False, True))
    assert plain.keys() == coded.keys()
    found = predict(run, photos / "0.png", out=tmp_path / "found", int8=True, score_threshold=0.0, device="cpu")
    assert found and found != predict(run, photos / "0.png", score_threshold=0.0, device="cpu")
    code, said = command("predict", run, photos / "0.png", "--out", tmp_path / "found", "--resume",
                         "--score-threshold", 0, "--device", "cpu")
    assert code == 1 and "int8" in said and said.count("\n") == 1
    (run / "old.json").write_bytes(written.read_bytes())
    part = dict(zip(("annotations", "images"), map(str, squares), strict=True))
    train(load_config({**SMALL, "data": {"train": part, "val": part, "batch_size": 2}},
                      ["schedule.steps=2", "schedule.warmup_steps=0", "run.report=0", "eval.every=null"]),
          out=tmp_path / "again")
    (tmp_path / "again" / written.name).write_bytes(written.read_bytes())
    with pytest.raises(ValueError, match=r"int8\.json: .* other weights: measure anew"):
        evaluate(tmp_path / "again", int8=True, device="cpu")


def test_contract_ranges_are_found_beside_weights_at_an_address(run, squares, tmp_path, monkeypatch):
    fs = pytest.importorskip("fsspec").filesystem("memory")
    monkeypatch.setenv("ROIKIT_HOME", str(tmp_path / "home"))
    weights, = run.glob("last.pt")
    fs.pipe("/run18/last.pt", weights.read_bytes())
    with pytest.raises(FileNotFoundError, match=r"there is nothing at memory://run18/last\.int8\.json: `roikit quant"):
        in_int8(load_trained("memory://run18", "cpu"))
    fs.pipe("/run18/last.int8.json", b"{}")
    monkeypatch.setattr("roikit.data.remote.mirror._FRESH", 0.0)
    for source in ("memory://run18", "memory://run18/last.pt"):
        with pytest.raises(ValueError, match=r"last\.int8\.json is nothing that InferenceRanges\.save wrote"):
            in_int8(load_trained(source, "cpu"))
    path = quantize(weights, squares[1] / "0.png")
    whole = path.read_bytes()

    def half(path, text, encoding):
        path.write_bytes(text.encode()[:9])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("pathlib.Path.write_text", half)
        with pytest.raises(OSError, match=r"No space left"):
            InferenceRanges.load(path).save(path)
        full.setattr("os.access", lambda path, mode: False)
        with pytest.raises(PermissionError, match="quantize: .*run cannot be written to"):
            quantize(weights, squares[1] / "0.png", progress=lambda done, count: 1 / 0)
    assert path.read_bytes() == whole and not list(run.glob(".*"))
    fs.pipe("/run18/last.int8.json", path.read_bytes())
    trained = load_trained("memory://run18/last.pt", "cpu")
    if has_int8():
        assert in_int8(trained).model is not trained.model
    else:
        with pytest.raises(BackendError):
            in_int8(trained)
    assert ranges_file(trained.path).read_bytes() == path.read_bytes()


def test_contract_what_cannot_be_done_says_so(run, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    code, said = command("quantize", run, "--images", empty)
    assert code == 1 and said.startswith(f"Error: quantize: {empty} has no images") and said.count("\n") == 1
    (empty / "broken.png").write_bytes(b"no picture")
    with pytest.warns(RoikitWarning, match=r"quantize: .*broken\.png"), pytest.raises(
            OSError, match="quantize: none of the 1 image could be read"):
        quantize(run, empty)
    with pytest.raises(ValueError, match="most must be at least 1, got 0"):
        quantize(run, empty, most=0)
    with pytest.raises(ValueError, match="the source must be on this machine, where the ranges are written, got s3://"):
        quantize("s3://bucket/run", empty)
    with pytest.raises(ValueError, match="int8 is a way to prepare a model"):
        evaluate(run, int8=True, prepare=False, device="cpu")
    with pytest.raises(ValueError, match="int8 is a way to prepare a model"):
        predict(run, run / "curves.png", int8=True, prepare=False, device="cpu")
    assert not list(run.glob("*.int8.json"))


def test_contract_a_model_of_other_parts(settings, tiny, tmp_path, squares):
    train(load_config(settings, ["schedule.steps=1", "eval.every=null"]), out=tmp_path / "run")
    with pytest.raises(ValueError, match="quantize: .* must be a detector or a segmenter of roikit.models, got TinyD"):
        quantize(tmp_path / "run", squares[1])
