"""Loaders give the canonical data or one sentence: missing, damaged and malicious files are refused."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import os
import pickle
import tarfile
import threading
import zipfile

import numpy as np
import pytest

from gradlab import loaders
from gradlab.loaders import CorruptData, MissingData
from gradlab.store import archives

real = pytest.mark.skipif(not os.environ.get("GRADLAB_DATA"), reason="GRADLAB_DATA is not set")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# A small MNIST, CIFAR-10 and gas sensor archive of our own, with their digests put in place of the canonical.


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return gzip.compress(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    files = []
    (tmp_path / "mnist").mkdir()
    for name in loaders._MNIST_SHA256:
        count = 40 if "train" in name else 20
        array = random.integers(0, 256, (count, 28, 28)) if "images" in name else np.arange(count) % 10
        (tmp_path / "mnist" / name).write_bytes(idx(array))
        digest = sha256((tmp_path / "mnist" / name).read_bytes())
        files.append(loaders.File((name,), f"sha256:{digest}"))
    source = loaders.Source("small", "1 kB", "none", tuple(files))
    monkeypatch.setitem(loaders.SOURCES, "mnist", source)
    monkeypatch.setenv("GRADLAB_DATA", str(tmp_path))
    return tmp_path


def batch_pickle(pixels: np.ndarray, labels: list[int]) -> bytes:
    """A batch as Python 2 pickled it: {'data': (N, 3072) bytes, 'labels': list}, N below 256."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        + b"K" + bytes([len(labels)]) + b"M\x00\x0c\x86"
        + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + b"T" + np.array(pixels.size, "<i4").tobytes() + pixels.astype(np.uint8).tobytes() + b"tb"
    )  # fmt: skip
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels" + numbers + b"u."


