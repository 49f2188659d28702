"""Which model is served: below the study's folder, without links, and known by its hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tuner.domain.deployment import ModelRef
from tuner.model_files import find_model
from tuner.spec_model import ModelSection
from tuner.spec_problems import Finding


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    study = tmp_path / "study"
    version = study / "models" / "ocr" / "1"
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes(b"weights")
    (study / "models" / "ocr" / "config.pbtxt").write_text('name: "ocr"')
    (study / "cls.onnx").write_bytes(b"weights")
    (tmp_path / "outside.onnx").write_bytes(b"secret")
    return study


def found(folder: Path, **keys: str) -> ModelRef:
    model = find_model(ModelSection(**keys), folder, default_name="study")
    assert isinstance(model, ModelRef), model
    return model


def refused(folder: Path, **keys: str) -> Finding:
    finding = find_model(ModelSection(**keys), folder, default_name="study")
    assert isinstance(finding, Finding), finding
    return finding


def test_a_file_is_known_by_the_hash_of_its_bytes(folder: Path):
    model = found(folder, path="cls.onnx")
    assert model == ModelRef(
        name="cls", path=str(folder / "cls.onnx"), digest="sha256:" + hashlib.sha256(b"weights").hexdigest()
    )


def test_a_given_name_is_kept(folder: Path):
    assert found(folder, path="./cls.onnx", name="direction").name == "direction"


def test_a_repository_of_one_model_needs_no_name(folder: Path):
    assert found(folder, repository="models").name == "ocr"


def test_the_hash_of_a_repository_covers_names_and_contents(folder: Path):
    digests = {found(folder, repository="models").digest}
    weights = folder / "models" / "ocr" / "1" / "model.onnx"
    weights.write_bytes(b"other")
    digests.add(found(folder, repository="models").digest)
    weights.rename(weights.with_name("model.plan"))
    digests.add(found(folder, repository="models").digest)
    assert len(digests) == 3
    assert found(folder, repository="models").digest in digests


def test_no_model_at_all_is_named_after_the_study(folder: Path):
    assert found(folder) == ModelRef(name="study")


@pytest.mark.parametrize(
    "path",
    [
        "../outside.onnx", "models/../../outside.onnx", "/etc/passwd", "~/cls.onnx", "C:\\cls.onnx", "cls.onnx\0",
        "x" * 300, "\u0441ls.onnx", "a\nb.onnx", "cls\u202e.onnx", ".", "./", "$(id).onnx", "a;b.onnx",
    ],
)  # fmt: skip
def test_odd_paths_are_refused_before_any_file_is_touched(path: str, folder: Path, monkeypatch: pytest.MonkeyPatch):
    def touched(*_: object, **__: object) -> None:
        raise AssertionError("a file was touched")

    monkeypatch.setattr(Path, "resolve", touched)
    monkeypatch.setattr(Path, "open", touched)
    for key in ("path", "repository"):
        assert refused(folder, **{key: path}).path == ("model", key)


def test_a_link_out_of_the_folder_is_refused(folder: Path):
    (folder / "link.onnx").symlink_to(folder.parent / "outside.onnx")
    assert "leaves" in refused(folder, path="link.onnx").message
    (folder / "way").symlink_to(folder.parent)
    assert "leaves" in refused(folder, path="way/outside.onnx").message


@pytest.mark.parametrize("text", ["absent.onnx", "models", "empty.onnx", "notes.txt"])
def test_what_is_no_model_file_is_refused(text: str, folder: Path):
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "notes.txt").write_text("notes")
    assert refused(folder, path=text).hint


def test_what_is_no_repository_is_refused(folder: Path):
    (folder / "empty").mkdir()
    (folder / "flat" / "model").mkdir(parents=True)
    for repository in ("absent", "cls.onnx", "empty", "flat"):
        assert refused(folder, repository=repository).hint


def test_of_several_models_one_must_be_named(folder: Path):
    (folder / "models" / "second" / "1").mkdir(parents=True)
    assert "2 models" in refused(folder, repository="models").message
    assert "no model 'third'" in refused(folder, repository="models", name="third").message
    assert found(folder, repository="models", name="second").name == "second"


def test_links_inside_a_repository_are_refused(folder: Path):
    (folder / "models" / "ocr" / "1" / "link").symlink_to("/etc")
    assert "is a link" in refused(folder, repository="models").message


def test_names_that_differ_by_case_only_are_refused(folder: Path):
    (folder / "models" / "ocr" / "1" / "MODEL.onnx").write_bytes(b"x")
    assert "differ by case only" in refused(folder, repository="models").message
