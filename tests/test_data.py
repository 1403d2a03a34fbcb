"""Loaders and augmentation: what a good file gives, and that a damaged one is refused by name."""

from __future__ import annotations

import gzip
import io
import struct
import time
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest

from rosenblatt import data
from rosenblatt.data import Affine, DataError, Dataset
from rosenblatt.data.augment import affine_matrices

pytestmark = pytest.mark.quick


def idx_bytes(array: np.ndarray) -> bytes:
    codes = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
    code = codes[array.dtype.str[1:]]
    header = struct.pack(">BBBB", 0, 0, code, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def refused(path: Path, *words: str):
    """A DataError that names the file and says each of ``words``."""

    class Check:
        def __enter__(self):
            return self

        def __exit__(self, kind, error, _):
            assert kind is not None, f"{path}: was accepted"
            assert issubclass(kind, DataError), repr(error)
            for word in (path.name, *words):
                assert word in str(error), f"{word!r} not in {error}"
            return True

    return Check()


# --- digits and Dataset


def test_digits_are_scaled_nhwc_and_split_in_halves():
    whole = data.digits()
    train, test = data.digits(split=True)
    assert whole.x.shape == (1797, 8, 8, 1) and whole.x.dtype == np.float32 and whole.y.dtype == np.int64
    assert whole.x.min() == 0 and whole.x.max() == 1
    assert (len(train), len(test)) == (898, 899)
    assert np.array_equal(np.concatenate([train.x, test.x]), whole.x)
    assert np.array_equal(np.concatenate([train.y, test.y]), whole.y)
    assert whole.classes == tuple("0123456789")


def test_dataset_refuses_labels_that_do_not_fit():
    x = np.zeros((3, 2), np.float32)
    with pytest.raises(DataError, match="one label per sample"):
        Dataset(x, np.zeros(2, np.int64), ("a",), "set")
    with pytest.raises(DataError, match=r"labels in 0\.\.1"):
        Dataset(x, np.array([0, 1, 2]), ("a", "b"), "set")


@pytest.mark.parametrize("name", ["moons", "circles", "spirals", "blobs", "xor"])
def test_generated_points_by_name(name):
    train, test = data.load(name)
    assert train.x.shape == test.x.shape == (500, 2) and not np.isin(train.x, test.x).all(1).any()
    made = getattr(data.generate, name)(seed=0)
    assert np.array_equal(train.x, made.x) and np.array_equal(train.y, made.y) and name in data.NAMED


def test_scenes_by_name():
    train, test = data.load("scenes", size=(16, 16), grayscale=True)
    assert train.x.shape == (600, 16, 16, 1) and test.x.shape == (300, 16, 16, 1)
    assert np.array_equal(train.x, data.generate.scenes(600, 16, channels=1, seed=0).x) and len(set(train.y)) == 6
    assert data.load("scenes")[0].x.shape == (600, 32, 32, 3)
    with pytest.raises(DataError, match="square size, got 16x24"):
        data.load("scenes", size=(16, 24))


def test_hold_out_takes_every_fifth_of_each_class():
    y = np.array([0] * 10 + [1] * 10, np.int64)
    whole = Dataset(np.arange(20, dtype=np.float32)[:, None], y, ("a", "b"), "set")
    train, test = whole.hold_out()
    assert test.x[:, 0].tolist() == [4, 9, 14, 19] and len(train) == 16
    with pytest.raises(ValueError, match="every"):
        whole.hold_out(1)


# --- IDX


@pytest.mark.parametrize("kind", ["u1", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("packed", [False, True])
def test_idx_of_every_type(tmp_path, kind, packed):
    values = np.arange(24).reshape(2, 3, 4).astype(kind)
    file = tmp_path / "values.idx"
    blob = idx_bytes(values)
    file.write_bytes(gzip.compress(blob) if packed else blob)
    read = data.load_idx(file)
    assert read.dtype == values.dtype and read.dtype.isnative
    assert np.array_equal(read, values)


def test_idx_without_elements(tmp_path):
    file = tmp_path / "none.idx"
    file.write_bytes(idx_bytes(np.zeros((0, 5), np.uint8)))
    assert data.load_idx(file).shape == (0, 5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b"", ["magic", "empty"]),
        (lambda b: b"\x01" + b[1:], ["magic", "01 00 08 03"]),
        (lambda b: b[:2] + b"\x07" + b[3:], ["magic", "00 00 07 03"]),
        (lambda b: b[:3] + b"\x00" + b[4:], ["magic"]),
        (lambda b: b[:9], ["header cut short", "16 bytes", "found 9"]),
        (lambda b: b[:-1], ["[2, 3, 4]", "24 bytes", "found only 23"]),
        (lambda b: b + b"x", ["24 bytes", "found more"]),
        (lambda b: b[:4] + b"\xff" * 12 + b[16:], ["declares", "found a file of 40 bytes"]),
    ],
)
def test_damaged_idx_is_refused(tmp_path, change, words):
    file = tmp_path / "bad.idx"
    blob = change(idx_bytes(np.zeros((2, 3, 4), np.uint8)))
    file.write_bytes(blob)
    with refused(file, *words):
        data.load_idx(file)


def test_damaged_gzip_is_refused(tmp_path):
    file = tmp_path / "bad.idx.gz"
    blob = gzip.compress(idx_bytes(np.random.default_rng(0).integers(0, 255, (20, 30), np.uint8)))
    for bad in (blob[:-9], blob[:30], blob[:60] + bytes(20) + blob[80:]):
        file.write_bytes(bad)
        with refused(file):
            data.load_idx(file)


def test_gzip_bomb_is_bounded_by_the_header(tmp_path):
    file = tmp_path / "bomb.idx.gz"
    file.write_bytes(gzip.compress(idx_bytes(np.zeros((2, 2), np.uint8)) + bytes(50_000_000)))
    with refused(file, "4 bytes", "more"):
        data.load_idx(file)
    # a small file that declares more than deflate could ever hold
    file.write_bytes(gzip.compress(b"\0\0\x08\x02" + b"\xff" * 8))
    with refused(file, "declares"):
        data.load_idx(file)


def test_missing_idx(tmp_path):
    with refused(tmp_path / "no.idx", "cannot be read"):
        data.load_idx(tmp_path / "no.idx")


def mnist_folder(folder: Path, packed: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    images, labels = rng.integers(0, 256, (12, 28, 28)).astype(np.uint8), (np.arange(12) % 10).astype(np.uint8)
    for prefix, n in (("train", 12), ("t10k", 4)):
        for kind, array in (("images-idx3", images[:n]), ("labels-idx1", labels[:n])):
            blob = idx_bytes(array)
            name = f"{prefix}-{kind}-ubyte" + (".gz" if packed else "")
            (folder / name).write_bytes(gzip.compress(blob) if packed else blob)
    return images, labels


@pytest.mark.parametrize("packed", [False, True])
def test_mnist_folder(tmp_path, packed):
    images, labels = mnist_folder(tmp_path, packed)
    train, test = data.load(tmp_path)
    assert train.x.shape == (12, 28, 28, 1) and len(test) == 4
    assert np.array_equal(train.y, labels) and train.classes == tuple("0123456789")
    assert np.array_equal(train.x[..., 0], images.astype(np.float32) / np.float32(255))


def test_mnist_as_two_files(tmp_path):
    mnist_folder(tmp_path)
    pair = tmp_path / "t10k-images-idx3-ubyte", tmp_path / "t10k-labels-idx1-ubyte"
    assert len(data.load_mnist_idx(pair)) == 4


def test_mnist_that_does_not_fit(tmp_path):
    mnist_folder(tmp_path)
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(idx_bytes(np.zeros(11, np.uint8)))
    with refused(labels, "12 labels", "found 11"):
        data.load_mnist_idx(tmp_path)
    labels.write_bytes(idx_bytes(np.zeros(12, np.int32)))
    with refused(labels, "uint8", "int32"):
        data.load_mnist_idx(tmp_path)
    labels.unlink()
    with refused(labels, "not found", "published"):
        data.load_mnist_idx(tmp_path)
    with pytest.raises(ValueError, match="split"):
        data.load_mnist_idx(tmp_path, "validation")


# --- CIFAR


def cifar_records(n: int, label_bytes: int, classes: int) -> tuple[bytes, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    planes = rng.integers(0, 256, (n, 3, 32, 32)).astype(np.uint8)
    labels = (np.arange(n) % classes).astype(np.uint8)
    head = np.repeat(labels[:, None], label_bytes, axis=1)
    return np.concatenate([head, planes.reshape(n, -1)], axis=1).tobytes(), planes, labels


def test_cifar10_planes_become_channels_last(tmp_path):
    inner = tmp_path / "cifar-10-batches-bin"
    inner.mkdir()
    blob, planes, labels = cifar_records(5, 1, 10)
    for i in range(1, 6):
        (inner / f"data_batch_{i}.bin").write_bytes(blob)
    (inner / "test_batch.bin").write_bytes(blob)
    (inner / "batches.meta.txt").write_text("\n".join(f"class{i}" for i in range(10)) + "\n\n")
    train, test = data.load(tmp_path)
    assert train.x.shape == (25, 32, 32, 3) and test.x.shape == (5, 32, 32, 3)
    assert np.array_equal(test.x, planes.transpose(0, 2, 3, 1).astype(np.float32) / np.float32(255))
    assert np.array_equal(train.y[:5], labels) and train.classes[3] == "class3"


def test_cifar100_fine_and_coarse(tmp_path):
    blob, _, _ = cifar_records(20, 2, 20)
    (tmp_path / "train.bin").write_bytes(blob)
    (tmp_path / "test.bin").write_bytes(blob)
    assert len(data.load_cifar100(tmp_path).classes) == 100
    assert len(data.load_cifar100(tmp_path, "test", "coarse").classes) == 20
    assert len(data.load(tmp_path)[0]) == 20


def test_damaged_cifar_is_refused(tmp_path):
    blob, _, _ = cifar_records(3, 1, 10)
    file = tmp_path / "test_batch.bin"
    for bad, words in (
        (blob[:-1], ["3073", "9218 bytes", "2 records"]),
        (b"", ["0 bytes"]),
        (b"\x0a" + blob[1:], ["labels 0..9", "found 10 in record 0"]),
    ):
        file.write_bytes(bad)
        with refused(file, *words):
            data.load_cifar10(tmp_path, "test")
    with refused(tmp_path / "data_batch_1.bin", "kriz"):
        data.load_cifar10(tmp_path)


# --- tables


def test_csv_with_a_header(tmp_path):
    file = tmp_path / "train.csv"
    file.write_text("label,p0,p1\n3,0,255\n1,51,0\n3,102,255\n", encoding="utf-8-sig")
    set_ = data.load_csv(file, scale=255, shape=(1, 2, 1))
    assert set_.classes == ("1", "3") and set_.y.tolist() == [1, 0, 1]
    assert set_.x.shape == (3, 1, 2, 1) and set_.x.dtype == np.float32
    assert np.allclose(set_.x[:, 0, :, 0], [[0, 1], [0.2, 0], [0.4, 1]])
    again = data.load_csv(file, classes=["0", "1", "2", "3"])
    assert again.y.tolist() == [3, 1, 3]


def test_csv_without_a_header_and_with_text_labels(tmp_path):
    file = tmp_path / "iris.csv"
    file.write_text('5.1,3.5,"Iris, setosa"\n\n4.9,3.0,virginica\n')
    set_ = data.load_csv(file, label=-1)
    assert set_.classes == ("Iris, setosa", "virginica") and len(set_) == 2
    assert np.allclose(set_.x, [[5.1, 3.5], [4.9, 3.0]])


def test_csv_labels_sort_as_numbers(tmp_path):
    file = tmp_path / "n.csv"
    file.write_text("label,v\n10,1\n9,2\n-1,3\n")
    assert data.load_csv(file).classes == ("-1", "9", "10")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["empty"]),
        ("label,a\n", ["rows below the header"]),
        ("label,a\n1,2\n1\n", ["line 3", "2 columns", "found 1"]),
        ("label,a\n1,2,3\n", ["line 2", "found 3"]),
        ("label,a\n1,x\n", ["line 2", "column 2 (a)", "number", "'x'"]),
        ("label,a\n1,\n", ["line 2", "number", "''"]),
        ("label,a\n1,nan\n", ["line 2", "column 2 (a)", "finite", "'nan'"]),
        ("label,a\n1,1e39\n", ["line 2", "finite", "'1e39'"]),
        ("a,label,b\n1,0,2\n1,0,2\n\n3,0,?\n", ["line 5", "column 3 (b)", "'?'"]),
        ("label,a\n1,2\n1,2 3\n", ["line 3", "'2 3'"]),
        ("label,a\n1,2\n1,#\n", ["line 3", "'#'"]),
        ('label,a\n"x\ny",2\nz,bad\n', ["line 4", "'bad'"]),
        ("class,a\n1,2\n", ["'label'", "class, a"]),
        ("label,label\n1,2\n", ["one column", "found 2"]),
    ],
)
def test_damaged_csv_is_refused(tmp_path, text, words):
    file = tmp_path / "bad.csv"
    file.write_text(text)
    with refused(file, *words):
        data.load_csv(file)


