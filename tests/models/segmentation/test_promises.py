"""What every segmenter promises, whichever it is."""

import copy
import dataclasses
import io
import pickle

import pytest
import torch

from roikit.models import build_segmenter, measure_ranges, prepare_for_inference
from roikit.models.parts.int8 import Quantized, has_int8

from .family import SEGMENTERS, eager, label_map

every = pytest.mark.parametrize("name", SEGMENTERS)


def segmenter(name):
    torch.manual_seed(0)
    return eager(build_segmenter(SEGMENTERS[name]))


def image(size=(64, 64), seed=0):
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(seed))


@every
@torch.no_grad()
def test_promise_of_results(name):
    model = segmenter(name)
    found, = model([image((60, 50))])
    assert found.keys() == {"classes"}
    assert found["classes"].shape == (60, 50) and found["classes"].dtype == torch.int64
    assert found["classes"].min() >= 0 and found["classes"].max() <= 2 and len(found["classes"].unique()) > 1
    model.give_logits = True
    again, = model([image((60, 50))])
    assert again["logits"].shape == (3, 60, 50) and torch.equal(again["logits"].argmax(0), found["classes"])


@every
@torch.no_grad()
def test_promise_a_batch_in_torchvisions_form_is_taken_as_it_is(name):
    model = segmenter(name)
    x = torch.randn(2, 3, 50, 70)
    found = model(x)
    assert list(found) == ["out", "aux"][:1 + (model.aux_classifier is not None)]
    assert all(logits.shape == (2, 3, 50, 70) for logits in found.values())
    assert torch.equal(model.train()(x[:1]).keys() and model.eval()(x)["out"], found["out"])


@every
@pytest.mark.parametrize("labels", ["drawn", "all ignored", "one class"])
def test_promise_losses_are_finite_and_reach_every_parameter(name, labels):
    torch.manual_seed(0)
    model = build_segmenter(SEGMENTERS[name]).train()
    target = label_map()
    if labels != "drawn":
        target.fill_(255 if labels == "all ignored" else 1)
    losses = model([image()], [{"semantic": target}])
    assert list(losses) == ["loss_semantic", "loss_auxiliary"][:1 + (model.aux_classifier is not None)]
    assert all(loss.ndim == 0 and loss.isfinite() for loss in losses.values())
    assert labels != "all ignored" or sum(losses.values()) == 0
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@every
@torch.no_grad()
def test_promise_a_batch_equals_its_images(name):
    """Of different sizes too: nothing is padded to a neighbour's."""
    model = segmenter(name).double()  # in float32 a convolution of a batch adds up in another order
    model.give_logits = True
    images = [one.double() for one in (image(seed=0), image((64, 90), 1), image(seed=2))]
    for together, alone in zip(model(images), [model([one])[0] for one in images], strict=True):
        torch.testing.assert_close(together["logits"], alone["logits"], atol=1e-9, rtol=1e-9)
    assert model([]) == []


@every
@torch.no_grad()
def test_promise_images_of_few_pixels_are_ordinary(name):
    model = segmenter(name)
    model.transform.config = dataclasses.replace(model.transform.config, resize=False)
    for size in ((1, 1), (20, 5), (33, 2)):
        found, = model([torch.rand(3, *size)])
        assert found["classes"].shape == size


@every
@torch.no_grad()
def test_promise_copies_and_pickles_give_the_same_bits(name):
    model = segmenter(name)
    model.give_logits = True
    expected, = model([image()])
    file = io.BytesIO()
    torch.save(model, file)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model, 2)),
                 torch.load(io.BytesIO(file.getvalue()), weights_only=False)):
        found, = twin([image()])
        assert torch.equal(found["logits"], expected["logits"])


@every
def test_promise_steps_repeat_in_the_same_bits(name):
    weights = []
    for _ in range(2):
        torch.manual_seed(0)
        model = build_segmenter(SEGMENTERS[name]).train()
        optimizer = torch.optim.SGD(model.parameters(), 1e-3)
        torch.manual_seed(5)
        sum(model([image()], [{"semantic": label_map()}]).values()).backward()
        optimizer.step()
        weights.append(model.state_dict())
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


@every
@torch.no_grad()
def test_promise_prepared_for_inference_it_finds_the_same(name):
    model = segmenter(name)
    model.give_logits = True
    images = [image(seed=0), image((70, 64), 1)]
    prepared = prepare_for_inference(model)
    assert type(prepared) is type(model)
    for found, expected in zip(prepared(images), model(images), strict=True):
        scale = expected["logits"].abs().max().clamp(min=1)
        torch.testing.assert_close(found["logits"] / scale, expected["logits"] / scale, atol=1e-4, rtol=1e-4)
    with pytest.raises(RuntimeError, match="prepared for inference cannot be trained"):
        prepared.train()


@every
@torch.no_grad()
def test_promise_prepared_in_bfloat16_it_runs(name):
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("oneDNN has no bfloat16 for this processor")
    model = segmenter(name)
    found, expected = prepare_for_inference(model, "bf16")([image()])[0], model([image()])[0]
    assert (found["classes"] == expected["classes"]).float().mean() > 0.9


@every
@torch.no_grad()
def test_promise_prepared_on_integers_it_finds_nearly_the_same(name):
    if not has_int8():
        pytest.skip("this processor has no VNNI, or this torch no layers for it")
    model, images = segmenter(name), [image(), image((70, 64), 1)]
    prepared = prepare_for_inference(model, "int8", ranges=measure_ranges(model, images))
    assert any(isinstance(part, Quantized) for part in prepared.modules())
    for found, expected in zip(prepared(images), model(images), strict=True):
        assert (found["classes"] == expected["classes"]).float().mean() > 0.9


@pytest.mark.parametrize("target, told", [
    ({}, r"targets\[0\] must have the key 'semantic', got \[\]"),
    ({"semantic": torch.zeros(64, 63, dtype=torch.uint8)}, r"must have the image's shape \(64, 64\), got \(64, 63\)"),
    ({"semantic": torch.full((64, 64), 3)}, "must hold labels from 0 to 2 or 255, got 3"),
    ({"semantic": torch.full((64, 64), -1)}, "must hold labels from 0 to 2 or 255, got -1"),
    ({"semantic": torch.zeros(64, 64)}, "must be a uint8 or int64 tensor, got torch.float32"),
    ({"semantic": [[0]]}, "must be a uint8 or int64 tensor, got list"),
])
def test_contract_faulty_targets_are_named(target, told):
    model = build_segmenter(SEGMENTERS["semantic_fpn"]).train()
    with pytest.raises((TypeError, ValueError), match=told):
        model([image()], [target])


def test_contract_training_needs_images_and_targets():
    model = build_segmenter(SEGMENTERS["semantic_fpn"]).train()
    with pytest.raises(ValueError, match="Segmenter: targets must be given when training"):
        model([image()])
    with pytest.raises(ValueError, match="Segmenter: images must not be empty when training"):
        model([], [])
    with pytest.raises(ValueError, match="targets must hold one dict for each of the 1 images, got 2"):
        model([image()], [{}, {}])
