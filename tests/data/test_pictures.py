"""Windows of pictures: of TIFF files of many kinds they are what the whole picture has there."""

import tracemalloc

import numpy as np
import pytest

from roikit.data import read_image
from roikit.data.pictures import FilePicture, Picture, open_picture

tifffile = pytest.importorskip("tifffile")
Image = pytest.importorskip("PIL.Image")

RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 255, (150, 211, 3), np.uint8)
GREY = COLOUR[:, :, 0]
DEEP = (RANDOM.random((150, 211)) * 65535).astype(np.uint16)
KINDS = {
    "strips": (COLOUR, {"rowsperstrip": 16}),
    "one strip": (COLOUR, {}),
    "tiles": (COLOUR, {"tile": (32, 48)}),
    "deflated tiles": (COLOUR, {"tile": (64, 64), "compression": "zlib", "predictor": True}),
    "lzw": (COLOUR, {"rowsperstrip": 7, "compression": "lzw"}),
    "big": (COLOUR, {"tile": (32, 32), "bigtiff": True}),
    "big-endian": (COLOUR, {"tile": (32, 32), "byteorder": ">"}),
    "planes": (np.moveaxis(COLOUR, 2, 0), {"tile": (32, 32), "photometric": "rgb", "planarconfig": "separate"}),
    "planes in strips": (np.moveaxis(COLOUR, 2, 0), {"photometric": "rgb", "planarconfig": "separate",
                                                     "rowsperstrip": 20}),
    "alpha": (np.dstack([COLOUR, GREY]), {"tile": (32, 32), "extrasamples": ["unassalpha"]}),
    "grey": (GREY, {"tile": (32, 32)}),
    "deep": (DEEP, {"tile": (32, 32)}),
    "float": (DEEP.astype(np.float32) / 65535, {"tile": (32, 32)}),
    "white is 0": (GREY, {"tile": (32, 32), "photometric": "miniswhite"}),
    "palette": (GREY, {"tile": (32, 32), "photometric": "palette",
                       "colormap": RANDOM.integers(0, 65535, (3, 256), np.uint16)}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_law_a_window_is_that_part_of_the_picture(tmp_path, kind):
    values, options = KINDS[kind]
    if options.get("compression") == "lzw":
        pytest.importorskip("imagecodecs")
    options = {"photometric": "rgb" if values.shape[2:] else "minisblack", **options}
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    whole = read_image(tmp_path / "a.tif")
    picture = open_picture(tmp_path / "a.tif", windows=True)
    assert isinstance(picture, FilePicture) and picture.size == whole.shape[:2] == (150, 211)
    assert (picture.whole() == whole).all()
    for y, x, height, width in ((0, 0, 150, 211), (0, 0, 1, 1), (149, 210, 1, 1), (31, 47, 34, 50), (64, 100, 86, 111)):
        part = picture.read(y, x, height, width)
        assert part.dtype == whole.dtype and (part == whole[y:y + height, x:x + width]).all()


def test_contract_colours_of_16_bits_keep_them_and_pages_behind_the_first_are_left(tmp_path):
    deep = np.dstack([DEEP, DEEP[::-1], DEEP[:, ::-1]])
    tifffile.imwrite(tmp_path / "a.tif", np.stack([deep, deep[::-1]]), tile=(32, 32), photometric="rgb")
    part = open_picture(tmp_path / "a.tif", windows=True).read(10, 20, 90, 100)
    assert part.dtype == np.uint16 and (part == deep[10:100, 20:120]).all()


def test_contract_what_is_left_to_pillow_is_read_as_a_whole(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "turned.tif", tiffinfo={274: 6})
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "cmyk.tif")
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    for name in ("turned.tif", "cmyk.tif", "a.png"):
        picture = open_picture(tmp_path / name, windows=True)
        assert isinstance(picture, Picture) and (picture.whole() == read_image(tmp_path / name)).all()
    assert picture.read(3, 5, 7, 9).shape == (7, 9, 3)


@pytest.mark.parametrize("kind", ["tiles", "deflated tiles", "strips"])
def test_contract_a_cut_file_is_an_error_that_names_it(tmp_path, kind):
    values, options = KINDS[kind]
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", **options)
    content = (tmp_path / "a.tif").read_bytes()
    for length in (len(content) - 40, len(content) // 2, 60, 8, 5):
        (tmp_path / "a.tif").write_bytes(content[:length])
        with pytest.raises(OSError, match=r"a\.tif"):
            open_picture(tmp_path / "a.tif", windows=True).read(0, 0, 150, 211)


def test_contract_tiff_that_pillow_does_not_know_is_read_by_tifffile(tmp_path):
    deep = COLOUR.astype(np.float32) / 255
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb")
    with pytest.raises(Image.UnidentifiedImageError):
        Image.open(tmp_path / "a.tif")
    assert (read_image(tmp_path / "a.tif") == deep).all()
    with pytest.raises(ValueError, match="exceeds limit of 99 pixels"):
        read_image(tmp_path / "a.tif", max_pixels=99)
    tifffile.imwrite(tmp_path / "b.tif", np.full((9, 9), 2.0, np.float32), tile=(16, 16))
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], .*b\.tif spans"):
        open_picture(tmp_path / "b.tif", windows=True).read(0, 0, 9, 9)


def test_law_decoded_tiles_that_are_kept_stay_below_their_limit(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", COLOUR, photometric="rgb", tile=(16, 16))
    monkeypatch.setattr("roikit.data.tiff._KEPT", 5000)
    windows = open_picture(tmp_path / "a.tif", windows=True).windows
    for _ in range(2):
        assert (windows.read(0, 0, 150, 211) == COLOUR).all()
        assert windows._bytes == sum(part.nbytes for part in windows._kept.values()) <= 5000


def test_law_memory_of_tiles_does_not_grow_with_the_picture(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    from roikit.trainer.tiles import Tiles, detect_in_tiles

    monkeypatch.setattr("roikit.data.tiff._KEPT", 1 << 20)

    def run(images):
        return [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "scores": torch.zeros(0),
                 "masks": []} for _ in images], 0.0, 0.0

    def prepare(image):
        return torch.from_numpy(image.astype(np.float32))

    peaks = []
    for side in (1024, 4096):
        blocks = (np.full((256, 256, 3), k % 251, np.uint8) for k in range((side // 256) ** 2))
        tifffile.imwrite(tmp_path / "a.tif", blocks, shape=(side, side, 3), dtype=np.uint8, tile=(256, 256),
                         photometric="rgb", compression="zlib")
        picture = open_picture(tmp_path / "a.tif", windows=True)
        assert (picture.read(side - 5, side - 5, 5, 5) == ((side // 256) ** 2 - 1) % 251).all()
        tracemalloc.start()
        detect_in_tiles(run, picture, prepare, Tiles(512, 64, batch=1))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + (1 << 20) < 4096 * 4096 * 3 / 4
