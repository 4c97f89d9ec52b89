"""Image files that are not as they should be: each refusal names the file, and the doctor finds it before training."""

import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from roikit.cli import main
from roikit.data import CocoDataset, inspect_dataset, read_image
from roikit.data.images import open_image, read_values

NOISE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def errors(made, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a report is the place for what Pillow warns of
        report = inspect_dataset(*made.write(), **options)
    return [(f.kind, f.severity, f.subject, f.sentence) for f in report.errors + report.warnings]


def bomb(path, width=20_000, height=10_000):
    """A PNG of a few bytes that says it holds many pixels."""
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks))


def cut(path, keep=0.6):
    Image.fromarray(NOISE).save(path)
    path.write_bytes(path.read_bytes()[:int(path.stat().st_size * keep)])


def broken_chunk(path):
    Image.fromarray(NOISE).save(path)
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(content)


BROKEN = {  # what is done to a path, and what read_image says of it
    "nothing.png": (lambda path: None, FileNotFoundError, "there is no file"),
    "below/a.png": (lambda path: path.parent.write_text("a file"), FileNotFoundError, "there is no file"),
    "folder.png": (lambda path: path.mkdir(), OSError, "cannot be opened: Is a directory"),
    "empty.png": (lambda path: path.touch(), OSError, "is empty"),
    "text.png": (lambda path: path.write_text("no picture"), OSError, "is not an image that Pillow knows"),
    "cut.png": (cut, OSError, "cannot be decoded"),
    "cut.jpg": (cut, OSError, "cannot be decoded"),
    "cut.tif": (cut, OSError, "can"),
    "cut.gif": (cut, OSError, "can"),
    "cut.webp": (cut, OSError, "can"),
    "cut.bmp": (cut, OSError, "cannot be decoded"),
    "chunk.png": (broken_chunk, OSError, "can"),
    "bomb.png": (bomb, ValueError, "more pixels than are taken for safe .*200000000 pixels.*MAX_IMAGE_PIXELS"),
    "float.tif": (lambda path: Image.fromarray(NOISE[..., 0].astype(np.float32)).save(path), ValueError,
                  r"a float image must lie in \[0, 1\], .*float.tif spans \[0.0, 255.0\]"),
    "nan.tif": (lambda path: Image.fromarray(np.full((4, 5), np.nan, np.float32)).save(path), ValueError, "nan"),
    "int.tif": (lambda path: Image.fromarray(np.full((4, 5), 70_000, np.int32)).save(path), ValueError, "70000"),
    "x" * 300 + ".png": (lambda path: None, OSError, "File name too long"),
    "nul\0.png": (lambda path: None, OSError, "null byte"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_contract_a_file_that_cannot_be_read_is_named(name, tmp_path):
    path = tmp_path / name
    breaks, kind, sentence = BROKEN[name]
    breaks(path)
    with pytest.raises(kind, match=sentence) as caught:
        read_image(path)
    assert str(path) in str(caught.value) and str(caught.value).startswith("read_image: ")


def test_contract_every_cut_of_every_format_is_an_error_of_the_file(tmp_path):
    for kind in ("png", "jpg", "tif", "gif", "webp", "bmp", "ppm", "tga"):
        path = tmp_path / f"a.{kind}"
        for keep in np.linspace(0.02, 0.98, 25):
            cut(path, keep)
            try:
                read_image(path)
            except (OSError, ValueError) as error:
                assert str(path) in str(error)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may read everything")
def test_contract_a_file_without_permission_says_so(tmp_path):
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(OSError, match=r"read_image: .*a\.png cannot be opened: Permission denied"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("size", [(20_000, 10_000), (12_000, 10_000)])
def test_contract_the_doctor_names_images_of_too_many_pixels_and_goes_on(made, size):
    for number in (1, 2, 3):
        made.image(number)
        made.square(number)
    made.content["images"][1].update(width=size[0], height=size[1])
    bomb(made.images / "2.png", *size)
    (made.images / "3.png").unlink()
    (kind, severity, subject, sentence), *others = sorted(errors(made), key=lambda e: e[2])
    assert subject == "image 2" and "2.png has " in sentence and [e[0] for e in others] == ["missing-image"]
    # Pillow refuses the one and warns of the other.
    assert (kind, severity) == (("too-large-image", "error") if size[0] == 20_000 else ("large-image", "warning"))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize(("orientation", "turned"), [(3, False), (6, False), (6, True), (1, False)])
def test_contract_the_doctor_sees_an_orientation_in_every_format(made, name, orientation, turned):
    made.image(1, name=name)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(NOISE).save(made.images / name, exif=exif)
    made.square(1)
    if turned:  # the annotations are of the picture that viewers show
        made.content["images"][0].update(width=20, height=30)
    found = errors(made)
    if orientation == 1:
        assert not found
        return
    (kind, severity, subject, sentence), = found
    assert (kind, severity, subject) == ("exif-orientation", "error" if turned else "warning", "image 1")
    assert f"orientation {orientation}" in sentence and name in sentence
    if turned:
        with pytest.raises(ValueError, match=r"30x20 pixels and orientation 6, .* picture of 20x30 that viewers show"):
            CocoDataset(*made.write())[0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_law_a_tiffs_orientation_is_applied_and_nothing_to_mention(made, orientation):
    made.image(1, name="a.tif")
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(NOISE).save(made.images / "a.tif", exif=exif)
    made.square(1)
    height, width = (30, 20) if orientation >= 5 else (20, 30)
    made.content["images"][0].update(height=height, width=width)
    assert read_image(made.images / "a.tif").shape == (height, width, 3)
    assert open_image(made.images / "a.tif") == (width, height, 1, False, False)
    assert not errors(made)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "I;16", "CMYK", "RGB", "F"])
def test_law_a_tiffs_orientation_turns_its_pixels(tmp_path, orientation, mode):
    """Those that Pillow maps into memory, too."""
    grey = (np.arange(600) % 251).astype(np.uint8).reshape(20, 30)
    picture = (Image.fromarray(grey.astype(np.uint16)) if mode == "I;16" else Image.fromarray(grey / np.float32(255))
               if mode == "F" else Image.fromarray(grey).convert(mode))
    exif = Image.Exif()
    picture.save(tmp_path / "plain.tif")
    exif[0x0112] = orientation
    picture.save(tmp_path / "a.tif", exif=exif)
    expected = read_image(tmp_path / "plain.tif")
    expected = expected.swapaxes(0, 1) if orientation >= 5 else expected
    expected = expected[:, ::-1] if orientation in (2, 3, 6, 7) else expected
    expected = expected[::-1] if orientation in (3, 4, 7, 8) else expected
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), expected)
    header = open_image(tmp_path / "a.tif")
    assert (header.height, header.width) == expected.shape[:2]


