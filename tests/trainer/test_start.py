"""What is found before the first step, or understood: val parts, figures, weights to start from, resuming."""

import contextlib
import json
import os

import pytest
import torch
from click.testing import CliRunner

from roikit import models
from roikit.cli import main
from roikit.errors import RoikitWarning
from roikit.trainer import ConfigError, checkpoint, finish, load_config, predict, train, validation
from roikit.trainer.config import config_text

pytestmark = [pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning"),
              pytest.mark.usefixtures("tiny")]

for library in ("yaml", "pycocotools", "matplotlib", "PIL", "safetensors"):
    pytest.importorskip(library)


@pytest.fixture
def quick(settings):
    """A run of two steps."""
    settings["schedule"]["steps"], settings["schedule"]["warmup_steps"] = 2, 0
    return settings


@pytest.fixture
def val(squares, tmp_path):
    """A function: edit of the squares' annotations -> overrides that make them the val part."""
    def made(edit, encoding="utf-8"):
        content = json.loads(squares[0].read_text())
        edit(content)
        (tmp_path / "val.json").write_bytes(json.dumps(content).encode(encoding))
        return [f"data.val.annotations={tmp_path / 'val.json'}"]

    return made


def refused(error, sentence, config, words, out):
    """No step is made, nor a file that the next run would take for one."""
    steps = []
    with pytest.raises(error, match=sentence):
        train(load_config(config, words), out=out, on_step=steps.append)
    assert not steps and not (out / "last.pt").exists()


@pytest.mark.parametrize("best, hint", [
    ("segm/APP", r"did you mean segm/AP\?"), ("box/AP", r"did you mean bbox/AP\?"), ("AP", "did you mean segm/AP"),
    ("segm/AR200", r"did you mean segm/AR100\?"), ("bbox/per_class", r"did you mean bbox/"), ("", "known are bbox"),
])
def test_contract_a_figure_that_does_not_exist(quick, tmp_path, best, hint):
    quick["eval"] = {"best": best}
    refused(ConfigError, f"eval.best must be kind/figure .*, got '{best}'; {hint}", quick, [], tmp_path / "run")


def test_law_nothing_is_scored_before_the_first_step(quick, tmp_path, monkeypatch, capsys):
    """Scoring nothing takes seconds on a large val part; its objects are looked at all the same."""
    calls, steps = [], []
    monkeypatch.setattr(validation, "coco_scores", lambda *args, **kw: calls.append(len(steps)) or {"AP": 0.5})
    monkeypatch.setattr(validation, "_MANY", 6)
    train(load_config(quick), out=tmp_path / "run", on_step=steps.append)
    assert calls and min(calls) == 2
    assert "reading the 6 annotations of the val part" in capsys.readouterr().err


def test_law_the_figures_are_those_of_the_limits(quick, tmp_path):
    words = ["eval.best=bbox/AR7", "eval.max_detections=[7]"]
    assert train(load_config(quick, words), out=tmp_path / "run")["best"]["name"] == "bbox/AR7"


def test_contract_a_val_part_without_masks_is_evaluated_by_its_boxes(quick, val, tmp_path, capsys):
    words = val(lambda content: [a.pop("segmentation") for a in content["annotations"]])
    metrics = train(load_config(quick, words), out=tmp_path / "run")
    assert metrics["best"]["name"] == "bbox/AP" and "segm" not in metrics
    assert "the val part has no masks: boxes alone are evaluated, and bbox/AP picks best.pt" in capsys.readouterr().err
    words.append("eval.best=segm/APx")
    refused(ConfigError, r"got 'segm/APx'; did you mean bbox/AP\?", quick, words, tmp_path / "x")


def moved(content):
    """The two categories under other ids, and one more between them."""
    content["categories"] = [{"id": 1, "name": "Even"}, {"id": 2, "name": "new"}, {"id": 3, "name": " odd"}]
    for annotation in content["annotations"]:
        annotation["category_id"] = {8: 1, 3: 3}[annotation["category_id"]]


def exchanged(content):
    content["categories"] = [{"id": 3, "name": "even"}, {"id": 8, "name": "odd"}]
    for annotation in content["annotations"]:
        annotation["category_id"] = 11 - annotation["category_id"]


