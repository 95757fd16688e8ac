"""The pickle machine, instruction by instruction: what each makes, and where each ends when it makes no sense."""

import math
import pickle
import struct
from importlib import import_module
from inspect import Parameter, signature

import pytest

from checkpoints_convert.reading.budget import Budget
from checkpoints_convert.reading.calls import LARGEST, check_shape
from checkpoints_convert.reading.pickles import read_pickle
from checkpoints_convert.reading.values import Damaged, Name, Refused, Storage, TensorSpec, Thing
from tests.converter.hostile import call, storage, tensor, text


def read(program: bytes, **options):
    value, end = read_pickle(program, Budget(10**7), **options)
    assert end == len(program)
    return value


VALUES = [
    (b"N.", None), (b"\x88.", True), (b"\x89.", False), (b"I01\n.", True), (b"I00\n.", False), (b"I-12\n.", -12),
    (b"K\xff.", 255), (b"M\xff\xff.", 65535), (b"J\xff\xff\xff\xff.", -1), (b"J\x00\x00\x00\x80.", -(2**31)),
    (b"L-5L\n.", -5), (b"L7\n.", 7), (b"\x8a\x00.", 0), (b"\x8a\x02\xff\x00.", 255), (b"\x8a\x01\xff.", -1),
    (b"\x8b\x02\x00\x00\x00\x00\x80.", -32768), (b"\x8a\xff" + b"\x01" * 255 + b".", int("01" * 255, 16)),
    (b"I" + b"9" * 255 + b"\n.", 10**255 - 1), (b"F-1.25\n.", -1.25), (b"G" + struct.pack(">d", 0.1) + b".", 0.1),
    (b"S'a\\n\"b'\n.", 'a\n"b'), (b'S"a"\n.', "a"), (b"S''\n.", ""), (b"V\\u00e9x\n.", "éx"),
    (b"T\x02\x00\x00\x00a\xe9.", "aé"), (b"U\x01a.", "a"), (b"X\x02\x00\x00\x00\xc3\xa9.", "é"),
    (b"\x8c\x03\xe2\x82\xac.", "€"), (b"\x8d\x01" + bytes(7) + b"a.", "a"), (b"X\x03\x00\x00\x00\xed\xa0\x80.",
    "\ud800"),
    (b"B\x01\x00\x00\x00\xff.", b"\xff"), (b"C\x02ab.", b"ab"), (b"\x8e\x01" + bytes(7) + b"a.", b"a"),
    (b"\x96\x01" + bytes(7) + b"a.", b"a"), (b").", ()), (b"].", []), (b"}.", {}), (b"\x8f.", set()),
    (b"K\x01\x85.", (1,)), (b"K\x01K\x02\x86.", (1, 2)), (b"K\x01K\x02K\x03\x87.", (1, 2, 3)),
    (b"(K\x01K\x02K\x03K\x04t.", (1, 2, 3, 4)), (b"(K\x01l.", [1]), (b"(K\x01K\x02d.", {1: 2}),
    (b"]K\x01a.", [1]), (b"](K\x01K\x02e.", [1, 2]), (b"}K\x01K\x02s.", {1: 2}), (b"}(K\x01K\x02K\x03K\x04u.",
    {1: 2, 3: 4}),
    (b"\x8f(K\x01K\x01\x90.", {1}), (b"(K\x01\x91.", frozenset({1})), (b"K\x01K\x020.", 1), (b"K\x01(K\x02K\x031.", 1),
    (b"K\x012\x86.", (1, 1)), (b"]q\x05h\x05\x86.", ([], [])), (b"K\x07r\x00\x01\x00\x000j\x00\x01\x00\x00.", 7),
    (b"K\x07p12\n0g12\n.", 7), (b"K\x07\x940K\x08\x940h\x00h\x01\x86.", (7, 8)), (b"\x95" + bytes(8) + b"N.", None),
    (b"ctorch\nfloat16\n.", Name("torch.float16")), (b"\x8c\x05torch\x8c\x06Tensor\x93.", Name("torch.Tensor")),
    (b"(K\x01icollections\nOrderedDict\n.", None), (b"ccollections\nOrderedDict\n)\x81.", {}),
    (b"ccollections\nOrderedDict\n)}\x92.", {}), (b"(ccollections\nOrderedDict\n(K\x01K\x02\x86lo.", {1: 2}),
    (call("collections.OrderedDict", b"(K\x01K\x02\x86l") + b".", {1: 2}),
    (call("collections.Counter", b"}K\x01K\x02s") + b".", {1: 2}),
    (call("builtins.complex", b"K\x01G" + struct.pack(">d", 2.0)) + b".", 1 + 2j),
    (call("_codecs.encode", text("é") + text("latin1")) + b".", b"\xe9"),
    (call("torch.Size", b"(K\x01K\x02l") + b".", (1, 2)), (call("torch.device", text("cpu")) + b".", "cpu"),
    (call("torch.device", text("cuda") + b"K\x00") + b".", "cuda:0"),
    (storage() + b".", Storage("torch.FloatStorage", "0", 16)),
    (storage(view=b"(" + text("v") + b"K\x02K\x0et") + b".", Storage("torch.FloatStorage", "0", 16, (2, 14))),
    (storage(view=b"N") + b".", Storage("torch.FloatStorage", "0", 16)),
    (tensor() + b".", TensorSpec(Storage("torch.FloatStorage", "0", 16), 0, (16,), (1,))),
    (b"cargparse\nNamespace\n)R}" + text("a") + b"K\x01sb.", Thing("argparse.Namespace", {"a": 1})),
    (b"cargparse\nNamespace\n)RN}" + text("a") + b"K\x01s\x86b.", Thing("argparse.Namespace", {"a": 1})),
    (call("collections.OrderedDict", b"") + b"}" + text("_metadata") + b"Nsb.", {}),
]  # fmt: skip


