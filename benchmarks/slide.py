"""Predicts on a mosaic of the bundled nuclei images, as large as a slide: `python -m benchmarks.slide RUN FOLDER`.

RUN is what `roikit predict` takes, FOLDER gets the mosaic, a tiled TIFF of 8-bit RGB with a side of --side pixels, and
the results. Printed are the tiles, the objects, the seconds, and the most memory of the process. Needs tifffile.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np

import roikit
from roikit.data import nuclei_mini, read_image
from roikit.trainer.tiles import tiles_of
from roikit.trainer.tiles.grid import windows

BLOCK = 256  # side of the bundled images, and of the tiles
OVERLAP = 64


def write(path, side):
    """A mosaic of all bundled images, each row of which begins with another one."""
    import tifffile

    images = [read_image(found) for part in ("train", "val")
              for found in sorted(Path(nuclei_mini(part)[1]).glob("*.png"))]
    across = -(-side // BLOCK)
    blocks = (images[(k * 37 + k // across) % len(images)] for k in range(across * across))
    tifffile.imwrite(path, blocks, shape=(side, side, 3), dtype=np.uint8, tile=(BLOCK, BLOCK), photometric="rgb")


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=20_000)
    options = parser.parse_args(words)
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / f"slide-{options.side}.tif"
    if not path.exists():
        write(path, options.side)
    begun = time.perf_counter()
    found = roikit.predict(options.run, path, out=options.folder / "found", write=("coco", "csv"), tile=BLOCK,
                           overlap=OVERLAP, device="cpu")
    seconds = time.perf_counter() - begun
    tiles = len(windows(options.side, options.side, tiles_of(BLOCK, OVERLAP)))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{options.side} x {options.side}: {tiles} tiles, {len(found)} objects, {seconds:.0f} s, {memory:.2f} GB")


if __name__ == "__main__":
    main()