@pytest.mark.parametrize("edit, odd, said", [
    (moved, 3, "only in val: new"), (exchanged, 8, "odd (3) is odd (8)")])
def test_law_categories_are_those_of_the_names(quick, val, tmp_path, capsys, monkeypatch, edit, odd, said):
    drawn, draw = [], finish.draw_objects
    monkeypatch.setattr(finish, "draw_objects", lambda image, objects, names, **kw: (
        drawn.append([names[o["category_id"]].strip().lower() for o in objects]), draw(image, objects, names, **kw))[1])
    plain = train(load_config(quick, ["run.score_threshold=0"]), out=tmp_path / "plain")
    given, drawn[:] = drawn[:], []
    metrics = train(load_config(quick, [*val(edit), "run.score_threshold=0"]), out=tmp_path / "run")
    out = capsys.readouterr().err
    assert "categories of train and val are paired by name" in out and said in out
    assert {r["category_id"] for r in json.loads((tmp_path / "run" / "detections.json").read_text())} == {odd}
    assert drawn == given  # the detector finds label 1, "odd", in every image
    for name in ("bbox", "segm"):
        classes = {k.strip().lower(): v for k, v in metrics[name]["per_class"].items() if k != "new"}
        assert classes == plain[name]["per_class"] and plain[name]["AP"] == metrics[name]["AP"]
    assert checkpoint.load(tmp_path / "run" / "last.pt")["categories"] == [{"id": 3, "name": "odd"},
                                                                           {"id": 8, "name": "even"}]


def test_law_a_category_that_val_lacks_is_left_out(quick, val, tmp_path, capsys):
    def edit(content):
        content["categories"] = content["categories"][1:]
        content["annotations"] = [a for a in content["annotations"] if a["category_id"] == 8]

    metrics = train(load_config(quick, val(edit)), out=tmp_path / "run")
    assert "only in train: odd" in capsys.readouterr().err
    assert metrics["step"] == 2 and json.loads((tmp_path / "run" / "detections.json").read_text()) == []


def test_contract_a_val_part_of_other_categories_is_refused(quick, val, tmp_path):
    def edit(content):
        content["categories"] = [{"id": 1, "name": "cat"}]
        content["annotations"] = []

    refused(ValueError, "the val part shares no category with the training part", quick, val(edit), tmp_path / "run")


@pytest.mark.parametrize("content, sentence", [
    (b"\x89PNG\r\n", "val.json is not JSON"), (b"[]", "val.json must have a list 'images'"), (b"", "is not JSON"),
    (b"{}", "must have a list"),
    (b'{"images": [{"id": 1}], "annotations": [], "categories": []}', "image 1: .*no file_name")])
def test_contract_a_val_file_that_is_none_is_refused(quick, tmp_path, content, sentence):
    (tmp_path / "val.json").write_bytes(content)
    for part, called in (("val", "the val part"), ("train", "the training part")):
        words = [f"data.{part}.annotations={tmp_path / 'val.json'}"]
        for more in ([], [f"data.{part}.limit=2"]):
            refused(ValueError, f"train: {called} cannot be used: .*{sentence}", quick, words + more, tmp_path / "run")


@pytest.mark.parametrize("edit", [
    lambda a: a.update(area=None), lambda a: a.pop("area"), lambda a: a.pop("bbox"), lambda a: a.update(bbox=None),
    lambda a: a.update(iscrowd=None), lambda a: a.pop("iscrowd"), lambda a: a.update(segmentation=[]),
    lambda a: a.pop("id")])
def test_law_a_val_file_with_gaps_is_evaluated(quick, val, tmp_path, edit):
    words = val(lambda content: [edit(a) for a in content["annotations"][:2]])
    assert "segm" in train(load_config(quick, words), out=tmp_path / "run")


def test_contract_an_evaluation_that_could_not_be_is_found(quick, val, tmp_path):
    def edit(content):
        content["annotations"][2] |= {"bbox": "here", "segmentation": {"size": 3}}

    refused(ValueError, "train: the val part cannot be used: ", quick, val(edit), tmp_path / "run")