class TestValues:
    @pytest.mark.parametrize("program, value", [(p, v) for p, v in VALUES if v is not None or p[:1] in b"N\x95"])
    def test_each_instruction(self, program, value):
        found = read(program)
        assert found == value and type(found) is type(value)

    @pytest.mark.parametrize("protocol", range(6))
    def test_as_python_writes_them(self, protocol):
        value = [None, True, -1, 300, 70_000, 2**40, 1.5, -math.inf, "é", (1, 2, 3, 4), {"a": [1], 2: ()}, "a" * 300]
        program = pickle.dumps(value, protocol)
        assert read(program) == value
        assert read_pickle(b"junk" + program + b"more", Budget(0), 4) == (value, 4 + len(program))

    def test_a_number_of_numpy(self):
        codes = {
            "b1": True,
            "i1": -1,
            "i2": -2,
            "i4": -3,
            "i8": -4,
            "u1": 5,
            "u2": 6,
            "u4": 7,
            "u8": 8,
            "f4": 1.5,
            "f8": 2.5,
        }
        layouts = dict(zip(codes, "?bhiqBHIQfd")) | {"f2": "e"}
        for code, value in (codes | {"f2": 0.5}).items():
            data = struct.pack("<" + layouts[code], value)
            for name in ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"):
                kind = (
                    call("numpy.dtype", text(code) + b"\x89\x88")
                    + b"(K\x03"
                    + text("<")
                    + b"NNNJ\xff\xff\xff\xffK\x00tb"
                )
                assert read(call(name, kind + b"C" + bytes([len(data)]) + data) + b".") == value
        kind = call("numpy.dtype", text("f4")) + b"(K\x03" + text(">") + b"NtbC\x04" + bytes(4)
        ends_badly(call("numpy.core.multiarray.scalar", kind) + b".", "big-endian")
        assert (
            read(call("numpy.core.multiarray.scalar", call("numpy.dtype", text("i2")) + b"U\x02\x01\x00") + b".") == 1
        )

    def test_storages_are_told(self):
        found: dict[str, Storage] = {}
        read(
            b"(" + storage() + storage(key="1", view=b"(" + text("v") + b"K\x02K\x0et") + storage() + b"t.",
            storages=found,
        )
        assert found == {key: Storage("torch.FloatStorage", key, 16) for key in "01"}

    def test_torchscript_has_classes_of_its_own(self):
        program = b"c__torch__.a\nB\n)\x81}" + text("x") + call("torch.jit._pickle.build_intlist", b"]K\x01a") + b"sb."
        assert read(program, torchscript=True) == Thing("__torch__.a.B", {"x": [1]})
        with pytest.raises(Refused) as caught:
            read(program)
        assert caught.value.names == ["__torch__.a.B", "torch.jit._pickle.build_intlist"]


def ends_badly(program: bytes, words: str | None = None) -> None:
    with pytest.raises(Damaged, match=words):
        read(program)


V3 = b"ctorch._utils\n_rebuild_tensor_v3\n("
SCALAR = b"ctorch\nfloat64\n"
TURNED = b"}" + text("conj") + b"\x88s"


