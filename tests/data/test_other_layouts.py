"""Folders of other tools with the faults that they come with: read with one meaning, or refused by name."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from roikit.data import CocoDataset, inspect_dataset, mend_dataset
from roikit.data.conversion import convert_data
from roikit.data.layouts import find_source

from .messy_sets import SIZE, Messy

NAMES = {1: "bolt", 2: "nut"}


class Folder:
    """The objects of `Messy` to be written as another tool does.

    Attributes:
        root: folder of the data set, empty.
        boxes: (12, 4) x1 y1 x2 y2 of the objects.
    """

    def __init__(self, folder):
        self.messy = Messy(folder)
        self.root = folder / "data"
        self.root.mkdir()
        self.boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in self.annotations)])

    @property
    def annotations(self):
        return self.messy.content["annotations"]

    def each(self):
        """(stem of the image, its objects)"""
        for record in self.messy.content["images"]:
            yield record["file_name"][:-4], [a for a in self.annotations if a["image_id"] == record["id"]]

    def images(self, name):
        shutil.copytree(self.messy.images, self.root / name, dirs_exist_ok=True)
        return self.root / name

    def write(self, name, content):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def read(self):
        """The number of objects, each of which must lie where one of the pictures' does."""
        source = find_source(self.root)
        dataset = CocoDataset(source.annotations, source.images)
        for _, target in dataset:
            assert all(np.abs(self.boxes - box).max(1).min() <= 1 for box in target["boxes"].tolist())
        return dataset.num_objects


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def voc(folder, size=(SIZE, SIZE), filename="{}.png", corners=("xmin", "ymin", "xmax", "ymax")):
    folder.images("JPEGImages")
    for stem, objects in folder.each():
        found = ""
        for a in objects:
            x, y, w, h = a["bbox"]
            box = "".join(f"<{side}>{v}.0</{side}>" for side, v in zip(corners, (x, y, x + w, y + h), strict=True))
            found += f"<object><name>{NAMES[a['category_id']]}</name><bndbox>{box}</bndbox></object>"
        folder.write(f"Annotations/{stem}.xml", f"<annotation><filename>{filename.format(stem)}</filename><size><width>"
                     f"{size[0]}</width><height>{size[1]}</height></size>{found}</annotation>")


@pytest.mark.parametrize("kind", [
    {}, {"size": (0, 0)}, {"filename": "IMG_0001.jpg"}, {"filename": r"C:\data\{}.png"}, {"filename": "1.png"},
    {"corners": ("xmax", "ymin", "xmin", "ymax")}])
def test_law_voc(folder, kind):
    voc(folder, **kind)
    assert folder.read() == 12


def labelme(folder, name="{}.json", **fields):
    folder.images(".")
    for stem, objects in folder.each():
        shapes = [{"label": NAMES[a["category_id"]], "points": np.reshape(a["segmentation"][0], (-1, 2)).tolist(),
                   "group_id": None, "shape_type": "polygon"} for a in objects]
        folder.write(name.format(stem), json.dumps({"imageData": None, "shapes": shapes, "imagePath": f"{stem}.png",
                                                    "imageHeight": SIZE, "imageWidth": SIZE, **fields}))


def test_law_labelme_with_the_picture_before_the_shapes(folder):
    labelme(folder, imageData="A" * (1 << 20))
    assert folder.read() == 12


@pytest.mark.parametrize("kind", ["voc", "labelme"])
def test_law_a_size_that_is_not_the_files_is_refused_and_mended(folder, kind):
    if kind == "voc":
        voc(folder, size=(2 * SIZE, 2 * SIZE))
    else:
        labelme(folder, imageHeight=2 * SIZE, imageWidth=2 * SIZE)
    with pytest.raises(ValueError, match="must be 192x192 as the annotation file says"):
        folder.read()
    source = find_source(folder.root)
    assert "4 images have another size than the file says" in inspect_dataset(source.annotations, source.images).text()
    content, done = mend_dataset(source.annotations, source.images)
    assert done == ["wrote the size of the file for 4 images, whose annotations fit it"]
    assert not inspect_dataset(content, source.images).errors


def test_law_pictures_that_were_made_larger(folder):
    labelme(folder)
    for path in folder.root.glob("*.png"):
        Image.open(path).resize((2 * SIZE, 2 * SIZE)).save(path)
    content, done = mend_dataset(folder.root, folder.root)
    assert done[0] == "scaled the annotations of 4 images to the size of the file"
    found = np.array([a["bbox"] for a in content["annotations"]])
    assert (found == 2 * np.array([a["bbox"] for a in folder.annotations])).all()