def test_contract_a_model_that_cannot_be_built(quick, tmp_path, monkeypatch):
    def build(config):
        raise RuntimeError("negative dimension")

    monkeypatch.setattr(models, "build_detector", build)
    refused(ConfigError, "config: model: it cannot be built: RuntimeError: negative", quick, [], tmp_path / "run")


def test_contract_a_byte_order_mark_in_the_val_file_is_none_of_it(quick, val, tmp_path):
    words = [*val(lambda content: None, "utf-8-sig"), "data.val.limit=3"]
    assert "segm" in train(load_config(quick, words), out=tmp_path / "run")


@pytest.mark.parametrize("part", ["train", "val"])
def test_contract_images_without_a_file_are_found(quick, squares, tmp_path, part):
    (tmp_path / "images").mkdir()
    name = {"train": "training", "val": "val"}[part]
    refused(FileNotFoundError, rf"7 of 7 images of the {name} part have no file, the first of them .*0\.png", quick,
            [f"data.{part}.images={tmp_path / 'images'}"], tmp_path / "run")


@pytest.mark.parametrize("part", ["train", "val"])
def test_contract_a_run_goes_on_without_some_files_and_says_so(quick, squares, tmp_path, part):
    (tmp_path / "images").mkdir()
    for path in squares[1].glob("[0-4].png"):
        os.link(path, tmp_path / "images" / path.name)
    config = load_config(quick, [f"data.{part}.images={tmp_path / 'images'}", "schedule.steps=0"])
    with pytest.warns(RoikitWarning, match=r"2 of 7 image files are missing: 5\.png, 6\.png; they are left out"):
        train(config, out=tmp_path / "run")


def test_law_a_run_can_start_from_another_ones_folder(quick, tmp_path, capsys):
    config = load_config(quick, ["optimizer.ema=null"])
    train(config, out=tmp_path / "first")
    train(load_config(config, ["schedule.steps=0", f"run.init={tmp_path / 'first'}"]), out=tmp_path / "second")
    kept = [checkpoint.load(tmp_path / name)["model"] for name in ("first/best.pt", "second/last.pt")]
    assert all(torch.equal(kept[1][name], value) for name, value in kept[0].items())
    assert f"{tmp_path / 'first' / 'best.pt'}: 9 tensors loaded" in capsys.readouterr().err
    refused(FileNotFoundError, "none of best.pt, last.pt", quick, [f"run.init={tmp_path}"], tmp_path / "third")


def test_law_wrapped_weights_start_a_run(quick, tmp_path):
    model = models.build_detector(load_config(quick, ["model.num_classes=3"]).model)
    torch.save(torch.nn.DataParallel(model).state_dict(), tmp_path / "m.pth")
    words = [f"run.init={tmp_path / 'm.pth'}", "schedule.steps=0", "optimizer.ema=null"]
    train(load_config(quick, words), out=tmp_path / "run")
    kept = checkpoint.load(tmp_path / "run" / "last.pt")["model"]
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("field", ["init", "init_backbone"])
def test_contract_weights_that_are_a_picture(quick, squares, tmp_path, field, monkeypatch):
    monkeypatch.setattr(models.build_detector, "backbone", torch.nn.Module(), raising=False)
    monkeypatch.setattr(models.build_detector.backbone, "body", torch.nn.Linear(2, 2), raising=False)
    monkeypatch.setattr(models.build_detector, "roi_heads", torch.nn.Module(), raising=False)
    refused(ValueError, r"0\.png must hold tensors", quick, [f"run.{field}={squares[1] / '0.png'}"], tmp_path / "run")
    refused(FileNotFoundError, "none.pth", quick, [f"run.{field}={tmp_path / 'none.pth'}"], tmp_path / "run")


def test_contract_resuming_says_when_there_is_nothing_to_resume(quick, tmp_path, capsys):
    train(load_config(quick), out=tmp_path / "run", resume=True)
    assert "last.pt is not there, so there is nothing to resume: the run starts anew" in capsys.readouterr().err
    train(None, out=tmp_path / "run", resume=True)
    assert "resumed at step 2" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04" + bytes(50)])
