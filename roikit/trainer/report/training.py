"""What was trained or evaluated, and how it went, for the page."""

import math

__all__ = ["curves_of", "evaluation_words", "facts_of"]

_POINTS = 300  # of a curve; of more, neighbours become their mean

_SCORES = ("AP", "AP50", "PQ", "mIoU", "pixel_accuracy")  # the figures of an evaluation that are drawn


def facts_of(config, state, done):
    """Pairs of words about a run.

    Args:
        config: ``TrainConfig``.
        state: ``TrainState`` at the end.
        done: {"steps", "seconds", "images"} of the training.
    """
    model, optimizer = config.model, config.optimizer
    count = sum(p.numel() for p in state.model.parameters())
    facts = [("model", f"{_kind_of(model)}, {count / 1e6:.1f} million parameters"),
             ("training data", _data_of(config, config.data.train)),
             ("val data", _data_of(config, config.data.val)),
             ("steps", f"{state.step} of {config.data.batch_size} images, in {_duration(done['seconds'])}"),
             ("optimizer", f"{optimizer.kind}, learning rate {optimizer.lr:g}, {config.schedule.kind}"),
             ("seed", str(config.run.seed))]
    if state.best:
        facts.append(("best", f"{state.best['name']} {state.best['value']:.4f} at step {state.best['step']}"))
    return [pair for pair in facts if pair[1]]


def evaluation_words(trained, images):
    """``title`` and ``facts`` of the Report on an evaluation of a ``Trained`` model on a folder of images."""
    facts = [("model", f"{_kind_of(trained.config.model)}, {trained.path}"), ("images", str(images))]
    return {"title": f"evaluation of {trained.config.run.name}", "facts": facts}


def _kind_of(model):
    backbone = getattr(model, "backbone", None)
    name = getattr(backbone, "name", None)
    parts = [name or type(model).__name__.removesuffix("Config").lower()]
    parts += [part for part in ("mask", "keypoint", "panoptic") if getattr(model, part, None) is not None]
    return " + ".join(parts)


def _data_of(config, part):
    path = part.annotations or part.semantic
    return str(path) if path is not None else config.data.bundled and f"{config.data.bundled}, in the package"


def _duration(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def curves_of(records):
    """The curves of a run.

    Args:
        records: of ``read_records``.

    Returns:
        list of dicts ``title`` and ``lines``, a list of {"name", "points": [[step, value], ...]}; no plot without a
        line.
    """
    steps = [r for r in records if r["kind"] == "train"]
    evals = [r for r in records if r["kind"] == "eval"]
    losses = ["loss", *sorted({n for r in steps for n in r if n.startswith("loss_")})]
    scores = sorted({n for r in evals for n in r if n.split("/")[-1] in _SCORES})
    plots = [("training loss", steps, losses), ("learning rate", steps, ["lr"]),
             ("score of the val part", evals, scores)]
    found = []
    for title, rows, names in plots:
        lines = [{"name": name, "points": points} for name in names if (points := _points(rows, name))]
        if lines:
            found.append({"title": title, "lines": lines})
    return found


def _points(records, name):
    pairs = [(r["step"], r[name]) for r in records if isinstance(r.get(name), (int, float)) and math.isfinite(r[name])]
    size = -(-len(pairs) // _POINTS) or 1
    bins = [pairs[k:k + size] for k in range(0, len(pairs), size)]
    return [[part[len(part) // 2][0], float(f"{sum(y for _, y in part) / len(part):.5g}")] for part in bins]