def _csv_rows(rows, width):
    """Numbers whose text has more digits than float32 holds, labels in the middle column."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, width - 1)) * 10.0 ** rng.integers(-12, 12, (rows, width - 1))
    y = rng.integers(0, 10, rows)
    at = width // 2
    lines = [
        ",".join([*(repr(float(v)) for v in a[:at]), str(k), *(repr(float(v)) for v in a[at:])])
        for a, k in zip(x, y, strict=True)
    ]
    return x, y, at, lines


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_gives_the_same_numbers_fast_and_row_by_row(tmp_path, end):
    x, y, at, lines = _csv_rows(5000, 7)  # more than two blocks
    file = tmp_path / "t.csv"
    file.write_bytes((end.join(lines) + end).encode())
    fast = data.load_csv(file, label=at)
    assert np.array_equal(fast.x, x.astype(np.float32)) and fast.y.tolist() == y.tolist()
    for odd in (0, 2500, 4999):  # a quote, and a number only Python reads, from some row on
        cells = lines[odd].split(",")
        for changed in ([f'"{cells[0]}"', *cells[1:]], [*cells[:-1], "1_0"]):
            body = [*lines[:odd], ",".join(changed), *lines[odd + 1 :]]
            file.write_bytes(end.join(body).encode())
            slow = data.load_csv(file, label=at)
            expected = x.astype(np.float32)
            if changed[-1] == "1_0":
                expected[odd, -1] = 10
            assert np.array_equal(slow.x, expected) and slow.y.tolist() == y.tolist()


@pytest.mark.parametrize("row", [1, 2047, 2048, 4999])
def test_csv_names_line_and_column_of_a_bad_cell_anywhere(tmp_path, row):
    _, _, at, lines = _csv_rows(5000, 7)
    cells = lines[row].split(",")
    cells[5] = "oops"
    lines[row] = ",".join(cells)
    file = tmp_path / "t.csv"
    file.write_text("\n".join(lines))
    with refused(file, f"line {row + 1}, column 6", "'oops'"):
        data.load_csv(file, label=at)


def test_large_csv_takes_seconds(tmp_path):
    """A twentieth of Kaggle's MNIST file in a second at most: 42,000 rows of 785 columns stay below twenty."""
    rows = 2100
    line = ",".join(str(v % 256) for v in range(785))
    file = tmp_path / "train.csv"
    file.write_text((line + "\n") * rows)
    began = time.process_time()
    assert data.load_csv(file, label=0).x.shape == (rows, 784)
    assert time.process_time() - began < 1


