"""Weights files: what is written is read back, and nothing that is damaged or hostile gets through."""

from __future__ import annotations

import errno
import io
import json
import os
import struct
import zipfile
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

import vpmsearch.model.tensors as tensors_module
import vpmsearch.model.weights as module
from vpmsearch.errors import WeightsError
from vpmsearch.model import weights_file
from vpmsearch.model.vpm import Vpm
from vpmsearch.model.weights import (
    WeightsConfig,
    find_by_fingerprint,
    find_weights,
    fingerprint,
    or_shipped,
    read_tensors,
    read_weights,
    save_weights,
    write_tensors,
)

CONFIG = WeightsConfig(
    backbone="tiny",
    num_regions=(3, 2),
    embedding_dim=8,
    normalize_embeddings=True,
    input_size=(64, 32),
    mean=(0.4, 0.5, 0.6),
    std=(0.2, 0.25, 0.3),
    name="test-model",
    dataset="märket",
    num_classes=751,
    training={"epochs": 60, "crops": ["top"], "gamma": [0.5, 1.0], "margin": None},
    source_revision="0.1.0+abc",
)


pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(scope="module")
def model(tiny):
    torch.manual_seed(0)
    return Vpm(CONFIG.backbone, CONFIG.num_regions, CONFIG.embedding_dim, CONFIG.normalize_embeddings).eval()


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "vpm.safetensors"
    save_weights(path, model, CONFIG)
    return path


def outputs(model):
    with torch.inference_mode():
        return model(torch.rand(2, 3, 64, 32, generator=torch.Generator().manual_seed(1)))


def read_fully(path):
    """Everything a command does with weights."""
    loaded = read_weights(path)
    return loaded.config, loaded.info, loaded.model


def with_header(path, header, data=b""):
    """A safetensors file with a header of one's own."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def with_config(path, text):
    """A safetensors file with a configuration of one's own, and hardly a tensor."""
    config = text if isinstance(text, str) else json.dumps(text)
    return with_header(path, {"__metadata__": {"vpmsearch": config}, "a": tensor_entry("U8", [1], 0, 1)}, b"\0")


def tensor_entry(dtype, shape, start, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def config_values():
    return json.loads(json.dumps(asdict(CONFIG)))


# ---------------------------------------------------------------------------------------------------- round trip


def test_float32_comes_back_exactly(model, saved):
    loaded = read_weights(saved)
    assert not loaded.model.training
    assert loaded.model.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in loaded.model.state_dict().items())
    assert torch.equal(outputs(loaded.model).embeddings, outputs(model).embeddings)


def test_float16_comes_back_close_and_half_as_large(model, saved, tmp_path):
    path = tmp_path / "half.safetensors"
    save_weights(path, model, CONFIG, torch.float16)
    assert path.stat().st_size < 0.6 * saved.stat().st_size
    loaded = read_weights(path).model
    assert all(parameter.dtype == torch.float32 for parameter in loaded.parameters())
    torch.testing.assert_close(outputs(loaded).embeddings, outputs(model).embeddings, rtol=2e-2, atol=5e-3)
    torch.testing.assert_close(outputs(loaded).visibility, outputs(model).visibility, rtol=1e-2, atol=1e-3)


def test_float16_cannot_turn_a_large_value_into_infinity(model, tmp_path):
    other = Vpm(CONFIG.backbone, CONFIG.num_regions, CONFIG.embedding_dim)
    other.load_state_dict(model.state_dict())
    variance = other.reduction[1].running_var
    variance.fill_(1e6)
    save_weights(tmp_path / "vpm.safetensors", other, CONFIG, torch.float16)
    assert torch.equal(read_weights(tmp_path / "vpm.safetensors").model.reduction[1].running_var, variance)


