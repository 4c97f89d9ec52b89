"""The command line: each command on small data, and what a mistake looks like."""

import json
import sys

import pytest
from click.testing import CliRunner

from roikit.cli import main
from roikit.trainer.config import config_text, load_config, preset_names

pytestmark = [pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning"),
              pytest.mark.usefixtures("tiny")]

for library in ("yaml", "pycocotools", "matplotlib", "PIL", "safetensors"):
    pytest.importorskip(library)


def call(*words, code=0):
    result = CliRunner().invoke(main, [str(w) for w in words])
    assert result.exit_code == code, result.output
    return result.output


def test_contract_train_eval_predict(settings, squares, tmp_path):
    (tmp_path / "run.yaml").write_text(config_text(load_config(settings)))
    out = tmp_path / "run"
    said = call("train", tmp_path / "run.yaml", "schedule.steps=2", "--out", out)
    assert "step 2/2" in said and "eta" in said and "img/s" in said and "AP50" in said
    call("train", "--resume", "schedule.steps=3", "--out", out)
    assert json.loads((out / "metrics.json").read_text())["step"] == 3
    said = call("eval", out, "--device", "cpu", "--max-detections", "1,5", "--out", tmp_path / "m")
    assert "AR5" in said and "ms an image" in said
    said = call("eval", out / "detections.json", squares[0], "--iou-type", "bbox", "--iou", 0.3, "--out",
                tmp_path / "n")
    assert "bbox" in said and "segm" not in said
    assert json.loads((tmp_path / "n" / "analysis.json").read_text())["bbox"]["iou"] == 0.3
    said = call("predict", out, squares[1] / "0.png", "--out", tmp_path / "p", "--no-boxes",
                "--score-threshold", 0)
    assert "1 objects" in said and (tmp_path / "p" / "0.png").is_file()


def test_contract_show_config_trains_nothing(tmp_path):
    said = call("train", "nuclei-mini", "run.seed=77", "--show-config")
    assert "seed: 77" in said and load_config("nuclei-mini").run.seed != 77


def test_contract_mistakes_are_one_line(tmp_path):
    for words, text in [
        (["train", "nuclei-mini", "optimizer.lrr=1"], "did you mean optimizer.lr?"),
        (["train", "nuclei-mni"], "did you mean nuclei-mini?"),
        (["predict", tmp_path, __file__], "none of best.pt, last.pt and model.safetensors"),
    ]:
        said = call(*words, code=1)
        assert text in said and len(said.splitlines()) == 1
    assert "name a preset" in call("train", code=2)
    assert "one preset" in call("train", "a", "b", code=2)
    assert "1,10,200" in call("eval", tmp_path, "--max-detections", "x", code=2)


def test_contract_presets_have_a_line_each():
    lines = call("presets").splitlines()
    own = lines.index("trained on the data in the package:"), lines.index("trained on files that you name:")
    for name in preset_names():
        place, = (i for i, line in enumerate(lines) if line.split()[0] == name)
        _, millions, unit, about = lines[place].split(maxsplit=3)
        assert float(millions) >= 0 and unit == "M" and about.endswith(".") and "#" not in about
        assert (own[0] < place < own[1]) == (load_config(name).data.bundled is not None)


def test_contract_info():
    assert "simd" in call("info")


def test_contract_doctor_ends_with_its_verdict(squares, tmp_path):
    path, folder = squares
    assert "7 images" in call("doctor", path, folder)
    content = json.loads(path.read_text())
    content["images"][0]["file_name"] = "gone.png"
    (tmp_path / "bad.json").write_text(json.dumps(content))
    assert "1 of 7 image files is missing: gone.png; it is left out" in call("doctor", tmp_path / "bad.json", folder)
    for record in content["images"]:
        record["file_name"] = "gone" + record["file_name"]
    (tmp_path / "bad.json").write_text(json.dumps(content))
    assert "7 of 7 image files are missing: " in call("doctor", tmp_path / "bad.json", folder, code=1)


@pytest.mark.parametrize("code", [
    "import roikit, sys; roikit.__dir__()",
    "import roikit.cli, sys",
    "import sys; from roikit.trainer.scores import coco_scores",
])
def test_law_the_command_line_waits_for_no_torch(code, run_python):
    run_python(f"{code}; assert 'torch' not in sys.modules and 'yaml' not in sys.modules")


def test_contract_a_missing_extra_names_the_remedy(monkeypatch):
    from roikit.trainer.extras import extra

    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ImportError, match=r'reading needs PyYAML .*pip install "roikit\[train\]"'):
        extra("yaml", "reading")


def test_contract_the_doctor_looks_at_label_maps(squares, tmp_path):
    image = pytest.importorskip("PIL.Image")
    for i in range(7):
        image.new("L", (16, 16), 3).save(tmp_path / f"{i}.png")
    assert "semantic" not in call("doctor", *squares, "--semantic", tmp_path)
    said = call("doctor", *squares, "--semantic", tmp_path, "--semantic-classes", 3, code=1)
    assert "error: semantic-label (7)" in said and "has the label 3, and labels are 0..2 and 255" in said