@pytest.mark.parametrize(("content", "sentence"), [
    ("", "is not JSON: it is empty"), ("{}", "must have shapes"), ('{"version": "5.5", "shapes"', "is not JSON")])
def test_contract_a_json_file_of_a_picture_is_not_passed_over(folder, content, sentence):
    labelme(folder)
    folder.write("2.json", content)
    with pytest.raises(ValueError, match=rf"2\.json {sentence}"):
        folder.read()


def test_contract_a_rotation_that_is_none(folder):
    folder.images("images")
    folder.write("annotations.xml", '<annotations><image name="1.png" width="96" height="96"><box label="bolt" xtl="9" '
                 'ytl="1" xbr="5" ybr="5" rotation="half"/></image></annotations>')
    with pytest.raises(ValueError, match=r"annotations.xml, image 1.png, shape 1: rotation must be a finite number"):
        folder.read()


def labels(folder, ending):
    folder.images("images")
    (folder.root / "masks").mkdir()
    for stem, objects in folder.each():
        values = np.zeros((SIZE, SIZE), np.uint8)
        for number, a in enumerate(objects, start=1):
            x, y, w, h = a["bbox"]
            values[y:y + h, x:x + w] = 80 * number
        Image.fromarray(values).save(folder.root / "masks" / (stem + ending))


@pytest.mark.parametrize("ending", [".png", "_mask.tif", "_cp_masks.png"])
def test_law_label_images(folder, ending):
    labels(folder, ending)
    assert folder.read() == 12


def test_contract_label_images_of_jpeg_are_refused(folder):
    labels(folder, ".jpg")
    with pytest.raises(ValueError, match=r"masks/1.jpg is a JPEG file, which changes values near edges"):
        folder.read()


def test_contract_label_images_of_soft_edges_are_refused(folder):
    labels(folder, ".png")
    for path in (folder.root / "masks").iterdir():
        picture = Image.open(path).convert("RGB")
        picture.resize((97, 97), Image.Resampling.BICUBIC).resize(picture.size, Image.Resampling.BICUBIC).save(path)
    with pytest.raises(ValueError, match=r"masks/1.png: \d+ of its \d+ values are of 4 pixels or fewer, as soft edges"):
        folder.read()


def coco(folder, name, numbers, images):
    content = folder.messy.content
    folder.write(name, json.dumps({**content, "images": [r for r in content["images"] if r["id"] in numbers],
                                   "annotations": [a for a in folder.annotations if a["image_id"] in numbers]}))
    for number in numbers:
        (folder.root / images).mkdir(parents=True, exist_ok=True)
        shutil.copy(folder.messy.images / f"{number}.png", folder.root / images)


def yolo(folder, part, numbers):
    for number in numbers:
        lines = [" ".join(map(str, [a["category_id"] - 1, *np.divide(a["segmentation"][0], SIZE)]))
                 for a in folder.annotations if a["image_id"] == number]
        folder.write(f"{part}/labels/{number}.txt", "\r\n".join(lines))
        (folder.root / part / "images").mkdir(parents=True, exist_ok=True)
        shutil.copy(folder.messy.images / f"{number}.png", folder.root / part / "images")


def roboflow(folder):
    for part, numbers in (("train", (1, 2)), ("valid", (3,)), ("test", (4,))):
        coco(folder, f"{part}/_annotations.coco.json", numbers, part)
    folder.write("README.roboflow.txt", "Export")


def fiftyone(folder):
    coco(folder, "labels.json", (1, 2, 3, 4), "data")


def cvat(folder):
    coco(folder, "annotations/instances_default.json", (1, 2, 3, 4), "images/default")


def zipped_on_a_mac(folder):
    coco(folder, "annotations.json", (1, 2, 3, 4), "images")
    folder.write("__MACOSX/._annotations.json", b"\0\5")
    folder.write("images/._1.png", b"\0\5")


def yolo_without_test(folder):
    yolo(folder, "train", (1, 2, 3))
    yolo(folder, "valid", (4,))
    folder.write("data.yaml", "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
                 "names: ['bolt', 'nut']\n")


def label_studio_yolo(folder):
    yolo(folder, ".", (1, 2, 3, 4))
    folder.write("classes.txt", "bolt\r\nnut\r\n")
    folder.write("notes.json", '{"categories": [{"id": 0, "name": "bolt"}], "info": {}}')