def test_the_whole_configuration_comes_back(saved):
    config = read_weights(saved).config
    plain = {name: value for name, value in asdict(config).items() if name != "training"}
    assert plain == {name: value for name, value in asdict(CONFIG).items() if name != "training"}
    assert json.loads(json.dumps(config.training)) == CONFIG.training
    info = read_weights(saved).info
    assert (info.num_regions, info.embedding_dim, info.input_size) == ((3, 2), 8, (64, 32))
    assert (info.name, info.dataset, info.weights) == ("test-model", "märket", str(saved.resolve()))
    assert info.fingerprint == fingerprint(saved)


def test_embedding_dim_none_is_that_of_the_trunk(tmp_path):
    config = replace(CONFIG, embedding_dim=None)
    save_weights(tmp_path / "vpm.safetensors", Vpm(config.backbone, config.num_regions), config)
    loaded = read_weights(tmp_path / "vpm.safetensors")
    assert loaded.config.embedding_dim is None
    assert loaded.info.embedding_dim == 12


def test_the_fingerprint_is_of_the_content(model, saved, tmp_path):
    copy = tmp_path / "elsewhere.safetensors"
    copy.write_bytes(saved.read_bytes())
    assert fingerprint(copy) == fingerprint(saved) == read_weights(saved).fingerprint
    assert len(fingerprint(copy)) == 64
    save_weights(copy, model, CONFIG)
    assert fingerprint(copy) == fingerprint(saved), "the same model is the same file"
    save_weights(copy, model, replace(CONFIG, mean=(0.0, 0.0, 0.0)))
    assert fingerprint(copy) != fingerprint(saved), "another normalisation gives other features"
    changed = bytearray(saved.read_bytes())
    changed[-1] ^= 1
    copy.write_bytes(changed)
    assert fingerprint(copy) != fingerprint(saved)


def test_a_channels_last_model_on_its_way_to_a_file(model, saved, tmp_path):
    other = Vpm(CONFIG.backbone, CONFIG.num_regions, CONFIG.embedding_dim)
    other.load_state_dict(model.state_dict())
    save_weights(tmp_path / "vpm.safetensors", other.to(memory_format=torch.channels_last), CONFIG)
    assert fingerprint(tmp_path / "vpm.safetensors") == fingerprint(saved)


# ---------------------------------------------------------------------------------------------------- refusals


def test_what_is_not_finite_is_neither_written_nor_read(saved, tmp_path):
    model = Vpm(CONFIG.backbone, CONFIG.num_regions, CONFIG.embedding_dim)
    with torch.no_grad():
        model.locator.weight[0, 0] = torch.nan
    path = tmp_path / "vpm.safetensors"
    path.write_bytes(saved.read_bytes())
    with pytest.raises(WeightsError, match=r"locator\.weight is not finite"):
        save_weights(path, model, CONFIG)
    assert path.read_bytes() == saved.read_bytes()
    for value in (torch.nan, torch.inf, -torch.inf):
        tensors = load_file(saved) | {"locator.weight": torch.full((6, 12, 1, 1), value)}
        write_tensors(path, tensors, {"vpmsearch": json.dumps(asdict(CONFIG))})
        with pytest.raises(WeightsError, match=r"locator\.weight is not finite"):
            _ = read_weights(path).model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "unknown configuration keys colour"),
        ({"format": 2}, "later vpmsearch"),
        ({"backbone": "resnet9"}, "backbone 'resnet9'"),
        ({"backbone": None}, "not text"),
        ({"backbone": {}}, "not text"),
        ({"architecture": "pcb"}, "architecture 'pcb'"),
        ({"num_regions": [6]}, "num_regions"),
        ({"num_regions": 6}, "num_regions"),
        ({"num_regions": [0, 1]}, "num_regions"),
        ({"num_regions": ["a", "b"]}, "num_regions"),
        ({"num_regions": [10**9, 10**9]}, "num_regions"),
        ({"embedding_dim": 0}, "embedding_dim"),
        ({"embedding_dim": 10**12}, "embedding_dim"),
        ({"embedding_dim": 2.5}, "embedding_dim"),
        ({"input_size": [0, 0]}, "input_size"),
        ({"input_size": None}, "input_size"),
        ({"input_size": [10**7, 10**7]}, "input_size"),
        ({"mean": [0.1]}, "mean"),
        ({"mean": [0.1, 0.2, float("nan")]}, "mean"),
        ({"std": [1, 1, 0]}, "std"),
        ({"normalize_embeddings": "no"}, "normalize_embeddings"),
        ({"num_classes": -1}, "num_classes"),
        ({"training": "long"}, "training"),
    ],
)
def test_a_configuration_that_cannot_be(tmp_path, change, message):
    path = with_config(tmp_path / "vpm.safetensors", config_values() | change)
    with pytest.raises(WeightsError, match=message) as raised:
        read_weights(path).model  # noqa: B018 (which architectures there are is known where models are built)
    assert "vpm.safetensors" in str(raised.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"x"', "{}", "[" * 100_000, '{"backbone": "osnet"}'])
def test_a_configuration_that_is_none(tmp_path, text):
    with pytest.raises(WeightsError, match="configuration cannot be read"):
        read_weights(with_config(tmp_path / "vpm.safetensors", text))


def test_each_needed_key_is_missed(tmp_path):
    needed = [item.name for item in fields(WeightsConfig)][:10]
    for key in needed:
        values = config_values()
        del values[key]
        with pytest.raises(WeightsError, match=key):
            read_weights(with_config(tmp_path / "vpm.safetensors", values))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
FLAT = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)
JSON = FLAT | st.lists(FLAT, max_size=3) | st.dictionaries(st.text(max_size=3), FLAT, max_size=2)