def test_split_is_random_by_seed_and_complete():
    x = np.arange(20, dtype=np.float32)[:, None]
    whole = data.Dataset(x, np.arange(20) % 2, ("a", "b"), "t")
    rest, held = whole.split(0.25, 3)
    assert len(held) == 5 and sorted([*rest.x[:, 0], *held.x[:, 0]]) == list(range(20))
    assert np.array_equal(held.x, whole.split(0.25, 3)[1].x) and not np.array_equal(held.x, whole.split(0.25, 4)[1].x)
    assert (np.diff(rest.x[:, 0]) > 0).all() and np.array_equal(held.y, held.x[:, 0] % 2)
    assert [len(part) for part in whole.split(0.001, 0)] == [19, 1] == [len(p) for p in whole.split(0.999, 0)][::-1]
    for fraction in (0, 1, -0.5, float("nan")):
        with pytest.raises(ValueError, match="fraction"):
            whole.split(fraction, 0)
    with pytest.raises(ValueError, match="two samples"):
        whole.take(slice(0, 1)).split(0.5, 0)


def test_csv_that_does_not_fit(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("label,a\n1,2\n")
    with refused(file, "[3]", "found 1"):
        data.load_csv(file, shape=(3,))
    with refused(file, "'1'", "2 classes"):
        data.load_csv(file, classes=["0", "2"])
    with refused(file, "column 7", "2 columns"):
        data.load_csv(file, label=7)
    with refused(tmp_path / "no.csv"):
        data.load_csv(tmp_path / "no.csv")
    file.write_bytes(b"label,a\n1,\xff\n")
    with refused(file, "UTF-8", "0xff"):
        data.load_csv(file)


def test_npz(tmp_path):
    file = tmp_path / "set.npz"
    x = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    np.savez_compressed(file, x=x, y=np.array([1, 0]), classes=np.array(["no", "yes"]))
    set_ = data.load_npz(file)
    assert set_.x.shape == (2, 3, 4, 1) and set_.classes == ("no", "yes") and set_.y.tolist() == [1, 0]
    assert np.array_equal(set_.x[..., 0], x.astype(np.float32) / np.float32(255))


def test_npz_one_hot_fortran_and_big_endian(tmp_path):
    file = tmp_path / "set.npz"
    x = np.asfortranarray(np.arange(6.0).reshape(2, 3)).astype(">f8")
    np.savez(file, a=x, b=np.array([[0, 1, 0], [1, 0, 0]], np.float32))
    set_ = data.load_npz(file, x="a", y="b")
    assert np.array_equal(set_.x, np.arange(6.0).reshape(2, 3)) and set_.x.dtype == np.float32
    assert set_.y.tolist() == [1, 0] and len(set_.classes) == 3


def test_damaged_npz_is_refused(tmp_path):
    file = tmp_path / "bad.npz"
    good = io.BytesIO()
    np.savez(good, x=np.zeros((2, 2)), y=np.zeros(2, np.int64))
    for bad in (b"", b"no zip", good.getvalue()[:200], good.getvalue()[:-4]):
        file.write_bytes(bad)
        with refused(file):
            data.load_npz(file)
    np.savez(file, x=np.zeros((2, 2)))
    with refused(file, "'y'", "found x"):
        data.load_npz(file)
    np.savez(file, x=np.array([{}, {}], object), y=np.zeros(2, np.int64))
    with refused(file, "Python objects"):
        data.load_npz(file)
    np.savez(file, x=np.full((2, 2), np.nan), y=np.zeros(2, np.int64))
    with refused(file, "finite"):
        data.load_npz(file)
    np.savez(file, x=np.zeros((2, 2)), y=np.zeros(2))
    with refused(file, "integer labels"):
        data.load_npz(file)
    np.savez(file, x=np.zeros((2, 2)), y=np.array([0, 2**60]))
    with refused(file, "class indices"):
        data.load_npz(file)


def test_npz_that_declares_more_than_it_holds(tmp_path):
    file = tmp_path / "bomb.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 2**20)})
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", header.getvalue())
        archive.writestr("y.npy", header.getvalue())
    with refused(file, "declares"):
        data.load_npz(file)


def test_npy(tmp_path):
    file = tmp_path / "a.npy"
    np.save(file, np.arange(6.0).reshape(2, 3))
    assert np.array_equal(data.load_array(file), np.arange(6.0).reshape(2, 3))
    file.write_bytes(file.read_bytes()[:-1])
    with refused(file, "48 bytes", "found 47"):
        data.load_array(file)


# --- pictures


def save_picture(path: Path, pixels: np.ndarray, **options) -> None:
    image = pytest.importorskip("PIL.Image")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.fromarray(pixels).save(path, **options)


def test_image_folder(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 10, 3)).astype(np.uint8)
    for name in ("cat/b.png", "cat/a.png", "dog/a.PNG"):
        save_picture(tmp_path / name, pixels)
    (tmp_path / "cat/notes.txt").write_text("not a picture")
    set_ = data.image_folder(tmp_path)
    assert set_.classes == ("cat", "dog") and set_.y.tolist() == [0, 0, 1]
    assert np.array_equal(set_.x[0], pixels.astype(np.float32) / np.float32(255))
    grey = data.image_folder(tmp_path, size=(3, 5), grayscale=True)
    assert grey.x.shape == (3, 3, 5, 1) and 0 < grey.x.mean() < 1