@pytest.mark.parametrize("layout", [roboflow, fiftyone, cvat, zipped_on_a_mac, yolo_without_test, label_studio_yolo])
def test_law_folders_as_tools_zip_them(folder, layout):
    layout(folder)
    done = convert_data(folder.root, folder.root.parent / "all.json")
    dataset = CocoDataset(done.out, done.images_folder)
    assert (len(dataset), dataset.num_objects, dataset.category_names) == (4, 12, ["bolt", "nut"])
    for _, target in dataset:
        assert all(np.abs(folder.boxes - box).max(1).min() <= 1 for box in target["boxes"].tolist())


@pytest.mark.parametrize("layout", ["coco", "yolo", "voc", "labelme", "label-images", "mask-images"])
@pytest.mark.parametrize(("edit", "sentence"), [
    (lambda c: c["images"][0].pop("id"), "image at place 0: it has no id"),
    (lambda c: c["images"][0].update(file_name=["1.png"]), "image 1: its file_name must be text"),
    (lambda c: c["images"][0].update(file_name="."), "image 1: its file_name must be the name of a file"),
    (lambda c: c["images"][0].update(height=96.5), "image 1: its height and width must be whole numbers"),
    (lambda c: c["images"].append(None), "image at place 4: it must be a dict"),
    (lambda c: c["categories"].append("bolt"), "category at place 2: it must be a dict"),
    (lambda c: c["annotations"][0].pop("category_id"), "annotation 1: it has no category_id"),
    (lambda c: c["annotations"][0].update(category_id=8), "annotation 1 of image 1 has category id 8"),
    (lambda c: c["annotations"][0].update(image_id={"id": 1}), "annotation 1: its image_id must be a whole number")])
def test_contract_what_the_data_set_refuses_is_not_converted(tmp_path, layout, edit, sentence):
    messy = Messy(tmp_path)
    edit(messy.content)
    with pytest.raises(ValueError, match=rf"convert_data: .*annotations.json: {sentence}"):
        convert_data(messy.write(), tmp_path / "out", layout=layout, images=messy.images)
    with pytest.raises(ValueError, match=f"CocoDataset: {sentence}"):
        CocoDataset(tmp_path / "annotations.json", messy.images)
    mend_dataset(tmp_path / "annotations.json", messy.images)  # mends what it can, and leaves the rest
    assert inspect_dataset(tmp_path / "annotations.json", messy.images).fatal


def test_contract_a_device_is_not_written_over(folder, tmp_path):
    fiftyone(folder)
    (tmp_path / "out").symlink_to("/dev/null")
    with pytest.raises(OSError, match="out must be the name of a file to write, got a device"):
        convert_data(folder.root, tmp_path / "out")
    assert (tmp_path / "out").is_symlink()


@pytest.mark.parametrize(("layout", "told"), [("yolo", False), ("label-images", False), ("mask-images", False),
                                              ("labelme", True), ("voc", True)])
def test_law_a_broken_image_costs_its_own_objects_alone(tmp_path, layout, told):
    messy = Messy(tmp_path)
    convert_data(messy.write(), tmp_path / "data", layout=layout, images=messy.images)
    broken, *others = sorted(path for path in (tmp_path / "data").rglob("?.png") if path.stem in "1234"
                             and not {"SegmentationClass", "SegmentationObject", "masks"} & set(path.parts))
    broken.write_bytes(b"broken")
    source = find_source(tmp_path / "data")
    if told:  # the annotations say its size: it is there until somebody wants to see it
        dataset = CocoDataset(source.annotations, source.images)
        assert len(dataset) == 4
        with pytest.raises(OSError, match=r"1\.png"):
            dataset[0]
        assert "broken-image" in {f.kind for f in inspect_dataset(source.annotations, source.images).errors}
    else:
        with pytest.warns(UserWarning, match=r"passed over 1 image that cannot be read .* the first: .*1\.png"):
            dataset = CocoDataset(source.annotations, source.images)
        assert (len(dataset), dataset.num_objects) == (3, 9)
        assert [dataset.image_path(k).name for k in range(3)] == ["2.png", "3.png", "4.png"]
        for path in others:
            path.write_bytes(b"broken")
        with pytest.raises(OSError, match=r"1\.png"):
            CocoDataset(source.annotations, source.images)
