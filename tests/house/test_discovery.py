"""What is found instead of listed: classes that files name, and the table that a checkpoint belongs to."""

import sys
from types import MappingProxyType

import pytest
import torch

from checkpoints_convert.proof.references import all_references
from checkpoints_convert.tables import SYSTEMS, entries, table_files
from checkpoints_convert.tables.rules import Table
from checkpoints_convert.tables.system import Format, System, detect
from minimodels.errors import UserError
from minimodels.stored import classes, models
from tests.golden import read_case
from tests.systems.test_golden import CASES

# ---------------------------------------------------------------- classes


@pytest.mark.parametrize("reference", all_references(), ids=lambda r: f"{r.model}, {r.library}")
def test_the_class_of_every_reference_is_found(reference):
    with torch.device("meta"):
        ours = reference.ours(reference.build(**reference.tiny), reference.tiny)
    assert classes.model_class(type(ours).__name__) is type(ours)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "nn",
        "Module",
        "Tensor",
        "Path",
        "os.system",
        "vit.ViT",
        "../vit",
        "ViT\n",
        "__import__",
        "_Rule",
        "V.T",
        "UserError",
        "Parser",
        "CLIPPreprocess",
        "BytePairTokenizer",  # classes of our own packages, no models
        "Proposal",  # of a model's file, but no module
    ],
)
def test_a_file_names_no_other_class(name):
    assert classes.model_class(name) is None
    assert not models.is_ours({"class": name})
    with pytest.raises(UserError, match="there is no model class"):
        models.build(name, {})


@pytest.mark.parametrize("name", ["", "Image", "ViT", "dataclass", "Any", "UserError", "CLIPPreprocess.mro"])
def test_a_file_names_no_other_preprocess(name):
    assert classes.preprocess_class(name) is None


@pytest.mark.parametrize(
    "name", ["CLIPPreprocess", "TimmPreprocess", "TensorPreprocess", "SquashPreprocess", "PaddedPreprocess"]
)
def test_preprocesses_are_found(name):
    assert classes.preprocess_class(name).__name__ == name


def test_a_name_that_two_files_define_means_neither(tmp_path, monkeypatch):
    folder = tmp_path / "pebbles"
    folder.mkdir()
    for name in ("first", "second", "_third"):
        (folder / f"{name}.py").write_text(f"class Decoder:\n    pass\n\n\nclass Whole{name.strip('_')}:\n    pass\n")
    monkeypatch.setattr(classes, "PACKAGE", tmp_path / "minimodels")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert classes.find_class("Decoder", "pebbles") is None and "pebbles.first" not in sys.modules
    assert classes.find_class("Wholethird", "pebbles") is None
    assert classes.find_class("Wholefirst", "pebbles").__module__ == "pebbles.first"
    assert "pebbles.second" not in sys.modules
    monkeypatch.delitem(sys.modules, "pebbles.first")
    monkeypatch.delitem(sys.modules, "pebbles")


# ---------------------------------------------------------------- tables


def test_every_table_file_declares_one_system_of_its_name():
    for module in table_files():
        assert module.__name__.rpartition(".")[2] == module.SYSTEM.name
        assert {entry.system for entry in getattr(module, "ENTRIES", ())} <= {module.SYSTEM.name}
    aliases = [alias for entry in entries() for alias in (entry.name, *entry.aliases)]
    assert len(set(aliases)) == len(aliases)


def test_the_smallest_table_that_knows_most_is_meant():
    """Whatever the order: a checkpoint that fits two tables belongs to the one without rows to spare."""

    def system(name, *rows):
        return System(name, {"plain": Format(Table([(row, row) for row in rows]))}, None, {}, None)

    small, large = system("small", "a", "b"), system("large", "a", "b", "c")
    for order in ([small, large], [large, small]):
        systems = {system.name: system for system in order}
        assert detect({"a": 0, "b": 0}, systems) == ("small", "plain")
        assert detect({"a": 0, "b": 0, "c": 0}, systems) == ("large", "plain")
    twin = system("a twin", "a", "b")
    assert {detect({"a": 0}, {s.name: s for s in order}) for order in ([small, twin], [twin, small])} == {
        ("a twin", "plain")
    }


def checkpoints():
    """Names of every library's tiny model and of every copied case, and the system they belong to."""
    for reference in all_references():
        with torch.device("meta"):
            yield reference.system, reference.build(**reference.tiny).state_dict()
    for folder in CASES:
        case = read_case(folder)
        if (folder / "keys.json").exists() and case.config["system"] in SYSTEMS:
            yield case.config["system"], case.empty_checkpoint()


def test_no_order_of_the_systems_changes_what_a_checkpoint_is():
    backwards = MappingProxyType({name: SYSTEMS[name] for name in reversed(SYSTEMS.found)})
    tried = 0
    for system, tensors in checkpoints():
        found = detect(tensors, SYSTEMS)
        assert found[0] == system and found == detect(tensors, backwards)
        tried += 1
    assert tried > 30


def test_a_vit_without_a_head_is_no_dinov2():
    """All its names are DINOv2's too."""
    (timm,) = (reference for reference in all_references() if (reference.system, reference.library) == ("vit", "timm"))
    tensors = timm.build(**{**timm.tiny, "num_classes": 0}).state_dict()
    assert SYSTEMS["dinov2"].formats["timm"].table.knows(list(tensors)) == len(tensors)
    assert detect(tensors, SYSTEMS) == ("vit", "timm")