@given(key=st.sampled_from([item.name for item in fields(WeightsConfig)]), value=JSON)
def test_any_value_of_a_configuration_is_used_or_refused(tmp_path_factory, key, value):
    path = with_config(tmp_path_factory.getbasetemp() / "config.safetensors", config_values() | {key: value})
    with pytest.raises(WeightsError):  # at the latest by the tensors, which the file lacks
        read_fully(path)


@pytest.mark.parametrize("grid", [(60_000, 60_000), (3, 1)])
def test_a_configuration_that_asks_for_more_than_the_file_holds_takes_no_memory(saved, tmp_path, grid):
    path = tmp_path / "vpm.safetensors"
    write_tensors(path, load_file(saved), {"vpmsearch": json.dumps(asdict(replace(CONFIG, num_regions=grid)))})
    with pytest.raises(WeightsError, match=r"does not fit the model it names: locator\.weight"):
        _ = read_weights(path).model


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: {name: t for name, t in tensors.items() if name != "locator.weight"},
        lambda tensors: tensors | {"extra": torch.zeros(1)},
        lambda tensors: tensors | {"locator.weight": torch.zeros(6, 12)},
        lambda tensors: tensors | {"locator.weight": torch.zeros(6, 12, 1, 1, dtype=torch.int32)},
        lambda tensors: tensors | {"locator.weight": torch.zeros(6, 12, 1, 1, dtype=torch.complex64)},
        lambda tensors: tensors | {"locator.weight": torch.zeros(0, 12, 1, 1)},
    ],
)
def test_tensors_that_do_not_fit_the_configuration(saved, tmp_path, change):
    path = tmp_path / "vpm.safetensors"
    write_tensors(path, change(load_file(saved)), {"vpmsearch": json.dumps(asdict(CONFIG))})
    with pytest.raises(WeightsError, match=r"vpm\.safetensors does not fit the model it names: (locator|extra)"):
        _ = read_weights(path).model


def test_a_bare_trunk_is_no_model(tmp_path):
    save_file({"conv1.weight": torch.zeros(3)}, tmp_path / "trunk.safetensors")
    with pytest.raises(WeightsError, match="holds no vpmsearch model"):
        read_weights(tmp_path / "trunk.safetensors")