def tar_of(members: dict[str, bytes], path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


@pytest.fixture
def small_cifar(tmp_path, monkeypatch):
    """The members of an archive, each of 20 images; call ``write(names)`` to have an archive of them."""
    random = np.random.default_rng(1)
    members = {
        name: batch_pickle(random.integers(0, 256, (20, 3072)), [int(n) % 10 for n in range(20)])
        for name in loaders._CIFAR_MEMBERS
    }
    for name, content in members.items():
        monkeypatch.setitem(loaders._CIFAR_MEMBERS, name, f"sha256:{sha256(content)}")
    monkeypatch.setenv("GRADLAB_DATA", str(tmp_path))

    def write(wanted=tuple(members), **replaced):
        tar_of(
            {name: replaced.get(name, members[name]) for name in wanted}, tmp_path / "cifar-10-python.tar.gz"
        )

    return write


def gas_zip(path, damage=lambda content: content) -> None:
    """The ethanol archive of GRADLAB_DATA once more, in a subfolder, with lines of other gases in between."""
    with zipfile.ZipFile(loaders._local("gas_sensor")) as archive, zipfile.ZipFile(path, "w") as copy:
        for number in range(1, 11):
            lines = archive.read(f"batch{number}.dat").splitlines(keepends=True)
            other = b"2;10.000000 1:1.0 2:2.0 \n"
            copy.writestr(f"Dataset/batch{number}.dat", damage(other.join([*lines, b""])))


# Real data ------------------------------------------------------------------------------------------------


@real
def test_mnist_is_canonical_and_split_as_asked():
    data = loaders.mnist(50, 20)
    assert data.inputs.shape == (50, 784)
    assert data.inputs.dtype == np.float64
    assert 0 <= float(data.inputs.min()) <= float(data.inputs.max()) == 1
    assert data.targets[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.test_targets[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert "MNIST" in data.provenance


@real
def test_cifar_is_canonical_in_the_partial_archive():
    data = loaders.cifar10(30, 10, flat=False)
    assert data.inputs.shape == (30, 3, 32, 32)
    # frog, truck, truck, deer, automobile, … as everywhere
    assert data.targets[:8].tolist() == [6, 9, 9, 4, 1, 1, 2, 7]
    assert data.test_targets[:8].tolist() == [3, 8, 8, 0, 6, 6, 1, 6]
    # first pixel of the first training image (red, green, blue)
    assert (np.asarray(data.inputs[0, :, 0, 0]) * 255).round().tolist() == [59, 62, 63]


@real
def test_ethanol_rows_standardised_have_mean_zero_variance_one_and_the_known_conditioning():
    data = loaders.gas_sensor()
    X = np.asarray(data.inputs)
    assert X.shape == (2565, 128)
    assert data.targets.shape == (2565, 1)
    np.testing.assert_allclose(X.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(X.std(0), 1, rtol=1e-12)
    np.testing.assert_allclose(np.asarray(data.targets).std(), 1, rtol=1e-12)
    assert 5e4 < np.linalg.cond(X) < 1e5


@real
def test_ethanol_rows_raw_are_those_of_the_file():
    data = loaders.gas_sensor(standardise=False)
    assert float(data.targets[0, 0]) == 10.0
    np.testing.assert_array_equal(np.asarray(data.inputs)[0, :3], [15596.1621, 1.868245, 2.371604])


@real
def test_whitened_training_rows_have_the_identity_as_covariance_exactly():
    data = loaders.gas_sensor(whiten=True, test_fraction=0.2, seed=1)
    X, test = np.asarray(data.inputs), np.asarray(data.test_inputs)
    assert (len(X), len(test)) == (2052, 513)
    np.testing.assert_allclose(X.T @ X / len(X), np.eye(128), atol=1e-13)
    np.testing.assert_allclose(X.mean(0), 0, atol=1e-9)
    assert np.abs(test.T @ test / len(test) - np.eye(128)).max() > 1e-3


@real
def test_whole_gas_archive_gives_the_same_ethanol_rows(tmp_path, monkeypatch):
    partial = loaders.gas_sensor(standardise=False)
    gas_zip(tmp_path / loaders._GAS)
    monkeypatch.setenv("GRADLAB_DATA", str(tmp_path))
    whole = loaders.gas_sensor(standardise=False)
    np.testing.assert_array_equal(np.asarray(whole.inputs), np.asarray(partial.inputs))
    np.testing.assert_array_equal(np.asarray(whole.targets), np.asarray(partial.targets))


@real
def test_gas_archive_with_one_changed_digit_is_refused(tmp_path, monkeypatch):
    gas_zip(
        tmp_path / "ethanol_batches.zip", lambda content: content.replace(b"15596.162100", b"15596.162101")
    )
    monkeypatch.setenv("GRADLAB_DATA", str(tmp_path))
    with pytest.raises(CorruptData, match=r"ethanol_batches\.zip is damaged"):
        loaders.gas_sensor()


@real
def test_fetch_with_a_given_folder_names_its_files_and_describe_finds_them():
    folder = os.environ["GRADLAB_DATA"]
    assert [path.is_file() for path in loaders.fetch("mnist")] == [True] * 4
    rows = {row["name"]: row for row in loaders.describe()}
    assert list(rows) == loaders.names() == ["mnist", "cifar10", "gas_sensor"]
    for row in rows.values():
        assert set(row) == {"name", "what", "size", "licence", "address", "present", "where"}
        assert row["present"]
        assert row["where"].startswith(folder)
        assert row["address"].startswith("https://")


# Selection ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_mnist")
def test_classes_are_numbered_in_the_order_given():
    data = loaders.mnist(None, None, classes=(7, 2))
    assert data.targets.tolist() == [1, 0] * 4  # digits 2, 7, 2, 7, …
    signs = loaders.mnist(None, 0, classes=(7, 2), labels="sign")
    assert signs.targets.tolist() == [1.0, -1.0] * 4
    assert signs.test_inputs is None
    onehot = loaders.mnist(None, 0, classes=(7, 2), labels="onehot")
    np.testing.assert_array_equal(onehot.targets, np.eye(2)[data.targets])
    assert loaders.mnist(8, 8, flat=False).inputs.shape == (8, 1, 28, 28)


@pytest.mark.usefixtures("small_mnist")
def test_a_seed_draws_other_examples_and_always_the_same():
    plain, drawn, again = loaders.mnist(10, 0), loaders.mnist(10, 0, seed=3), loaders.mnist(10, 0, seed=3)
    assert plain.targets.tolist() == list(range(10))
    assert drawn.targets.tolist() != list(range(10))
    np.testing.assert_array_equal(drawn.inputs, again.inputs)


def test_partial_and_whole_cifar_archives_give_the_same_data(small_cifar):
    small_cifar()
    whole, every = loaders.cifar10(15, 5, seed=2), loaders.cifar10(None, 0)
    assert len(every.targets) == 100
    assert len(loaders.cifar10(21, 0).targets) == 21
    small_cifar(("data_batch_1", "test_batch"))
    partial = loaders.cifar10(15, 5, seed=2)
    np.testing.assert_array_equal(whole.inputs, partial.inputs)
    np.testing.assert_array_equal(whole.test_targets, partial.test_targets)
    with pytest.raises(MissingData, match="no member data_batch_2, needed for 21 examples; 20 are there"):
        loaders.cifar10(21, 0)


@pytest.mark.usefixtures("small_mnist")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": 41}, "the files hold 40"),
        ({"train": 0}, "no training examples"),
        ({"train": -1}, "-1 examples asked for"),
        ({"classes": (3,)}, "two or more different"),
        ({"classes": (3, 3)}, "two or more different"),
        ({"classes": (3, 10)}, "two or more different"),
        ({"labels": "sign"}, "needs two classes"),
        ({"labels": "signs"}, "write 'class', 'sign' or 'onehot'"),
    ],
)
def test_misuse_is_refused_with_a_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        loaders.mnist(**({"train": 10, "test": 0} | options))


def test_unknown_data_set_and_test_fraction_are_refused():
    with pytest.raises(ValueError, match="expected one of mnist, cifar10, gas_sensor"):
        loaders.fetch("imagenet")
    with pytest.raises(ValueError, match="test_fraction is 1"):
        loaders.gas_sensor(test_fraction=1.0)


# Missing, damaged, malicious ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "name"),
    [
        (loaders.mnist, "mnist/train-images-idx3-ubyte.gz"),
        (loaders.cifar10, "cifar10/cifar-10-python.tar.gz"),
        (loaders.gas_sensor, "gas_sensor/gas"),
    ],
)
def test_a_file_missing_in_the_given_folder_is_named_and_never_downloaded(load, name, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADLAB_DATA", str(tmp_path))
    monkeypatch.setattr(loaders, "_download", lambda *_: pytest.fail("a download was tried"))
    with pytest.raises(MissingData) as caught:
        load()
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not any(row["present"] for row in loaders.describe())


def test_both_layouts_of_the_given_folder_are_read(small_mnist):
    nested = loaders.mnist(5, 0)
    for path in list((small_mnist / "mnist").iterdir()):
        path.rename(small_mnist / path.name)
    np.testing.assert_array_equal(loaders.mnist(5, 0).inputs, nested.inputs)


@pytest.mark.parametrize("position", [0, 100, -1])
def test_one_flipped_bit_of_mnist_is_refused(small_mnist, position):
    path = small_mnist / "mnist" / "train-labels-idx1-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptData, match=r"train-labels-idx1-ubyte\.gz is damaged"):
        loaders.mnist(5, 5)


def test_a_cifar_member_with_other_bytes_is_refused(small_cifar):
    small_cifar(test_batch=batch_pickle(np.zeros((20, 3072)), [0] * 20))
    with pytest.raises(CorruptData, match=r"test_batch in .* is damaged"):
        loaders.cifar10(5, 5)


@pytest.mark.parametrize("keep", [0, 10, 2000])
def test_a_truncated_archive_is_refused(small_cifar, tmp_path, keep):
    small_cifar()
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(path.read_bytes()[:keep])
    (tmp_path / "ethanol_batches.zip").write_bytes(path.read_bytes())
    with pytest.raises(CorruptData, match="is damaged"):
        loaders.cifar10(5, 5)
    with pytest.raises(CorruptData, match="is damaged"):
        loaders.gas_sensor()


def test_an_archive_that_unpacks_to_too_much_is_refused_unread(small_cifar, monkeypatch):
    small_cifar()
    monkeypatch.setattr(archives, "MEMBER", 1000)
    with pytest.raises(CorruptData, match="unpacks to more"):
        loaders.cifar10(5, 5)


def test_headers_count_as_what_an_archive_unpacks_to(small_cifar, tmp_path, monkeypatch):
    """A comment of 8 MB in a header, 8 kB packed, is not read whole where 1 MB is the budget."""
    entry = tarfile.TarInfo("cifar-10-batches-py/test_batch")
    entry.pax_headers = {"comment": "a" * 8_000_000}
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(entry, io.BytesIO(b""))
    monkeypatch.setattr(archives, "ARCHIVE", 1_000_000)
    with pytest.raises(CorruptData, match="unpacks to more"):
        loaders.cifar10(5, 5)


@pytest.mark.parametrize(
    ("load", "name"), [("cifar10", "cifar-10-python.tar.gz"), ("gas_sensor", "ethanol_batches.zip")]
)
def test_a_file_larger_than_any_archive_is_not_opened(load, name, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADLAB_DATA", str(tmp_path))
    with open(tmp_path / name, "wb") as file:
        file.truncate(archives.ARCHIVE + 1)
    with pytest.raises(CorruptData, match="400 MB, more than any archive"):
        getattr(loaders, load)()


class Malice:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malicious_pickle_is_refused_and_not_run(small_cifar, monkeypatch, tmp_path, protocol):
    content = pickle.dumps({"data": Malice(os.mkdir, str(tmp_path / "pwned"))}, protocol)
    monkeypatch.setitem(loaders._CIFAR_MEMBERS, "data_batch_1", f"sha256:{sha256(content)}")
    small_cifar(data_batch_1=content)
    with pytest.raises(CorruptData, match=r"asks for \w+\.mkdir, which no CIFAR batch does"):
        loaders.cifar10(1, 0)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Malice(eval, "1")), "asks for"),
        (pickle.dumps({b"data": np.zeros((1, 3072)), b"labels": [1]}, 4), "no CIFAR batch|hold bytes"),
        (b"\x80\x02cnumpy\nndarray\n(J\xff\xff\xff\x7ftR.", "is no CIFAR batch"),
        (
            b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nM\xff\xff\x85U\x01b\x87R.",
            "as no CIFAR",
        ),
        (b"\x80\x02cnumpy\ndtype\nU\x01OK\x00K\x01\x87R.", "hold bytes"),
        (b"\x80\x02cbuiltins\ngetattr\n.", "asks for builtins.getattr"),
        (pickle.dumps([1, 2]), "is no CIFAR batch"),
        (batch_pickle(np.zeros((2, 3072)), [1, 11]), "labels 0 … 9"),
        (batch_pickle(np.zeros((2, 3072)), [1, 1])[:-40], "is no CIFAR batch"),
        (b"", "is no CIFAR batch"),
    ],
)
def test_pickles_that_are_no_batch_are_refused(content, message):
    with pytest.raises(CorruptData, match=message):
        loaders._unpickled(content, "data_batch_1")


