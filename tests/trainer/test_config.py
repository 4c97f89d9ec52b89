"""Training configurations: presets, files with a base, overrides, sentences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit.models import DetectorConfig
from roikit.trainer import ConfigError, TrainConfig, load_config, preset_names
from roikit.trainer.config import config_text

pytest.importorskip("yaml")


@pytest.mark.parametrize("name", preset_names())
def test_law_presets_survive_yaml(name, tmp_path):
    config = load_config(name)
    (tmp_path / "again.yaml").write_text(config_text(config))
    assert load_config(tmp_path / "again.yaml") == config
    assert config != TrainConfig()
    assert (config.schedule.steps is None) != (config.schedule.epochs is None)
    if isinstance(config.model, DetectorConfig):
        assert config.model.box.detections_per_image >= config.eval.max_detections[-1]


@given(st.floats(1e-6, 1.0), st.integers(1, 64), st.sampled_from(["sgd", "adamw"]),
       st.none() | st.floats(0.1, 10))
def test_law_overrides_are_what_the_file_then_says(lr, batch, kind, clip):
    words = [f"optimizer.lr={lr}", f"data.batch_size={batch}", f"optimizer.kind={kind}",
             f"optimizer.clip_norm={'null' if clip is None else clip}"]
    config = load_config("nuclei-mini", words)
    assert (config.optimizer.lr, config.data.batch_size, config.optimizer.kind,
            config.optimizer.clip_norm) == (lr, batch, kind, clip)


def test_law_a_base_is_what_a_file_starts_from(tmp_path):
    (tmp_path / "a.yaml").write_text("base: nuclei-mini\noptimizer: {lr: 0.25}\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.yaml").write_text("base: ../a.yaml\nmodel: {mask: null}\n")
    config = load_config(tmp_path / "sub" / "b.yaml", ["run.seed=3"])
    preset = load_config("nuclei-mini")
    assert config.optimizer.lr == 0.25 and config.run.seed == 3
    assert config.model.mask is None and config.model.rpn == preset.model.rpn
    assert config.augment == preset.augment


@pytest.mark.parametrize("word, sentence", [
    ("optimiser.lr=1", r"unknown key optimiser; did you mean optimizer\?"),
    ("optimizer.ema=1.5", "optimizer: ema must be within 0 and 1, got 1.5"),
    ("data.batch_size=0", "data: batch_size must be at least 1, got 0"),
    ("augment.scale=[0.5, 2]", "augment: scale needs a crop"),
    ("schedule.milestones=[3, 4]", "milestones are parts of the run, within 0 and 1"),
    ("eval.max_detections=[]", "max_detections must be ascending positive numbers"),
    ("model.rpn.nms_threshold=2", r"model\.rpn: .*nms_threshold"),
    ("data.bundled=coco", "data.bundled must be one of nuclei-mini, got 'coco'"),
    ("data.val.images=a", "data.val: annotations and images must be given together"),
    ("run.amp=fp8", "run.amp must be one of off, auto, bf16, fp16, got 'fp8'"),
])
def test_contract_overrides_that_do_not_fit(word, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load_config("nuclei-mini", [word])


def test_contract_sources_that_are_none(tmp_path):
    with pytest.raises(ConfigError, match="did you mean nuclei-mini"):
        load_config("nuclei-minni")
    with pytest.raises(ConfigError, match="neither a file nor a preset; presets are "):
        load_config("zzz")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="must hold a mapping, got list"):
        load_config(tmp_path / "list.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1\n")
    with pytest.raises(ConfigError, match="is not YAML"):
        load_config(tmp_path / "bad.yaml")
    (tmp_path / "self.yaml").write_text("base: self.yaml\n")
    with pytest.raises(ConfigError, match="is its own base"):
        load_config(tmp_path / "self.yaml")


@pytest.mark.parametrize("content", [
    b"\x89PNG\r\n\x1a\n\x00\x01", b"\xff\xfe\x00", b"\x00" * 40, 4000 * b"[", b"a: *b",
    b"? [a]\n: 1", b"!!python/name:os x", b"%"])
def test_contract_a_file_that_is_no_yaml_is_named(tmp_path, content):
    (tmp_path / "some.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"config: .*some\.yaml (is not YAML|must hold a mapping)"):
        load_config(tmp_path / "some.yaml")


@pytest.mark.parametrize("text, sentence", [
    ("base: [1]", "base must be the name of a preset or of a file, got"), ("base: 2024", "'2024' is neither a file"),
    ("data: [a]", "config: data must be a mapping, got"), ("2024: 1", "unknown key 2024"), ("[a]: 1", "is not YAML"),
    ("model: {mask: 3}", "model.mask must be a mapping, got 3"), ("data: {train: [x]}", "data.train must be a mapp")])
def test_contract_a_file_of_another_shape_is_a_sentence(tmp_path, text, sentence):
    (tmp_path / "some.yaml").write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        load_config(tmp_path / "some.yaml")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])  # as Windows' editors and shells write
def test_contract_a_byte_order_mark_is_no_part_of_a_file(tmp_path, encoding):
    (tmp_path / "some.yaml").write_bytes("run: {name: 2024}".encode(encoding))
    assert load_config(tmp_path / "some.yaml").run.name == "2024"


def test_law_paths_are_taken_as_they_are_written(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.yaml").write_text("data: {train: {annotations: 2024, images: ~/photos}}")
    words = ["data.val.images=photos #2", "data.val.annotations=~/val.json", "run.init=2024"]
    for config in (load_config("~/own.yaml", words), load_config({"base": "~/own.yaml"}, words)):
        assert config.data.train.annotations == "2024" and config.data.train.images == f"{tmp_path}/photos"
        assert config.data.val.images == "photos #2" and config.data.val.annotations == f"{tmp_path}/val.json"
        assert config.run.init == "2024" and config.run.init_backbone is None
        (tmp_path / "all.yaml").write_text(config_text(config))
        assert load_config(tmp_path / "all.yaml") == config