@pytest.mark.parametrize(("pixels", "options"), [
    (np.full((20, 30), 0.5), {}), (np.full((20, 30), 0.5, np.float16), {}),
    (np.full((20, 30, 3), 0.5, np.float32), {"photometric": "rgb"}),
    (np.full((20, 30, 4), 9, np.uint8), {"photometric": "minisblack", "planarconfig": "contig"}),
    (np.full((20, 30, 2), 9, np.uint16), {"photometric": "minisblack", "planarconfig": "contig"})])
def test_law_a_tiff_that_pillow_does_not_know_is_sound_to_all(made, pixels, options):
    tifffile = pytest.importorskip("tifffile")
    made.image(1, name="a.tif")
    tifffile.imwrite(made.images / "a.tif", pixels, **options)
    made.square(1)
    assert not errors(made)
    assert CocoDataset(*made.write())[0][0].shape == (3, 20, 30)
    del made.content["images"][0]["height"], made.content["images"][0]["width"]
    assert not errors(made)
    tifffile.imwrite(made.images / "a.tif", np.full((20, 30), 1.5))
    assert [kind for kind, *_ in errors(made)] == ["pixel-range"]


def test_law_white_is_zero_at_any_depth(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    values = np.arange(600).reshape(20, 30)
    for dtype in (np.uint8, np.uint16):
        tifffile.imwrite(tmp_path / "a.tif", values.astype(dtype), photometric="miniswhite")
        expected = np.iinfo(dtype).max - values.astype(dtype)
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[:, :, 0], expected)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint32, np.int64, np.uint64, np.float64])
def test_law_label_images_are_whole_numbers_of_any_type(tmp_path, dtype):
    tifffile = pytest.importorskip("tifffile")
    values = np.arange(600).reshape(20, 30) % 120
    tifffile.imwrite(tmp_path / "a.tif", values.astype(dtype))
    np.testing.assert_array_equal(read_values(tmp_path / "a.tif"), values)
    tifffile.imwrite(tmp_path / "a.tif", values + 0.5)
    with pytest.raises(ValueError, match="must be whole numbers from 0"):
        read_values(tmp_path / "a.tif")