def test_a_checkpoint_is_no_weights_file(tmp_path):
    save_file({"module.a": torch.zeros(3)}, tmp_path / "vpm.checkpoint.safetensors", {"checkpoint": "{}"})
    with pytest.raises(WeightsError, match="is a checkpoint, from which a training goes on; its weights"):
        read_weights(tmp_path / "vpm.checkpoint.safetensors")


def test_the_packages_weights_by_their_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = Path("vpm-osnet-market1501.safetensors")
    assert or_shipped(name).is_file()
    assert or_shipped(Path("vpm.safetensors")) == Path("vpm.safetensors")
    name.touch()
    assert or_shipped(name) == name, "a file of that name here comes first"


def torch_zip():
    """What torch.save writes: a zip with a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"cposix\nsystem\n(S'touch owned'\ntR.")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        b"\0" * 8,
        b"\0" * 4096,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2**20 + 1) + b" " * (2**20 + 1),
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"\xff\xff",
        struct.pack("<Q", 3) + b"{}",
        b"cposix\nsystem\n(S'touch owned'\ntR.",
        b"\x80\x02cposix\nsystem\nX\x0b\0\0\0touch owned\x85R.",
        torch_zip(),
        b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
    ],
)
def test_garbage_is_refused_and_never_run(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "vpm.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"vpm\.safetensors"):
        read_fully(path)
    with pytest.raises(WeightsError, match=r"vpm\.safetensors"):
        read_tensors(path)
    assert os.listdir(tmp_path) == ["vpm.safetensors"]  # noqa: PTH208


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda data: struct.pack("<Q", len(data)) + data))
def test_random_bytes_are_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "random.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError):
        read_fully(path)


@given(st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(saved, tmp_path_factory, share):
    whole = saved.read_bytes()
    path = tmp_path_factory.getbasetemp() / "truncated.safetensors"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(WeightsError):
        read_fully(path)


@given(place=st.integers(0, 20_000), value=st.integers(1, 255))
def test_a_flipped_byte_of_the_header_is_harmless_or_refused(saved, tmp_path_factory, place, value):
    content = bytearray(saved.read_bytes())
    header = 8 + struct.unpack("<Q", content[:8])[0]
    content[place % header] ^= value
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    path.write_bytes(content)
    try:
        read_fully(path)
    except WeightsError as error:
        assert "flipped.safetensors" in str(error)  # noqa: PT017 (both are right)


DTYPE_NAMES = "BOOL U8 I8 U16 I16 U32 I32 U64 I64 F16 BF16 F32 F64 C64 F8_E4M3 F8_E5M2 F8_E8M0 F4 F6_E2M3 X9".split()  # noqa: SIM905


@given(
    dtype=st.sampled_from(DTYPE_NAMES),
    shape=st.lists(st.integers(-1, 4) | st.just(2**62), max_size=3),
    offsets=st.tuples(st.integers(-1, 16), st.integers(0, 2**63)),
)
def test_tensors_of_any_kind_are_read_or_refused(tmp_path_factory, dtype, shape, offsets):
    header = {"__metadata__": {"vpmsearch": json.dumps(asdict(CONFIG))}, "a": tensor_entry(dtype, shape, *offsets)}
    path = with_header(tmp_path_factory.getbasetemp() / "kinds.safetensors", header, b"\x01" * 16)
    with pytest.raises(WeightsError):
        read_fully(path)


@pytest.mark.parametrize("dtype", DTYPE_NAMES)
def test_a_whole_tensor_of_any_kind_is_read_or_refused(tmp_path, dtype):
    path = with_header(tmp_path / "a.safetensors", {"a": tensor_entry(dtype, [16], 0, 16)}, b"\x01" * 16)
    for numbers in (1, 2, 4, 8, 16, 32):
        with_header(path, {"a": tensor_entry(dtype, [numbers], 0, 16)}, b"\x01" * 16)
        try:
            tensors = read_tensors(path)
        except WeightsError:
            continue
        assert tensors["a"].dtype == torch.float32 or not tensors["a"].is_floating_point()


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo.safetensors")
    (tmp_path / "loop.safetensors").symlink_to(tmp_path / "loop.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    for name in ("none", "fifo", "loop", "folder"):
        with pytest.raises(WeightsError, match=f"{name}.safetensors"):
            read_weights(tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize("kind", ["pipe", "folder", "hollow", "large"])
def test_what_an_index_names_as_its_weights_may_be_anything(tmp_path, places, kind):
    """The path stands in an index, which may come from anybody; nobody waits for it, or reads a tebibyte."""
    path = tmp_path / "named"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(weights_file.MAX_FILE_BYTES if kind == "hollow" else 1 << 40)
    with pytest.raises(WeightsError, match=r"cannot be weights"):
        read_weights(path)
    with pytest.raises(WeightsError, match="none of these is that file"):
        find_by_fingerprint("feed" * 16, str(path))
    with pytest.raises(WeightsError, match="none of these is that file"):
        find_by_fingerprint("feed" * 16, "a\0b")


def test_weights_may_be_a_link(saved, tmp_path):
    """As caches of models have them."""
    (tmp_path / "link").symlink_to(saved)
    assert read_weights(tmp_path / "link").fingerprint == fingerprint(saved)


def test_more_numbers_than_the_model_takes_are_refused_before_they_are_read(saved, tmp_path, monkeypatch):
    tensors = load_file(saved)
    with safe_open(saved, framework="pt") as opened:
        metadata = opened.metadata()
    save_file(tensors | {"more": torch.zeros(1000, dtype=torch.float16)}, tmp_path / "more", metadata)
    monkeypatch.setattr(tensors_module, "read_tensors", lambda *_: pytest.fail("read"))
    with pytest.raises(WeightsError, match="more is not part of it"):
        _ = read_weights(tmp_path / "more").model


def test_a_file_that_cannot_be_opened(saved, monkeypatch):
    def refused(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(weights_file, "open_regular", refused)
    for function in (read_weights, read_tensors, fingerprint):
        with pytest.raises(WeightsError, match="Permission denied"):
            function(saved)


# ---------------------------------------------------------------------------------------------------- finding


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The usual places, in a folder of their own: nothing there yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VPMSEARCH_WEIGHTS", raising=False)
    monkeypatch.setattr(module, "PRETRAINED", tmp_path / "package" / "vpm.safetensors")
    monkeypatch.setattr(module, "EARLIER", (tmp_path / "earlier" / "vpm.safetensors",))
    names = ("given", "environment", "weights", "package", "earlier")
    return {name: tmp_path / name / "vpm.safetensors" for name in names}


def put(path, content=b"weights"):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def test_weights_are_looked_for_in_order(places, monkeypatch):
    assert find_weights() == put(places["package"])
    put(places["weights"])
    assert find_weights().resolve() == places["weights"].resolve()
    monkeypatch.setenv("VPMSEARCH_WEIGHTS", str(put(places["environment"])))
    assert find_weights() == places["environment"]
    assert find_weights(put(places["given"])) == places["given"]
    monkeypatch.setenv("VPMSEARCH_WEIGHTS", "")
    assert find_weights().resolve() == places["weights"].resolve()


def test_weights_that_were_named_must_be_there(places, monkeypatch):
    put(places["package"])
    put(places["weights"])
    with pytest.raises(WeightsError, match="given"):
        find_weights(places["given"])
    monkeypatch.setenv("VPMSEARCH_WEIGHTS", str(places["environment"]))
    with pytest.raises(WeightsError, match=r"environment.*VPMSEARCH_WEIGHTS"):
        find_weights()


@pytest.mark.parametrize("where", ["recorded", "environment", "weights", "package", "earlier"])
def test_an_indexs_weights_are_found_wherever_they_went(places, monkeypatch, saved, tmp_path, where):
    """Others stand in all the other places, or nothing does."""
    wanted, recorded = fingerprint(saved), tmp_path / "recorded" / "vpm.safetensors"
    monkeypatch.setenv("VPMSEARCH_WEIGHTS", str(places["environment"]))
    target = recorded if where == "recorded" else places[where]
    put(target, saved.read_bytes())
    assert find_by_fingerprint(wanted, str(recorded)).path.resolve() == target.resolve()
    for other in {recorded, *(places[name] for name in ("environment", "weights", "package", "earlier"))} - {target}:
        put(other, b"other")
    assert find_by_fingerprint(wanted, str(recorded)).path.resolve() == target.resolve()


def test_every_weights_file_that_shipped_is_known_by_name(places):
    """So that an old index says which file it needs, also where that file is no longer there."""
    folder = Path(module.__file__).parents[1] / "pretrained"
    shipped = {fingerprint(path)[:12]: path.name for path in folder.glob("vpm-*.safetensors")}
    assert len(shipped) >= 1
    for known, name in shipped.items():
        assert module.SHIPPED[known].startswith(name)
        with pytest.raises(WeightsError, match=f"that is {name}"):
            find_by_fingerprint(known + 52 * "0", "gone.safetensors")


def test_given_weights_are_the_indexs_or_an_error(places, saved, tmp_path):
    wanted = fingerprint(saved)
    assert find_by_fingerprint(wanted, "", put(places["given"], saved.read_bytes())).path == places["given"]
    put(places["given"], b"other")
    with pytest.raises(WeightsError, match=wanted[:12]):
        find_by_fingerprint(wanted, str(saved), places["given"])


@pytest.mark.parametrize(("where", "call"), [(Path, "is_file"), (weights_file, "open_regular")])
def test_a_place_that_may_not_be_read_is_passed_over(places, monkeypatch, saved, tmp_path, where, call):
    locked, original = put(tmp_path / "locked" / "vpm.safetensors"), getattr(where, call)
    put(places["package"], saved.read_bytes())

    def guarded(path, *args, **kwargs):
        if path == locked:
            raise PermissionError(errno.EACCES, "Permission denied")
        return original(path, *args, **kwargs)

    monkeypatch.setattr(where, call, guarded)
    assert find_by_fingerprint(fingerprint(saved), str(locked)).path == places["package"]
    with pytest.raises(WeightsError, match=r"locked.*not there"):
        find_by_fingerprint("feed" * 16, str(locked))


def test_weights_found_nowhere(places):
    with pytest.raises(WeightsError, match=r"feed.*somewhere.*weights/vpm\.safetensors.*--weights FILE"):
        find_by_fingerprint("feed" * 16, "somewhere.safetensors")


# ---------------------------------------------------------------------------------------------------- full disks


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def half_written(tensors, path, metadata):
    path.write_bytes(b"half")
    raise SafetensorError("I/O error: No space left on device")


@pytest.mark.parametrize(
    ("target", "failure"), [("os.fsync", full_disk), ("vpmsearch.model.tensors.save_file", half_written)]
)
def test_a_full_disk_leaves_the_old_file(saved, model, tmp_path, monkeypatch, target, failure):
    path = tmp_path / "vpm.safetensors"
    path.write_bytes(saved.read_bytes())
    monkeypatch.setattr(target, failure)
    with pytest.raises(WeightsError, match=r"cannot write .*vpm\.safetensors.*No space left"):
        save_weights(path, model, replace(CONFIG, name="new"))
    assert path.read_bytes() == saved.read_bytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["vpm.safetensors"]


def test_a_folder_that_cannot_be_made(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot write"):
        save_weights(tmp_path / "file" / "vpm.safetensors", model, CONFIG)
    (tmp_path / "vpm.safetensors").mkdir()
    with pytest.raises(WeightsError, match="cannot write"):
        save_weights(tmp_path / "vpm.safetensors", model, CONFIG)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "vpm.safetensors"]


def test_missing_folders_are_made(model, tmp_path):
    save_weights(tmp_path / "a" / "b" / "vpm.safetensors", model, CONFIG)
    assert read_weights(tmp_path / "a" / "b" / "vpm.safetensors").config.name == "test-model"
