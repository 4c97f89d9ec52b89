"""The pages of docs/family: their code runs, and the names, files and figures that they speak of are there."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch

from roikit.models import published
from roikit.trainer import preset_names

DOCS = Path(__file__).resolve().parents[2] / "docs"
INDEX = DOCS / "family.md"
PAGES = sorted((DOCS / "family").glob("*.md"))
FIGURES = DOCS / "images" / "family"
PARTS = "backbone|rpn|roi_heads|sem_seg_head|protonet|semantic_head|classifier|aux_classifier"
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def detectors_of(page):
    """What the page's code has built, without weights."""
    names = {}
    with torch.device("meta"):
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
            exec(compile(block, str(page), "exec"), names)
    values = [value for value in names.values() if isinstance(value, torch.nn.Module)]
    for value in names.values():
        values += value if isinstance(value, tuple) else value.values() if isinstance(value, dict) else ()
    return [value for value in values if isinstance(value, torch.nn.Module)]


@pages
def test_its_code_runs_and_the_names_of_its_state_dicts_occur(page):
    models = detectors_of(page)
    assert models
    keys = {key for model in models for key in model.state_dict()}
    said = re.findall(rf"`((?:{PARTS})\.[\w.]+)`", page.read_text())
    fields = {"rpn.rounded_anchors", "rpn.anchor_order", "rpn.nominal_strides", "rpn.angles",
              "backbone.stride_in_1x1"}
    wrong = [name for name in said if name not in fields and not any(f"{key}.".startswith(f"{name}.") for key in keys)]
    assert said and not wrong, wrong


def test_the_parameters_of_the_second_generation_are_those_that_the_page_states():
    text = (DOCS / "family" / "two_stage.md").read_text()
    stated = [int(number) for number in re.search(r"# (\d+), (\d+)$", text, re.M).groups()]
    from roikit.models import fasterrcnn_resnet50_fpn_v2, maskrcnn_resnet50_fpn_v2
    with torch.device("meta"):
        counted = [sum(p.numel() for p in build().parameters())
                   for build in (fasterrcnn_resnet50_fpn_v2, maskrcnn_resnet50_fpn_v2)]
    assert counted == stated


def test_the_index_knows_every_page_and_preset():
    text = INDEX.read_text()
    assert {page.stem for page in PAGES} == set(re.findall(r"\(family/(\w+)\.md", text))
    column = " ".join(line.split("|")[4] for line in text.splitlines() if line.startswith("| ") and "](family" in line)
    assert set(re.findall(r"`([\w-]+)`", column)) == set(preset_names()) - {"nuclei"}


@pages
def test_presets_that_it_trains_exist(page):
    assert set(re.findall(r"roikit train ([\w-]+)", page.read_text())) <= set(preset_names())


def test_published_names_are_published():
    text = INDEX.read_text() + (DOCS.parent / "README.md").read_text()
    named = set(re.findall(r"roikit predict (\S+/\S+) photo", text)) - {"runs/mine"}
    assert named and named <= {entry.name for entry in published()}


def anchors(page):
    """The fragments by which its headings are linked to."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, INDEX, DOCS / "index.md", DOCS / "models.md", DOCS / "design" / "models.md",
                                  DOCS / "contributing.md", DOCS.parent / "README.md"], ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?://)([^)\s]*)\)", page.read_text()):
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not fragment or fragment in anchors(target), link


def test_every_figure_is_as_drawn_and_shown():
    spec = importlib.util.spec_from_file_location("figures", DOCS / "images" / "figures.py")
    figures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(figures)
    assert {path.stem for path in FIGURES.glob("*.svg")} == figures.FIGURES.keys()
    shown = {name for page in (*PAGES, DOCS / "design" / "models.md")
             for name in re.findall(r"images/family/(\w+)\.svg", page.read_text())}
    assert shown == figures.FIGURES.keys()
    for name, text in figures.FIGURES.items():
        assert (FIGURES / f"{name}.svg").read_text() == figures.draw(text), name