def test_law_an_orientation_behind_a_pngs_pixels_is_found_without_decoding_them(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    end = len(content) - 12
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    broken = content[:60] + bytes([content[60] ^ 0xFF]) + content[61:end]
    (tmp_path / "a.png").write_bytes(broken + chunk + content[end:])
    assert open_image(tmp_path / "a.png") == (30, 20, 8, False, False)


@pytest.mark.parametrize(("name", "kind"), [
    ("float.tif", "pixel-range"), ("int.tif", "pixel-range"), ("cut.png", "broken-image"), ("cut.jpg", "broken-image"),
    ("chunk.png", None)])
def test_law_what_only_pixels_tell_is_looked_for_where_it_may_be(made, name, kind):
    made.image(1)
    made.square(1)
    made.square(1, x=12, category_id=7)
    BROKEN[name][0](made.images / name)
    with Image.open(made.images / name) as image:
        made.content["images"][0].update(file_name=name, width=image.width, height=image.height)
    made.content["annotations"] = [{**a, "bbox": [1, 1, 3, 2], "segmentation": []} for a in made.content["annotations"]]
    assert [e[0] for e in errors(made)] == [kind] * (kind is not None)
    assert [e[0] for e in errors(made, check_pixels=True)] == [kind or "broken-image"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_law_bytes_after_the_end_of_an_image_are_no_fault(made, kind):
    made.image(1)
    made.square(1)
    path = made.images / "1.png"
    Image.open(path).save(path, kind)
    path.write_bytes(path.read_bytes() + b"\0" * 200)
    assert errors(made) == []


def test_law_the_command_decodes_pixels_when_asked(made):
    from click.testing import CliRunner

    made.image(1)
    made.square(1)
    broken_chunk(made.images / "1.png")
    made.content["images"][0].update(width=NOISE.shape[1], height=NOISE.shape[0])
    words = ["doctor", *map(str, made.write())]
    assert CliRunner().invoke(main, words).exit_code == 0
    found = CliRunner().invoke(main, [*words, "--pixels"])
    assert found.exit_code == 1 and "1.png cannot be decoded" in found.output


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_law_upright_images_are_as_pillow_turns_them(tmp_path, orientation, mode):
    image, ops = pytest.importorskip("PIL.Image"), pytest.importorskip("PIL.ImageOps")
    values = np.random.default_rng(0).integers(0, 255, (5, 7, 3) if mode == "RGB" else (5, 7), dtype=np.uint8)
    exif = image.Exif()
    exif[0x0112] = orientation
    image.fromarray(values).save(tmp_path / "a.png", exif=exif)
    with image.open(tmp_path / "a.png") as opened:
        expected = np.array(ops.exif_transpose(opened).convert("RGB"))
    assert (read_image(tmp_path / "a.png", upright=True) == expected).all()
    assert read_image(tmp_path / "a.png").shape == (5, 7, 3)


def test_contract_max_pixels_is_looked_at_before_decoding(tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    image.new("L", (40, 30)).save(tmp_path / "a.png")
    before = image.MAX_IMAGE_PIXELS
    with pytest.raises(ValueError, match=r"a\.png has more pixels .*1200 pixels\) exceeds limit of 1199"):
        read_image(tmp_path / "a.png", max_pixels=1199)
    assert read_image(tmp_path / "a.png", max_pixels=1200).shape == (30, 40, 3)
    assert before == image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(image, "MAX_IMAGE_PIXELS", 500)  # Pillow refuses twice as many
    with pytest.raises(ValueError, match="limit of 1000 pixels"):
        read_image(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", max_pixels=1200).shape == (30, 40, 3)
