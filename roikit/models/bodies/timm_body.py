"""Networks of the timm package as bodies (the extra `timm`)."""

import importlib
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from roikit.models.parts.norm import FrozenBatchNorm2d

__all__ = ["FrozenBatchNormAct2d", "TimmBody"]


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise ImportError(f'a body named "timm:..." needs timm ({error}): pip install "roikit[timm]"',
                          name=error.name) from error


class TimmBody(nn.Module):
    """A network of timm that gives feature maps, with random weights.

    Args:
        name: timm's name of the network.
        maps: which of the maps c2 to c5 (strides 4 to 32) are given, as indices 0 to 3. Where several maps have one
            stride it is the last. What only later maps need is not built where timm can do without, and fixed where it
            cannot.
        norm: "batch", norms as the network has them, of whatever kind; "frozen", each batch norm a
            `FrozenBatchNorm2d`; "sync", each batch norm over all processes.

    `forward` takes (N, 3, H, W) and returns a dict of (N, C, H/s, W/s) maps, "0" to "3" with s = 4, 8, 16, 32;
    `channels` are those of the maps that are given. Which sizes a network takes, and how it rounds them, is its own
    matter.

    Raises:
        ImportError: timm is not installed.
        ValueError: timm has no such network, it lacks a map of a stride that is asked for, or `norm` is another one.
    """

    def __init__(self, name: str, maps: Sequence[int] = (0, 1, 2, 3), norm: str = "batch") -> None:
        super().__init__()
        timm = _timm()
        if norm not in ("batch", "frozen", "sync"):
            raise ValueError("TimmBody: norm must be one of batch (the network's own norms), frozen, sync, got "
                             f"{norm!r}")
        if not timm.is_model(name):
            raise ValueError(f"TimmBody: name must be one of timm.list_models(), got {name!r}")
        self.name = name
        self.maps = tuple(maps)
        infos = timm.create_model(name, features_only=True).feature_info.info
        places = {info["reduction"]: index for index, info in enumerate(infos)}
        strides = [4 << index for index in self.maps]
        if not set(strides) <= set(places):
            raise ValueError(f"TimmBody: maps of strides {strides} are asked for, but timm's {name} gives strides "
                             f"{list(places)}")
        self.network = timm.create_model(name, features_only=True, out_indices=tuple(places[s] for s in strides))
        self.channels = tuple(self.network.feature_info.channels())
        self.ends = tuple(infos[places[s]]["module"] for s in (2, 4, 8, 16, 32)[:self.maps[-1] + 2] if s in places)
        self.has_stem_map = 2 in places
        if norm == "frozen":
            _freeze(self.network)
        elif norm == "sync":
            self.network = timm.layers.convert_sync_batchnorm(self.network)
        for module in self._sections()[-1]:
            module.requires_grad_(False)

    @property
    def unbuilt(self) -> tuple[str, ...]:
        """The names of the whole network's tensors that this one does without: its classifier, later stages."""
        own = self.state_dict()
        whole = _timm().create_model(self.name).state_dict()
        return tuple(name for name in whole if self.own_name(name) not in own)

    def own_name(self, name: str) -> str:
        """The name here of the tensor of the whole network that has this `name`."""
        # timm joins the names of the outer two levels by "_" where it takes a network apart.
        return {_flat(own): own for own in self.state_dict()}.get(_flat(name), name)

    def parts(self) -> list[list[nn.Module]]:
        """Stem and stages, in order: the units of `trainable_layers`. The stem ends with the map of stride 2, or where
        the stage of c2 begins."""
        return self._sections()[:-1]

    def _sections(self) -> list[list[nn.Module]]:
        """The modules that have parameters: stem, stages, and what comes after the last map."""
        modules = dict(self.network.named_modules())
        order = {name: index for index, name in enumerate(modules)}
        spans = [self._span(end, order) for end in self.ends]
        bounds = [last for _, last in spans]
        if not self.has_stem_map:
            bounds = [spans[0][0] - 1, *bounds]
        sections: list[list[nn.Module]] = [[] for _ in range(len(bounds) + 1)]
        for name, module in modules.items():
            if name and next(module.parameters(recurse=False), None) is not None:
                sections[sum(order[name] > bound for bound in bounds)].append(module)
        return sections

    def _span(self, end: str, order: dict[str, int]) -> tuple[int, int]:
        """The first and the last place of the module that gives a map."""
        roots = {end, end.replace(".", "_"), f"model.{end}"} & order.keys()
        within = [index for name, index in order.items() if any(name == r or name.startswith(f"{r}.") for r in roots)]
        return min(within), max(within)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.network(x)
        if getattr(self.network, "output_fmt", "NCHW") == "NHWC":
            maps = [level.permute(0, 3, 1, 2).contiguous() for level in maps]
        return {str(index): level for index, level in zip(self.maps, maps, strict=True)}


def _flat(name: str) -> str:
    return name.removeprefix("network.").removeprefix("model.").replace("_", ".")


class FrozenBatchNormAct2d(FrozenBatchNorm2d):
    """A frozen batch norm with the activation that timm counts among its parts.

    Args:
        norm: the batch norm whose place it takes.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps)
        self.drop, self.act = norm.drop, norm.act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(x)))


def _freeze(network: nn.Module) -> None:
    """Puts a frozen norm in the place of each batch norm."""
    for name, child in network.named_children():
        if not isinstance(child, nn.BatchNorm2d):
            _freeze(child)
        elif hasattr(child, "act"):
            network.add_module(name, FrozenBatchNormAct2d(child))
        else:
            network.add_module(name, FrozenBatchNorm2d(child.num_features, child.eps))