def test_a_batch_pickled_by_python_2_is_read():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3072))
    images, labels = loaders._unpickled(batch_pickle(pixels, [4, 0, 9]), "data_batch_1")
    np.testing.assert_array_equal(images.reshape(3, -1), pixels)
    assert labels.tolist() == [4, 0, 9]


# Downloading ----------------------------------------------------------------------------------------------


@pytest.fixture
def server(small_mnist, tmp_path_factory, monkeypatch):
    """The small MNIST on loopback, no GRADLAB_DATA, an empty cache; counts what is asked for."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=small_mnist)
    cache = tmp_path_factory.mktemp("cache")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
        thread.start()
        monkeypatch.setitem(loaders._ADDRESSES, "mnist", f"http://127.0.0.1:{httpd.server_port}/mnist/")
        monkeypatch.setattr(loaders, "_cache", lambda: cache)
        monkeypatch.delenv("GRADLAB_DATA")
        yield small_mnist, cache, asked
        httpd.shutdown()
        thread.join()


def test_files_are_downloaded_once_into_the_cache(server, monkeypatch):
    folder, cache, asked = server
    assert not loaders.describe()[0]["present"]
    data = loaders.mnist(5, 5)
    assert len(asked) == 4
    assert loaders.fetch("mnist") == [cache / "mnist" / name for name in loaders._MNIST_SHA256]
    assert len(asked) == 4
    assert loaders.describe()[0]["present"]
    monkeypatch.setenv("GRADLAB_DATA", str(folder))
    np.testing.assert_array_equal(loaders.mnist(5, 5).inputs, data.inputs)


def test_a_download_with_the_wrong_digest_is_refused_and_not_kept(server):
    folder, cache, _ = server
    (folder / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"something else")
    with pytest.raises(CorruptData, match=r"sent is not train-images-idx3-ubyte\.gz \(expected sha256:"):
        loaders.fetch("mnist")
    assert list((cache / "mnist").iterdir()) == []


def test_a_damaged_cached_file_is_downloaded_anew(server):
    _, cache, asked = server
    paths = loaders.fetch("mnist")
    paths[0].write_bytes(b"rot")
    loaders.fetch("mnist")
    assert len(asked) == 5
    assert paths[0].parent == cache / "mnist"


@pytest.mark.usefixtures("server")
def test_a_download_that_fails_says_what_to_do(server, monkeypatch):
    (server[0] / "mnist" / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(MissingData, match=r"could not be downloaded \(HTTPError\).*set GRADLAB_DATA"):
        loaders.mnist()
    monkeypatch.setitem(loaders._ADDRESSES, "mnist", "http://127.0.0.1:9/")
    with pytest.raises(MissingData, match=r"could not be downloaded \(Connection"):
        loaders.mnist()


def test_the_progress_bar_counts_what_pooch_tells_it():
    bar = loaders._Bar("mnist: [/not markup]")
    bar.total = 100
    bar.update(30)
    assert (bar.progress.tasks[0].completed, bar.progress.tasks[0].total) == (30, 100)
    bar.reset()
    bar.update(100)
    assert bar.progress.finished
    bar.close()