def test_train_and_test_folders(tmp_path):
    for part in ("train", "test"):
        for name in ("a", "b"):
            save_picture(tmp_path / part / name / "1.png", np.zeros((4, 4), np.uint8))
    train, test = data.load(tmp_path)
    assert len(train) == len(test) == 2 and train.x.shape == (2, 4, 4, 3)
    save_picture(tmp_path / "test" / "c" / "1.png", np.zeros((4, 4), np.uint8))
    with refused(tmp_path, "same classes", "'c'"):
        data.load(tmp_path)


def test_pictures_that_are_refused(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    good, bad = tmp_path / "a" / "good.png", tmp_path / "a" / "z.png"
    save_picture(good, pixels)
    bad.write_bytes(good.read_bytes()[:2000])
    with refused(bad, "damaged"):
        data.image_folder(tmp_path)
    bad.write_bytes(b"GIF89a" + bytes(50))
    with refused(bad, "PNG, JPEG or BMP"):
        data.image_folder(tmp_path)
    save_picture(bad, pixels[:20])
    with refused(bad, "40 x 40", "found 20 x 40"):
        data.image_folder(tmp_path)
    with refused(tmp_path / "no.png", "not found"):
        data.load_image(tmp_path / "no.png")
    # a small file with a header of 60,000 x 60,000 pixels
    blob = bytearray(good.read_bytes())
    blob[16:24] = struct.pack(">II", 60_000, 60_000)
    blob[29:33] = struct.pack(">I", __import__("zlib").crc32(bytes(blob[12:29])))
    bad.write_bytes(bytes(blob))
    with refused(bad, "pixels"):
        data.load_image(bad)
    (tmp_path / "empty").mkdir()
    with refused(tmp_path / "empty", "pictures"):
        data.image_folder(tmp_path)
    with refused(tmp_path / "missing", "no folder"):
        data.image_folder(tmp_path / "missing")


def test_sources_that_are_not_there(tmp_path):
    with refused(tmp_path / "nothing", "not found", "digits"):
        data.load(tmp_path / "nothing")
    with refused(tmp_path, "nothing usable"):
        data.load(tmp_path)
    odd = tmp_path / "a.xyz"
    odd.touch()
    with refused(odd, "unknown kind"):
        data.load(odd)


def test_missing_extra_is_named(monkeypatch):
    from rosenblatt.io.extras import MissingExtraError, require

    with pytest.raises(MissingExtraError, match=r'pip install "rosenblatt\[demo\]"'):
        require("no_such_module_here", "demo", "this test")


# --- augmentation


def warp(x: np.ndarray, m: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear sampling by definition, zero outside: the oracle."""
    n, h, w, c = x.shape
    y = np.zeros((n, *size, c))
    for i in range(n):
        for p in range(size[0]):
            for q in range(size[1]):
                u, v = m[i].astype(np.float64) @ (p, q, 1)
                a, b = int(np.floor(u)), int(np.floor(v))
                for s, t in ((a, b), (a, b + 1), (a + 1, b), (a + 1, b + 1)):
                    if 0 <= s < h and 0 <= t < w:
                        y[i, p, q] += (1 - abs(u - s)) * (1 - abs(v - t)) * x[i, s, t]
    return y


def test_identity_and_quarter_turn():
    x = np.random.default_rng(0).random((2, 5, 5, 2)).astype(np.float32)
    assert np.array_equal(data.place(x, (5, 5)), x)
    m = affine_matrices(2, (5, 5), (5, 5), angle=90.0)
    from rosenblatt import ops

    turned = np.asarray(ops.warp_affine(x, m, size=(5, 5)))
    assert np.allclose(turned, np.rot90(x, axes=(1, 2)), atol=1e-5)  # rot90 turns counter-clockwise


def test_shift_moves_down_and_right():
    x = np.zeros((1, 8, 8, 1), np.float32)
    x[0, 2, 3] = 1
    from rosenblatt import ops

    m = affine_matrices(1, (8, 8), (8, 8), shift=np.array([[0.25, 0.125]]))
    moved = np.asarray(ops.warp_affine(x, m, size=(8, 8)))
    assert np.unravel_index(moved.argmax(), moved.shape) == (0, 4, 4, 0) and moved.max() == pytest.approx(1)


def test_place_leaves_a_margin_and_keeps_the_middle():
    x = np.ones((1, 8, 8, 1), np.float32)
    y = data.place(x, 32, fit=28 / 32)
    assert y.shape == (1, 32, 32, 1)
    assert (y[:, 4:28, 4:28] == 1).all() and y[:, 0].max() < 0.1 and y[:, :, -1].max() < 0.1
    assert np.allclose(y, y[:, ::-1]) and np.allclose(y, y[:, :, ::-1])


def test_resize_keeps_a_constant_and_a_ramp():
    x = np.full((1, 4, 6, 3), 0.5, np.float32)
    assert np.allclose(data.resize(x, (9, 15)), 0.5)
    ramp = np.tile(np.arange(6, dtype=np.float32), (4, 1))[None, ..., None]
    wide = data.resize(ramp, (4, 12))[0, 0, :, 0]
    assert np.allclose(wide, np.clip((np.arange(12) + 0.5) / 2 - 0.5, 0, 5))


def test_affine_is_the_definition_of_its_matrices():
    x = np.random.default_rng(3).random((3, 8, 6, 2)).astype(np.float32)
    augment = Affine(rotate=30, shift=0.2, scale=(0.7, 1.4), shear=15, size=(11, 9), fit=0.9)
    y = augment(x, np.random.default_rng(5))
    m = augment.matrices(3, (8, 6), np.random.default_rng(5))
    assert y.shape == (3, 11, 9, 2) and np.allclose(y, warp(x, m, (11, 9)), atol=2e-5)
    assert np.array_equal(y, augment(x, np.random.default_rng(5)))
    assert not np.array_equal(m[0], m[1])


def test_affine_without_ranges_is_place():
    x = np.random.default_rng(0).random((2, 8, 8, 1)).astype(np.float32)
    y = Affine(size=(32, 32), fit=0.875)(x, np.random.default_rng(0))
    assert np.array_equal(y, data.place(x, 32, 0.875))


@pytest.mark.parametrize(
    "options",
    [{"rotate": -1}, {"shift": float("nan")}, {"scale": (1.2, 0.8)}, {"scale": (0, 1)}, {"shear": 90}, {"fit": 0}],
)
def test_affine_refuses_impossible_ranges(options):
    with pytest.raises(ValueError, match="Affine"):
        Affine(**options)


def test_augmentation_refuses_other_layouts():
    with pytest.raises(ValueError, match="NCHW"):
        Affine()(np.zeros((4, 1, 28, 28), np.float32), np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"\[N,H,W,C\]"):
        data.place(np.zeros((8, 8), np.float32), 16)


# --- sound and text


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_wav(tmp_path, width):
    file = tmp_path / "s.wav"
    top = 2 ** (8 * width - 1)
    values = np.array([[0, top - 1], [-top, 1], [-1, top // 2]])  # [N,C]
    stored = values + 128 if width == 1 else values
    raw = b"".join(int(v).to_bytes(width, "little", signed=width > 1) for v in stored.ravel())
    with wave.open(str(file), "wb") as sound:
        sound.setparams((2, width, 8000, 0, "NONE", "not compressed"))
        sound.writeframes(raw)
    samples, rate = data.load_wav(file)
    assert rate == 8000 and samples.dtype == np.float32 and samples.shape == (3, 2)
    assert np.allclose(samples, values / top, atol=1e-7) and samples.min() == -1
    whole = file.read_bytes()
    for bad in (b"", whole[:20], whole[:-1], b"x" * 60, whole.replace(b"WAVE", b"WAVX")):
        file.write_bytes(bad)
        with refused(file):
            data.load_wav(file)
    with refused(tmp_path / "no.wav"):
        data.load_wav(tmp_path / "no.wav")


def test_wav_of_floats_is_refused(tmp_path):
    file = tmp_path / "f.wav"
    body = struct.pack("<4sIHHIIHH4sI4s", b"fmt ", 16, 3, 1, 8000, 32000, 4, 32, b"data", 4, b"\0" * 4)
    file.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)
    with refused(file, "integer samples"):
        data.load_wav(file)


def test_text(tmp_path):
    file = tmp_path / "t.txt"
    file.write_text("abba, ça!\n", encoding="utf-8-sig")
    tokens, known = data.load_text(file)
    assert known[0] == "a" and known[1] == "b" and "".join(known[t] for t in tokens) == "abba, ça!\n"
    tokens, known = data.load_text(file, "word")
    assert [known[t] for t in tokens] == ["abba", ",", "ça", "!"] and tokens.dtype == np.int64
    tokens, known = data.load_text(file, "byte")
    assert bytes(tokens.tolist()) == file.read_bytes() and len(known) == 256
    tokens, known = data.load_text(file, limit=2)
    assert known == ("a", "b", "<unknown>") and tokens.tolist() == [0, 1, 1, 0, 2, 2, 2, 0, 2, 2]
    assert data.load_text(file, vocabulary=known)[0].tolist() == tokens.tolist()
    with refused(file, "','", "2 entries"):
        data.load_text(file, vocabulary=("a", "b"))
    for options in ({"by": "line"}, {"limit": 0}, {"by": "byte", "limit": 3}, {"vocabulary": ("a",), "limit": 3}):
        with pytest.raises(ValueError, match="load_text"):
            data.load_text(file, **options)
    for content, word in ((b"", "empty"), (b"a\nb\xff", "line 2")):
        file.write_bytes(content)
        with refused(file, word):
            data.load_text(file)