def test_contract_a_checkpoint_that_cannot_be_read(quick, tmp_path, content):
    config, out = load_config(quick), tmp_path / "run"
    train(config, out=out)
    (out / "last.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"train: cannot resume: .*last\.pt is not a readable .*; run\.init=.*best\.pt"
                       ) as end:
        train(config, out=out, resume=True)
    assert "\n" not in str(end.value)
    state = {"format": checkpoint.FORMAT, "version": 1, "model": {}}
    torch.save(state, out / "last.pt")
    with pytest.raises(ValueError, match="last.pt has no average"):
        train(config, out=out, resume=True)


def test_contract_a_checkpoint_of_another_run(quick, tmp_path, monkeypatch):
    config, out = load_config(quick), tmp_path / "run"
    train(config, out=out)
    for word in ("optimizer.kind=adamw", "optimizer.decay_norm_and_bias=false"):
        with pytest.raises(ValueError, match="optimizer.kind and optimizer.decay_norm_and_bias must stay"):
            train(config, [word], out=out, resume=True)
    state = checkpoint.load(out / "last.pt")
    state["model"]["conv.weight"] = torch.zeros(1)
    torch.save(state, out / "last.pt")
    with pytest.raises(ValueError, match="resume: the checkpoint was made with another model"):
        train(config, out=out, resume=True)


ODD = [None, 3, "x", [], [{"id": 1}], {}, {"param_groups": [1], "state": {}}]


@pytest.mark.parametrize("field", ["model", "average", "optimizer", "scaler", "step", "epoch", "sampler", "rng", "best",
                                   "config", "categories"])
def test_law_a_malformed_checkpoint_gets_a_sentence(quick, squares, tmp_path, field):
    words = ["optimizer.ema=null"] if field != "average" else []
    config, out, picture = load_config(quick, words), tmp_path / "run", squares[1] / "0.png"
    train(config, out=out)
    whole = checkpoint.load(out / "last.pt")
    for odd in ODD:
        torch.save({"format": checkpoint.FORMAT, "version": 1, **whole, field: odd}, out / "last.pt")
        for call in (lambda: predict(out / "last.pt", picture, device="cpu"),
                     lambda: train(config, ["schedule.steps=3"], out=out, resume=True)):
            with contextlib.suppress(ValueError):  # and nothing else
                call()


def test_contract_a_safetensors_header_without_names(quick, squares, tmp_path):
    train(load_config(quick), out=tmp_path / "run")
    kept = checkpoint.load(tmp_path / "run" / "last.pt")
    for categories in (None, [], [{"id": 3}], kept["categories"][:1]):
        checkpoint.export_safetensors(tmp_path / "m.safetensors", kept["model"], kept["config"], categories)
        with pytest.raises(ValueError, match="m.safetensors: its (categories must be|model tells 2 categories apart)"):
            predict(tmp_path / "m.safetensors", squares[1] / "0.png", device="cpu")


def test_law_a_tilde_is_the_home_folder(quick, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    train(load_config(quick), out="~/run")
    assert (tmp_path / "run" / "last.pt").is_file()
    assert train(None, out="~/run", resume=True)["step"] == 2


@pytest.mark.parametrize("word", [
    "data.batch_size=99", "data.batch_size=0", "run.device=tpu", "run.device=2024", "schedule.steps=null",
    "eval.max_detections=[3, 1]", "model.backbone.name=vgg", "model.box=null", "run.name=", "data.train.images=none",
    "data.train.annotations=none.json", "data.val.limit=0", "run.init=none", "model.num_classes=1", "data={train: 3}"])
def test_contract_the_command_shows_no_traceback(quick, tmp_path, monkeypatch, word):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(config_text(load_config(quick)))
    result = CliRunner().invoke(main, ["train", "run.yaml", "--out", "out", "run.doctor=true", word])
    assert isinstance(result.exception, SystemExit | None), (word, result.exc_info)
    assert "Traceback" not in result.output


def test_contract_a_training_part_without_an_object(quick, squares, tmp_path):
    content = json.loads(squares[0].read_text())
    content["annotations"] = []
    (tmp_path / "train.json").write_text(json.dumps(content))
    words = [f"data.train.annotations={tmp_path / 'train.json'}", "run.doctor=false"]
    refused(ValueError, "none of the 7 training images has an object to learn", quick, words, tmp_path / "run")
