"""What the scripts that make golden files share: weights that detect, and a seed at which rounding decides nothing."""

import numpy as np
import torch
from compare import BOUNDS, PIXELS, Golden, save
from weights import draw, picture

__all__ = ["make"]

SIZE = (236, 316)  # no multiples of 32, so that padding shows
NOISE = 2e-6  # of a pixel's value: moves the scores as much as the rounding of float32 does


def load_weights(model, shapes, seed, factors):
    tensors = {name: torch.from_numpy(x) for name, x in draw(shapes, seed, factors).items()}
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected and set(missing) == set(model.state_dict()) - set(shapes)


def calibrate(model, deviations, run):
    """Scale the weights of the named layers, in the order of the data, to outputs of the given standard deviations.

    Returns:
        {name of a weight: its factor}, of six digits.
    """
    factors, handles = {}, {}
    for name, deviation in deviations.items():
        def scale(layer, inputs, output, name=name, deviation=deviation):
            handles.pop(name).remove()
            factor = float(f"{deviation / float(output.std()):.6g}")
            factors[f"{name}.weight"] = factor
            layer.weight.data *= factor
            return layer(*inputs)

        handles[name] = model.get_submodule(name).register_forward_hook(scale)
    run()
    assert not handles, f"never run: {sorted(handles)}"
    return factors


def difference(found, other):
    """Why `other` is not clearly the same as `found`, or None."""
    if not np.array_equal(found["labels"], other["labels"]):
        return "labels"
    if "segments" in found:
        if not np.array_equal(found["segments"], other["segments"]):
            return "segments"
        for key in PIXELS:
            if (apart := (found[key] != other[key]).mean()) > (1 - PIXELS[key]) / 2:
                return f"{key} {apart:.1e} apart"
    for key in set(found) & set(BOUNDS) - {"masks"}:
        if (apart := np.abs(found[key] - other[key]).max()) > BOUNDS[key] / 2:
            return f"{key} {apart:.1e} apart"
    if "masks" in found:
        apart = (found["masks"] ^ other["masks"]).sum() / found["masks"].sum()
        if apart > BOUNDS["masks"] * 0.7:
            return f"masks {apart:.1e} apart"
    return None


def weakness(found, labels):
    """Why these detections do not make a golden file, or None."""
    if len(found["boxes"]) < 30:
        return f"{len(found['boxes'])} detections"
    if len(np.unique(found["labels"])) < labels:
        return f"{len(np.unique(found['labels']))} labels"
    if "segments" in found:
        things = int(found["segments"][:, 1].sum())
        if min(things, len(found["segments"]) - things) < 3:
            return f"{things} things among {len(found['segments'])} segments"
    gap = np.diff(np.sort(found["scores"])).min()
    return f"scores {gap:.1e} apart" if gap < 3e-6 else None


def encoded(masks):
    from pycocotools import mask
    found = mask.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))
    return [{"size": rle["size"], "counts": rle["counts"].decode()} for rle in found]


def make(library, name, model, deviations, detect, *, constants=(), labels=3, more=None, seeds=40):
    """Find a seed and write the golden file.

    Args:
        model: the library's, in evaluation mode.
        deviations: {layer: standard deviation of its output}.
        detect: from an RGB image (3, H, W) float32 of 0..255 to a dict of arrays, masks (D, H, W) bool.
        constants: beginnings of names in the state dict that are no weights.
        labels: fewest distinct labels.
        more: from the model and the Golden to a Golden with more in it.
    """
    shapes = {key: list(x.shape) for key, x in model.state_dict().items() if not key.startswith(tuple(constants))}
    for seed in range(seeds):
        image = picture(*SIZE, seed).astype(np.float32)
        with torch.no_grad():
            load_weights(model, shapes, seed, {})
            factors = calibrate(model, deviations, lambda image=image: detect(image))
            load_weights(model, shapes, seed, factors)
            found = detect(image)
            why = weakness(found, labels)
            noise = np.random.default_rng(seed).uniform(-NOISE, NOISE, image.shape).astype(np.float32)
            why = why or difference(found, detect(image * (1 + noise)))
        print(f"{name}: seed {seed}: {why or 'good'}", flush=True)
        if not why:
            break
    else:
        raise RuntimeError(f"{name}: no good seed below {seeds}")
    masks = encoded(found.pop("masks")) if "masks" in found else None
    golden = Golden(library, name, seed, SIZE, shapes, factors, found, masks)
    path = save(more(model, golden) if more else golden)
    parameters = sum(np.prod(shape) for key, shape in shapes.items() if not key.endswith(("_mean", "_var", "_tracked")))
    print(f"{name}: {len(found['boxes'])} detections, labels {np.unique(found['labels']).tolist()}, scores "
          f"{found['scores'].max():.4f} to {found['scores'].min():.4f}, {parameters:,} parameters, "
          f"{path.stat().st_size:,} bytes", flush=True)
