"""The door for values that nobody has checked: each kind of wrong value is one line that names it."""

import math
from pathlib import Path

import pytest

from minimodels.errors import UserError
from minimodels.errors.untrusted import DEEPEST, Settings, Unreadable, parse_json, read_json, reading, shown

ODD = [None, True, 0, -1, 2**63, 10**5000, 1.5, math.nan, math.inf, "", "x" * 10_000, "\ud800", [], [1], {}, {"a": 1}]


def test_right_values_come_back() -> None:
    settings = Settings({"heads": 12, "eps": 1e-6, "one": 1, "bias": False, "act": "gelu", "size": [2, 3]}, "a.json")
    assert settings.whole("heads") == 12
    assert settings.number("eps", above=0) == 1e-6
    assert settings.number("one") == 1.0
    assert settings.truth("bias") is False
    assert settings.text("act", among=("gelu", "relu")) == "gelu"
    assert settings.wholes("size", count=2) == (2, 3)
    assert settings.numbers("size") == (2.0, 3.0)
    assert Settings({"a": {"b": 1}}, "a.json").inside("a").whole("b") == 1


def test_what_is_missing_or_null_has_the_default() -> None:
    settings = Settings({"heads": None}, "a.json")
    assert settings.whole("heads", 8) == 8
    assert "heads" not in settings
    assert settings.inside("nothing").truth("x", True) is True
    with pytest.raises(UserError, match="a.json lacks 'heads'"):
        settings.whole("heads")


@pytest.mark.parametrize("value", ODD[1:], ids=lambda value: type(value).__name__)
def test_wrong_values_are_one_line_with_key_and_file(value: object) -> None:
    settings, fine = Settings({"key": value}, "a.json"), 0
    asked = (
        lambda: settings.whole("key", least=2, most=9),
        lambda: settings.number("key", above=2),
        lambda: settings.truth("key"),
        lambda: settings.text("key", among=("a", "b")),
        lambda: settings.wholes("key", count=3),
        lambda: settings.numbers("key", count=3),
    )
    for ask in asked:
        try:
            ask()
            fine += 1
        except UserError as error:
            assert str(error).startswith("key in a.json is ")
            assert len(str(error)) < 200
            assert "\n" not in str(error)
    assert fine == (value is True or value == 2**63)  # a truth; a number


def test_bounds_are_where_they_are_said_to_be() -> None:
    settings = Settings({"two": 2, "three": 3}, "a.json")
    assert settings.whole("two", least=2) == 2
    assert settings.whole("three", most=3) == 3
    assert settings.number("three", above=2, most=3) == 3.0
    for ask in (lambda: settings.whole("two", least=3), lambda: settings.whole("three", most=2)):
        with pytest.raises(UserError, match="expected a whole number"):
            ask()
    with pytest.raises(UserError, match="expected a number above 2"):
        settings.number("two", above=2)


def test_a_value_that_our_model_does_not_have_is_refused_with_the_reason() -> None:
    settings = Settings({"norm": 1e-5, "flag": True, "one": 1}, "a.json")
    settings.expect("absent", 1, why="never asked")
    settings.expect("norm", 1e-6, 1e-5, why="two are known")
    settings.expect("one", 1.0, why="one number")
    with pytest.raises(UserError, match="norm in a.json is 1e-05, expected 1e-06: every ViT has it"):
        settings.expect("norm", 1e-6, why="every ViT has it")
    with pytest.raises(UserError, match="expected 1"):
        settings.expect("flag", 1, why="true is no number")


@pytest.mark.parametrize("value", [None, 3, "x", [1], {1: 2}])
def test_settings_are_an_object(value: object) -> None:
    with pytest.raises(UserError, match="expected a JSON object"):
        Settings(value, "a.json")


@pytest.mark.parametrize("depth", [DEEPEST - 1, DEEPEST, DEEPEST + 1, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_is_bounded(depth: int, opening: str, closing: str) -> None:
    source = opening * depth + "1" + closing * depth
    if depth < DEEPEST:
        parse_json(source, "a.json")
    else:
        with pytest.raises(UserError, match="nested"):
            parse_json(source, "a.json")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"9" * 5000, b'{"a": 1,}'])
def test_what_is_no_json_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match="not valid JSON"):
        read_json(tmp_path / "a.json")


def test_folders_and_missing_files_are_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not an ordinary file"):
        read_json(tmp_path)
    with pytest.raises(UserError, match="there is no file"):
        read_json(tmp_path / "b.json")


def test_values_are_shown_short() -> None:
    for value in (*ODD, list(range(100)), {"a": {"b": 1}}, object()):
        assert len(shown(value)) <= 100
        assert shown(value).isprintable()


@pytest.mark.parametrize("error", [KeyError("nothing"), RecursionError(), ZeroDivisionError("x\ny")])
def test_an_unforeseen_exception_of_a_reader_is_one_line(error: Exception) -> None:
    with pytest.raises(Unreadable, match="^a.pt cannot be read") as caught, reading("a.pt"):
        raise error
    assert caught.value.__cause__ is error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [UserError("mine"), OSError("disk"), MemoryError(), KeyboardInterrupt()])
def test_foreseen_ones_pass_as_they_are(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, reading("a.pt"):
        raise error
    assert caught.value is error


def test_nulls_are_remembered() -> None:
    settings = Settings({"a": None, "b": 1, "c": {"d": None}}, "a.json")
    assert (
        settings.nulls == {"a"} and Settings(settings, "a.json").nulls == {"a"} and settings.inside("c").nulls == {"d"}
    )