class TestNonsense:
    @pytest.mark.parametrize(
        "program",
        [
            *(program for program, value in VALUES if value is None and program[:1] not in b"N\x95"),
            b"", b".", b"N", b"0.", b"2.", b"\x85.", b"N\x86.", b"NN\x87.", b"t.", b"l.", b"1N.", b"(\x86.", b"N(\x86.",
            b"h\x00.", b"q\x00.", b"\x94.", b"(Nd.", b"}(Nu.", b"NNa.", b"NNNs.", b"N(Ne.", b"](N\x90.",
            b"}]Ns.", b"}}Ns.", b"})Ns.", b"\x8f()\x90.", b"()\x91.", b"K.", b"M\x01.", b"J\x01\x02\x03.",
            b"G" + bytes(7) + b".",
            b"X\x05\x00\x00\x00abc.", b"X\x05\x00", b"\x8d\x01", b"U\x05ab.", b"\x8a\x02\x01.", b"I12.", b"Ix\n.",
            b"S'a\n.",
            b"Sa\n.", b"S'\n.", b"S'a\"\n.", b"ctorch\nfloat16.", b"ctorch", b"F1.2.3\n.", b"\xff.", b"\x8bN.", b"NNR.",
            b"N)R.", b"ccollections\nOrderedDict\nNR.", b"N}\x92.", b"\x8c\x01aN\x93.",
            b"K\x01\x8c\x01a\x93.", b"cargparse\nNamespace\n)R}K\x01Nsb.", b"NQ.", b"(NNNNNtQ.", b"(NtQ.",
            b"\x8a\xff" + b"\x01" * 200 + b".", b"\x8b\x00\x01\x00\x00" + b"\x01" * 256 + b".",
            b"I" + b"9" * 256 + b"\n.",
            b"p\n.", b"V" + b"a" * 100_001 + b"\n.", b"}\x8a\x09" + b"\xff" * 8 + b"\x00Ns.",
            b"}\x8a\x09" + b"\x00" * 8 + b"\xffNs.",
        ],
    )  # fmt: skip
    def test_ends_as_damaged(self, program):
        ends_badly(program)

    @pytest.mark.parametrize(
        "program", [b"K", b"X\x05\x00\x00\x00abc.", b"\x8d\x01", b"I12", b"cos\nsystem", b"J\x01\x02"]
    )
    def test_what_breaks_off(self, program):
        ends_badly(program, "breaks off")

    def test_the_largest_keys(self):
        for number in (2**63 - 1, -(2**63) + 1):
            data = number.to_bytes(9, "little", signed=True)
            assert read(b"}\x8a\x09" + data + b"Ns.") == {number: None}

    @pytest.mark.parametrize(
        "name, arguments",
        [
            ("collections.OrderedDict", text("ab")), ("collections.OrderedDict", b"(K\x01l"),
            ("collections.OrderedDict", b"(" + text("ab") + b"l"), ("collections.OrderedDict", b"((K\x01tl"),
            ("collections.OrderedDict", b"(]N\x86l"), ("builtins.set", text("ab")), ("builtins.set", b"(]l"),
            ("__builtin__.frozenset", b"K\x05"), ("builtins.complex", text("1")), ("builtins.complex", b"\x88"),
            ("builtins.bytearray", b"K\x05"), ("builtins.bytearray", b"(K\x01l"), ("_codecs.encode", b"C\x01a"),
            ("_codecs.encode", text("a") + text("utf-16")), ("_codecs.encode", text("€")), ("torch.Size", text("ab")),
            ("torch.device", b"K\x05"), ("torch.device", text("a") + text("b")), ("torch.device", text("a") + b"\x88"),
            ("argparse.Namespace", b"K\x01"), ("torch._utils._rebuild_parameter", b"N"),
            ("torch.nn.parameter.Parameter", b""),
            ("numpy.core.multiarray.scalar", b"NN"),
            ("numpy.core.multiarray.scalar", call("numpy.dtype", text("f4")) + b"N"),
            ("numpy.core.multiarray.scalar", call("argparse.Namespace", b"") + b"C\x01a"),
            ("numpy.core.multiarray.scalar", call("numpy.dtype", text("O8")) + b"C\x08" + bytes(8)),
            ("numpy.core.multiarray.scalar", call("numpy.dtype", text("f4")) + b"C\x05" + bytes(5)),
        ],
    )  # fmt: skip
    def test_calls_check_what_they_are_given(self, name, arguments):
        ends_badly(call(name, arguments) + b".")

    @pytest.mark.parametrize("length, view", [(-1, b""), (16, b"K\x01"), (16, b"NN")])
    def test_storages(self, length, view):
        ends_badly(storage(length, view=view) + b".")

    @pytest.mark.parametrize(
        "view", [b"K\x02K\x0f", b"J\xff\xff\xff\xffK\x01", b"K\x01J\xff\xff\xff\xff", b"K\x01\x88", b"K\x01"]
    )
    def test_views(self, view):
        ends_badly(storage(view=b"(" + text("v") + view + b"t") + b".")

    def test_persistent_ids(self):
        good = [text("storage"), b"ctorch\nFloatStorage\n", text("0"), text("cpu"), b"K\x10"]
        read(b"(" + b"".join(good) + b"tQ.")
        for place, other in enumerate((text("module"), text("torch.FloatStorage"), b"K\x00", None, b"\x88")):
            if other is not None:
                ends_badly(b"(" + b"".join([*good[:place], other, *good[place + 1 :]]) + b"tQ.", "not a storage")
        ends_badly(b"(" + b"".join([*good[:2], text("k" * 1001), *good[3:]]) + b"tQ.", "not a storage")
        read(b"(" + b"".join([*good[:2], text("k" * 1000), *good[3:]]) + b"tQ.")

    def test_one_block_is_described_in_one_way(self):
        read(storage() + storage(view=b"N") + b".")
        for other in (storage(15), storage(kind="IntStorage")):
            ends_badly(storage() + other + b".", "described in two ways")

    @pytest.mark.parametrize(
        "options",
        [
            {"offset": b"J\xff\xff\xff\xff"}, {"offset": b"\x88"}, {"offset": b"N"}, {"shape": b"(J\xff\xff\xff\xfft"},
            {"stride": b"(J\xff\xff\xff\xfft"}, {"stride": b"(t"}, {"shape": b"N"}, {"stride": b"K\x01"},
            {"shape": text("a")},
            {"shape": b"(\x88t"}, {"stride": b"(\x88t"}, {"block": b"N"}, {"stride": b"(G" + bytes(8) + b"t"},
            {"offset": b"\x8a\x09" + bytes(7) + b"\x80\x00"}, {"stride": b"(\x8a\x09" + bytes(7) + b"\x80\x00t"},
        ],
    )  # fmt: skip
    def test_tensors(self, options):
        ends_badly(tensor(**options) + b".")

    def test_sizes(self):
        check_shape([1] * 64)
        check_shape([0, LARGEST])
        check_shape([2**31, 2**31])
        for shape in ([1] * 65, [-1], [True], [1.0], [LARGEST + 1], [2**32, 2**31], [0, 2**32, 2**31], ["1"]):
            with pytest.raises(Damaged):
                check_shape(shape)

    def test_a_type_told_beside_the_tensor(self):
        rest = storage() + b"K\x00(K\x01t(K\x01t\x89}"
        assert read(V3 + rest + SCALAR + b"tR.").dtype == "torch.float64"
        assert read(V3 + rest + SCALAR + b"}tR.").dtype == "torch.float64"
        for bad in (b"", text("torch.float64"), SCALAR + TURNED, SCALAR + text("conj")):
            ends_badly(V3 + rest + bad + b"tR.")

    def test_conjugated_and_negated(self):
        plain = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage() + b"K\x00(K\x01t(K\x01t\x89}"
        for fine in (b"", b"N", b"}", b"}" + text("conj") + b"\x89s"):
            read(plain + fine + b"tR.")
        for bad in (TURNED, text("conj"), b"K\x01"):
            ends_badly(plain + bad + b"tR.", "conjugated")

    @pytest.mark.parametrize(
        "name, rest, count, most",
        [
            ("torch._utils._rebuild_tensor", [], 4, 4),
            ("torch._utils._rebuild_tensor_v2", [b"\x89", b"}", b"N"], 6, 7),
            ("torch._utils._rebuild_tensor_v3", [b"\x89", b"}", SCALAR, b"N"], 7, 8),
            ("torch._utils._rebuild_parameter", [b"\x88", b"}"], 3, 3),
            ("torch.nn.parameter.Parameter", [b"\x88"], 1, 2),
            ("torch._utils._rebuild_parameter_with_state", [b"\x88", b"}", b"}"], 4, 4),
        ],
    )  # fmt: skip
    def test_as_many_arguments_as_torch_takes(self, name, rest, count, most):
        """Each one too few leaves the others in wrong places: the tensor would be another window."""
        first = [tensor()] if "aram" in name else [storage(), b"K\x00", b"(K\x01t", b"(K\x01t"]
        given = [*first, *rest]
        for number in range(len(given) + 1):
            program = call(name, b"".join(given[:number])) + b"."
            if count <= number <= most:
                assert isinstance(read(program), TensorSpec)
            else:
                ends_badly(program)
        ends_badly(call(name, b"".join(given) + b"N") + b".")
        function = getattr(import_module(name.rpartition(".")[0]), name.rpartition(".")[2])
        taken = signature(function).parameters.values()
        needed = sum(one.default is Parameter.empty for one in taken)
        assert (max(needed, 1), len(taken)) == (count, most)
        for gradient in (b"N", b"K\x01", b"(t") if rest else ():
            ends_badly(call(name, b"".join([*first, gradient, *rest[1:]])) + b".", "neither true nor false")

    def test_a_tensor_with_attributes(self):
        head = b"ctorch._tensor\n_rebuild_from_type_v2\n("
        inner = tensor().removeprefix(b"ctorch._utils\n_rebuild_tensor_v2\n").removesuffix(b"R")
        function = b"ctorch._utils\n_rebuild_tensor_v2\n"
        for kind in (b"ctorch\nTensor\n", b"ctorch.nn.parameter\nParameter\n"):
            assert read(head + function + kind + inner + b"}tR.").shape == (16,)
        with pytest.raises(Refused, match="torch.float16"):
            read(head + function + b"ctorch\nfloat16\n" + inner + b"}tR.")
        for other in (b"cbuiltins\nset\n", b"ctorch._tensor\n_rebuild_from_type_v2\n", b"N"):
            ends_badly(head + other + b"ctorch\nTensor\n" + inner + b"}tR.")
        ends_badly(head + function + b"N" + inner + b"}tR.")
        ends_badly(head + function + b"ctorch\nTensor\n]}tR.")


