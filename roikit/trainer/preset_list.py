"""What the configurations inside the package are: a line on each."""

from dataclasses import dataclass

from roikit.trainer.config import PRESETS, load_config, preset_names

__all__ = ["Preset", "count_parameters", "list_presets", "preset_table"]


@dataclass(frozen=True)
class Preset:
    """A configuration inside the package.

    Attributes:
        name: what `load_config` and `roikit train` take.
        about: the first line of its file.
        parameters: of its model, with as many classes as the file says; buffers are not counted.
        bundled: whether its data are in the package.
    """

    name: str
    about: str
    parameters: int
    bundled: bool


def count_parameters(model):
    """The number of parameters of a ``DetectorConfig``'s detector, or another task's model; no weight is drawn.

    Raises:
        ValueError: it cannot be built.
    """
    import torch

    from roikit.trainer.tasks import task_of

    with torch.device("meta"):
        return sum(p.numel() for p in task_of(model).build(model).parameters())


def list_presets():
    """A ``Preset`` for each configuration inside the package, in the order of their names."""
    found = []
    for name in preset_names():
        config = load_config(name)
        with open(PRESETS / f"{name}.yaml", encoding="utf-8") as file:
            about = file.readline().lstrip("# ").rstrip()
        found.append(Preset(name, about, count_parameters(config.model), config.data.bundled is not None))
    return found


def preset_table(presets):
    """Lines: name, millions of parameters, what it is; those whose data are in the package first."""
    width = max(len(preset.name) for preset in presets)
    lines = []
    for bundled, title in ((True, "trained on the data in the package"), (False, "trained on files that you name")):
        lines += [f"{title}:"] + [f"  {p.name:{width}}  {p.parameters / 1e6:5.1f} M  {p.about}"
                                  for p in presets if p.bundled == bundled]
    return "\n".join(lines)
