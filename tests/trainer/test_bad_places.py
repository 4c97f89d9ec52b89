"""Places that cannot be written to and disks that are full: a sentence with the file's name, and no traceback."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from roikit.cli import main
from roikit.data import inspect_dataset
from roikit.errors import naming
from roikit.trainer import checkpoint, evaluate, load_config, train
from roikit.trainer.config import config_text
from roikit.trainer.sentences import sentence_about, sentence_of

resource = pytest.importorskip("resource")
Image = pytest.importorskip("PIL.Image")
for library in ("yaml", "pycocotools", "matplotlib", "safetensors"):
    pytest.importorskip(library)


@contextlib.contextmanager
def full_disk(size):
    """No file can grow beyond ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def ends_in_a_sentence(words, names, full=None):
    with contextlib.nullcontext() if full is None else full_disk(full):
        ended = CliRunner().invoke(main, [str(word) for word in words])
    assert ended.exit_code == 1 and isinstance(ended.exception, SystemExit), (words, ended.output, ended.exception)
    assert re.search(names, ended.output) and not re.search("Errno|enforce", ended.output), ended.output
    return ended.output


@pytest.fixture
def results(squares, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps([{"image_id": 10, "category_id": 3, "bbox": [0, 0, 5, 5], "score": 0.5}]))
    return path


@pytest.mark.parametrize("layout", ["coco", "yolo", "labelme", "label-images", "mask-images", "voc"])
def test_contract_converting_onto_a_full_disk(squares, tmp_path, layout):
    out = tmp_path / ("out.json" if layout == "coco" else "out")
    ends_in_a_sentence(["convert-data", squares[0], out, "--to", layout], f"Error: {out}.*: File too large", full=40)
    if layout == "coco":
        assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning")
def test_contract_mending_and_scoring_onto_a_full_disk(squares, results, tmp_path):
    ends_in_a_sentence(["doctor", *squares, "--mend", tmp_path / "m.json"], "m.json: File too large", full=40)
    assert not list(tmp_path.glob("m.json*"))
    for size, name in ((40, "metrics.json"), (4000, "analysis.json"), (20_000, "report.html")):
        ends_in_a_sentence(["eval", results, *squares, "--out", tmp_path / "out"], f"out/{name}: File too large",
                           full=size)


@pytest.mark.usefixtures("tiny")
@pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning")
def test_contract_training_and_predicting_onto_a_full_disk(squares, settings, tmp_path):
    words = ["schedule.steps=2", "eval.every=null", "run.predictions=1"]
    config = tmp_path / "run.yaml"
    config.write_text(json.dumps({**settings, "run": {**settings["run"], "report": 0}}))
    told = ends_in_a_sentence(["train", config, *words, "--out", tmp_path / "full"], "2 steps are done",
                              full=len(config_text(load_config(str(config), words))) + 500)
    assert f"last.pt failed: {tmp_path / 'full' / 'last.pt'}: File too large" in told
    train(load_config(str(config), words), out=tmp_path / "run")
    words = ["predict", tmp_path / "run", squares[1], "--out", tmp_path / "found", "--score-threshold", 0]
    told = ends_in_a_sentence([*words, "--write", "overlays,instances,yolo,labelme", "--device", "cpu"],
                              r"found/predictions.jsonl cannot be written: File too large; what was found before is "
                              "kept, and --resume goes on with it", full=300)
    assert "found/0.png: File too large" in told
    words += ["--write", "yolo,labelme", "--resume"]
    assert CliRunner().invoke(main, [str(word) for word in words]).exit_code == 0
    assert len(list((tmp_path / "found" / "labelme").glob("*.json"))) == 7


LOCKED = """
import json, sys
from click.testing import CliRunner
from roikit.cli import main
folder, annotations, images, results = sys.argv[1:]
for words in (["convert-data", annotations, f"{folder}/a.json"],
              ["convert-data", annotations, f"{folder}/b", "--to", "yolo"],
              ["doctor", annotations, images, "--mend", f"{folder}/c.json"],
              ["eval", results, annotations, images, "--out", folder],
              ["eval", results, annotations, "--out", f"{folder}/d"]):
    ended = CliRunner().invoke(main, words)
    print(ended.exit_code, type(ended.exception).__name__, ended.output.splitlines()[-1])
"""