def names(program: bytes) -> list[str]:
    with pytest.raises(Refused) as caught:
        read(program)
    return caught.value.names


class TestRefused:
    def test_in_the_order_of_the_file_and_once(self):
        assert names(b"cb\nb\nca\na\ncb\nb\n.") == ["b.b", "a.a"]

    def test_twenty_at_most(self):
        assert names(b"".join(b"cm\nn%d\n" % i for i in range(30)) + b"N.") == [f"m.n{i}" for i in range(20)]
        assert len(names(b"".join(b"cm\nn%d\n" % i for i in range(19)) + b"N.")) == 19

    def test_before_what_is_broken(self):
        for rest in (b"", b"0000.", b"h\x07.", b"\xff", b"X\xff\xff\xff\xff"):
            assert names(b"cos\nsystem\n" + rest) == ["os.system"]

    def test_instructions_that_are_none_of_data(self):
        for program, name in ((b"\x82\x01.", "EXT1"), (b"P0\n.", "PERSID"), (b"\x97.", "NEXT_BUFFER")):
            assert names(program) == [f"the instruction {name}"]

    def test_what_was_called_after_a_refused_name_is_not_called(self):
        """The list goes on, the calls do not: with a refused argument they would end the list."""
        program = b"ccollections\nOrderedDict\n(cos\nsystem\ntRcbuiltins\neval\n."
        assert names(program) == ["os.system", "builtins.eval"]

    def test_a_name_that_may_be_mentioned_may_not_be_called(self):
        assert names(b"ctorch\nFloatStorage\n)R.") == ["torch.FloatStorage"]
        assert names(b"ctorch\nTensor\n)\x81.") == ["torch.Tensor"]

    @pytest.mark.parametrize(
        "name",
        [
            "torch.FloatStorage\n", "xtorch.FloatStorage", "torch.Float", "torch.load", "torch.Tensors",
            "torch.float16x",
            "torch.cuda.cuda.FloatStorage", "torch.storage.os.Storage", "torch.float", "__torch__.A",
        ],
    )  # fmt: skip
    def test_only_whole_names_may_be_mentioned(self, name):
        module, _, function = name.rpartition(".")
        assert names(text(module) + text(function) + b"\x93.")

    def test_long_names_are_cut(self):
        for program in (
            text("m" * 5000) + text("n") + b"\x93.",
            text("torch") + text("F" * 999 + "Storage") + b"\x93.",
        ):
            assert [len(name) for name in names(program)] == [200]
        with pytest.raises(Refused):
            read(text("__torch__") + text("m" * 999) + b"\x93.", torchscript=True)
        read(text("__torch__") + text("m" * 990) + b"\x93.", torchscript=True)
