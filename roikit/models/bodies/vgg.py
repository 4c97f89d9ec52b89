"""VGG-16 body, the network of the Faster R-CNN of 2015.

Source: Simonyan and Zisserman 2014, arXiv:1409.1556, configuration D. Parameters carry torchvision's names, so that its
classification weights fit.
"""

from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["VGG16"]

# Widths of the 3x3 convolutions; a pooling of stride 2 follows each group.
_GROUPS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# The last layer of each map in torchvision's `features`, a ReLU or the last pooling, and the map's channels.
_ENDS = (15, 22, 29, 30)
_CHANNELS = (256, 512, 512, 512)


class VGG16(nn.Module):
    """VGG-16 without its fully connected layers; it has no norms.

    Args:
        maps: which of the maps c2 to c5 are given, as indices 0 to 3; layers after the last of them are not built.

    `forward` takes (N, 3, H, W) and returns a dict of (N, C, ceil(H/s), ceil(W/s)) maps. Each is the last one of its
    stride, before the next pooling:

    | map | key | from | stride | channels |
    |---|---|---|---|---|
    | c2 | "0" | conv3_3 | 4 | 256 |
    | c3 | "1" | conv4_3 | 8 | 512 |
    | c4 | "2" | conv5_3 | 16 | 512 |
    | c5 | "3" | the fifth pooling | 32 | 512 |

    The Faster R-CNN of 2015 takes c4, conv5_3. Its stem, which that paper keeps fixed, is conv1_1 to conv2_2.
    """

    def __init__(self, maps: Sequence[int] = (0, 1, 2, 3)) -> None:
        super().__init__()
        self.maps = tuple(maps)
        self.channels = tuple(_CHANNELS[index] for index in self.maps)
        layers: list[nn.Module] = []
        inputs = 3
        for group in _GROUPS:
            for width in group:
                layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = width
            # Rounded up, as Caffe does and as the other bodies' strides do, so that a map of one cell has a successor.
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=True))
        self.features = nn.Sequential(*layers[:_ENDS[self.maps[-1]] + 1])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)

    @property
    def unbuilt(self) -> tuple[str, ...]:
        """How the names of a whole network's tensors begin that this one does without."""
        return tuple(f"features.{index}." for index in range(len(self.features), _ENDS[-1] + 1))

    def parts(self) -> list[list[nn.Module]]:
        """Stem and stages, in order: the units of `trainable_layers`. The stage of c5 is a pooling."""
        # A pooling belongs to what follows it.
        ends = (9, *(end + 1 for end in _ENDS[:self.maps[-1] + 1]))
        return [list(self.features[a:b]) for a, b in zip((0, *ends), ends, strict=False)]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = {}
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in _ENDS and _ENDS.index(index) in self.maps:
                features[str(_ENDS.index(index))] = x
        return features