def test_contract_a_folder_that_cannot_be_written_to(squares, results, tmp_path):
    locked, command = tmp_path / "locked", [sys.executable, "-c", LOCKED]
    if os.geteuid() == 0:  # to whom everything is open, but for this
        if shutil.which("setpriv") is None:
            pytest.skip("root can write everywhere, and there is no setpriv")
        command = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override", *command]
    locked.mkdir()
    locked.chmod(0o555)
    ended = subprocess.run([*command, locked, *squares, results], capture_output=True, text=True, cwd=tmp_path)
    if "setpriv" in ended.stderr:
        pytest.skip("root can write everywhere, and setpriv may not change that")
    told = ended.stdout.splitlines()
    assert len(told) == 5, ended.stderr
    for line, name in zip(told, ("/.a.json.part", "/b", "/c.json.part", "", "/d"), strict=True):
        reason = " cannot be written to" if not name else ": Permission denied"
        assert re.fullmatch(rf"1 SystemExit Error: (evaluate: )?{locked}{name}{reason}", line), line


def test_contract_a_folder_that_cannot_be_written_to_is_found_before_an_evaluation(monkeypatch, squares, results,
                                                                                   tmp_path):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr("roikit.trainer.evaluation.read_json", None)
    with pytest.raises(PermissionError, match="^evaluate: .*out cannot be written to"):
        evaluate(results, *squares, out=tmp_path / "out")


def test_law_what_is_written_is_named():
    with pytest.raises(OSError) as raised, naming("a.json"), open("/dev/full", "wb", buffering=0) as file:
        file.write(b"x")
    assert sentence_of(raised.value) == "a.json: No space left on device"
    with pytest.raises(FileNotFoundError) as raised, naming("a.json"):
        open("none.json")
    assert raised.value.filename == "none.json"
    with pytest.raises(RuntimeError, match="something else"), naming("a.json"):
        raise RuntimeError("something else")
    assert sentence_of(OSError(28, "No space left on device", "from.png", None, "to.png")).startswith("to.png: ")
    assert sentence_of(OSError(13, "Permission denied", "from.png", None, "to.png")).startswith("from.png: ")
    assert sentence_about("a.png", OSError(28, "No space left on device")) == "a.png: No space left on device"


def test_law_a_checkpoint_that_does_not_fit_says_why(tmp_path):
    torch = pytest.importorskip("torch")
    with full_disk(1000), pytest.raises(OSError) as raised:
        checkpoint.write_atomically(tmp_path / "last.pt", lambda file: torch.save(torch.zeros(10_000), file))
    assert sentence_of(raised.value) == f"{tmp_path / 'last.pt'}: File too large"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning")
def test_contract_a_picture_that_is_a_bomb_is_named_by_each_command(squares, results, tmp_path):
    folder = tmp_path / "images"
    shutil.copytree(squares[1], folder)
    Image.new("1", (20_000, 20_000)).save(folder / "0.png")
    assert "too-large-image" in {finding.kind for finding in inspect_dataset(squares[0], folder).errors}
    ends_in_a_sentence(["doctor", squares[0], folder], "0.png has more pixels than are taken for safe")
    assert CliRunner().invoke(main, ["convert-data", str(squares[0]), str(tmp_path / "out"), "--to", "yolo", "--images",
                                     str(folder), "--no-copy"]).exit_code == 0
    content = json.loads(squares[0].read_text())
    content["images"][0].update(height=20_000, width=20_000)
    content["annotations"][0]["segmentation"] = {"size": [20_000, 20_000], "counts": [0, 4, 20_000 ** 2 - 4]}
    (tmp_path / "bomb.json").write_text(json.dumps(content))
    assert CliRunner().invoke(main, ["eval", str(results), str(tmp_path / "bomb.json"), str(folder), "--out",
                                     str(tmp_path / "scored")]).exit_code == 0


def test_contract_results_for_other_images(squares, tmp_path):
    results, one = tmp_path / "results.json", {"category_id": 3, "bbox": [0, 0, 5, 5], "score": 0.5}
    for item, words in (({"image_id": 99}, "1 image id of the results is not in the annotations, among them .99"),
                        ({"image_id": 1, "file_name": "other.png", "category_name": "odd"},
                         "images of the results are not in the annotations by their file names, among them other.png")):
        results.write_text(json.dumps([{**one, **item}]))
        ends_in_a_sentence(["eval", results, *squares], words)
    results.write_text(squares[0].read_text())
    ends_in_a_sentence(["eval", results, *squares], "it seems to be a file of annotations")


def test_contract_annotations_that_may_not_be_read_are_named_so(monkeypatch, squares, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(squares[0].read_bytes())

    def refused(file, *args, **kwargs):
        if os.fspath(file) == str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(file, *args, **kwargs)

    opened = open
    monkeypatch.setattr("builtins.open", refused)
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda self: refused(self, "rb").read())
    ends_in_a_sentence(["convert-data", path, tmp_path / "out.json"], f"^Error: {path}: Permission denied")
    report = inspect_dataset(path, squares[1])
    assert [finding.sentence for finding in report.errors] == [f"{path}: Permission denied"]
