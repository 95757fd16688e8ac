"""The official checkpoints that `hub.py` can fetch.

Where the numbers come from: OpenAI's sha256 are part of its loader's addresses; revisions, sizes and sha256 of the
Hugging Face files are those that public projects pin for the same revision, compared with each other where several
do. A hash or size that no source gives is None; the hash is then recorded at the first download, and later downloads
are compared with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CLIPSEG_FILES = "https://owncloud.gwdg.de/index.php/s/ioHbRzFx6th32hn/download?path=%2F&files="  # its README's folder
SWIN_FILES = "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/"
# LAVT's README links to Google Drive. This address gives the file itself where Drive agrees; it is not ours to promise:
# Drive may answer with a page (too many downloads today ...), which `download` refuses, and then a browser is the way.
DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
OPENAI_LICENCE = "MIT, card: research use"  # the repository's licence, and what its model card asks for
TINY_SHA256 = "fecf81b492bd13ee7a5297cb74d1d417aac8bf7e1b7d96aed89c4691984587ed"
LARGE_SHA256 = "109390825a5bada2864f1b74445a63d29c51ef079c349644bc98996c452f6cf1"
LAION_SHA256 = "ac4f8c4b88af6d963118cbf40ad93176d092abbedfcb752601ae1866352656e6"
SAM_FILES = "https://dl.fbaipublicfiles.com/segment_anything"
DINOV2_FILES = "https://dl.fbaipublicfiles.com/dinov2"
DINOV2_SIZES = (("small", 22056576), ("base", 86580480), ("large", 304368640), ("giant", 1136480768))  # parameters
TOKENIZER_FILES = ("merges.txt", "vocab.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class File:
    """One file of a checkpoint.

    Args:
        name: in the repository or the folder.
        size: bytes; None where no source gives them.
        sha256: None where no source gives it.
        optional: may be missing (tokenizer files, which we do not read).
        about: bytes of the tensors in it, counted from the model's shapes where the file's size is not known.
    """

    name: str
    size: int | None = None
    sha256: str | None = None
    optional: bool = False
    about: int | None = None


@dataclass(frozen=True)
class Entry:
    """One official checkpoint.

    Args:
        name: what a user types.
        system, format: how its names are read, as in `build(tensors, system, format=format)`.
        licence: of the weights.
        files: the weights first.
        repo, revision: on the Hugging Face hub; None for a file with an address of its own.
        told: what its shapes cannot tell, as in `build(..., **told)`.
        preprocess: "none" (it reads no pictures), "clip" (OpenAI's, of the size the weights imply), "transformers"
            (preprocessor_config.json), "timm" (config.json), "clipseg" (its quick start's) or "lavt" (its own).
        tokenizer: "clip", "wordpiece" (vocab.txt), or None where no text is read.
        note: one line for the list.
        url: address of a file that is neither in a repository nor one of OpenAI's.
        clip: official name of the CLIP that the file lacks (CLIPSeg's own files hold the decoder alone).
    """

    name: str
    system: str
    format: str
    licence: str
    files: tuple[File, ...]
    repo: str | None = None
    revision: str = "main"
    told: Mapping[str, Any] = field(default_factory=dict)
    preprocess: str = "clip"
    tokenizer: str | None = "clip"
    note: str = ""
    url: str | None = None
    clip: str | None = None

    @property
    def weights(self) -> File:
        """The file with the tensors."""
        return self.files[0]


def _openai(name: str, sha256: str, about: int, note: str) -> Entry:
    """One of the nine TorchScript archives of OpenAI's own loader, by the name it has there."""
    weights = File(name.replace("/", "-").replace("@", "-") + ".pt", None, sha256, about=about)
    form = "openai_resnet" if name.startswith("RN") else "openai"
    return Entry(name, "clip", form, OPENAI_LICENCE, (weights,), told={"quick_gelu": True}, note=note)


def _clip_repo(repo: str, revision: str, weights: File, note: str) -> Entry:
    """One of OpenAI's CLIPs in transformers' layout."""
    small = (File("config.json"), File("preprocessor_config.json"))
    return Entry(
        name=repo,
        system="clip",
        format="transformers",
        licence=OPENAI_LICENCE,
        files=(weights, *small, *(File(name, optional=True) for name in TOKENIZER_FILES)),
        repo=repo,
        revision=revision,
        told={"quick_gelu": True},
        preprocess="transformers",
        note=note,
    )


def _timm(size: str, revision: str, weights: File, note: str) -> Entry:
    """One of timm's ViTs of "How to train your ViT?" (Steiner et al. 2021), fine-tuned on ImageNet-1k."""
    repo = f"timm/vit_{size}_patch16_224.augreg_in21k_ft_in1k"
    return Entry(
        name=repo,
        system="vit",
        format="timm",
        licence="Apache-2.0",
        files=(weights, File("config.json")),
        repo=repo,
        revision=revision,
        preprocess="timm",
        tokenizer=None,
        note=note,
    )


def _clipseg(name: str, about: int, decoder: int, note: str, revision: str = "main") -> tuple[Entry, Entry]:
    """One CLIPSeg in transformers' layout, and the official file of its decoder; sizes counted from the shapes."""
    small = (File("config.json"), File("preprocessor_config.json"))
    repo = f"CIDAS/clipseg-{name}"
    whole = Entry(
        name=repo,
        system="clipseg",
        format="transformers",
        licence="see its card",
        files=(
            File("pytorch_model.bin", about=about),
            *small,
            *(File(file, optional=True) for file in TOKENIZER_FILES),
        ),
        repo=repo,
        revision=revision,
        preprocess="transformers",
        note=f"CLIPSeg, {note}",
    )
    file = name.replace("rd64", "rd64-uni").replace("rd16", "rd16-uni")
    alone = Entry(
        name=file,
        system="clipseg",
        format="official",
        licence="not stated",  # the repository is MIT and says that its licence does not cover the weights
        files=(File(f"{file}.pth", about=decoder),),
        preprocess="clipseg",
        note=f"CLIPSeg's official decoder, {note}; joined with ViT-B/16",
        url=f"{CLIPSEG_FILES}{file}.pth",
        clip="ViT-B/16",
    )
    return whole, alone


def _swin(name: str, about: int, note: str) -> Entry:
    """One of Microsoft's own files, of its first release; sizes counted from the shapes, buffers included."""
    return Entry(
        name=name,
        system="swin",
        format="official",
        licence="MIT",
        files=(File(f"{name}.pth", about=about),),
        preprocess="timm",
        tokenizer=None,
        note=f"Microsoft's own file: {note}",
        url=f"{SWIN_FILES}{name}.pth",
    )


def _swin_repo(repo: str, form: str, licence: str, about: int, note: str) -> Entry:
    """The same weights in transformers' or timm's layout; sizes counted from the shapes."""
    small = ("config.json", "preprocessor_config.json") if form == "transformers" else ("config.json",)
    return Entry(
        name=repo,
        system="swin",
        format=form,
        licence=licence,
        files=(File("model.safetensors", about=about), *(File(name) for name in small)),
        repo=repo,
        preprocess=form,
        tokenizer=None,
        note=note,
    )


def _bert(repo: str, revision: str, weights: File, note: str) -> Entry:
    """One BERT or DistilBERT in transformers' layout, its vocabulary beside it."""
    return Entry(
        name=repo,
        system="bert",
        format="distilbert_heads" if repo.startswith("distilbert") else "transformers_heads",
        licence="Apache-2.0",
        files=(weights, File("config.json"), File("vocab.txt"), File("tokenizer_config.json")),
        repo=repo,
        revision=revision,
        preprocess="none",
        tokenizer="wordpiece",
        note=note,
    )


def _lavt(data: str, beside: str, inside: str, note: str) -> tuple[Entry, Entry]:
    """LAVT trained on one data set, in both layouts, by the ids of its README. Swin-B, window 12, and BERT-base."""

    def one(layout: str, form: str, number: str, where: str) -> Entry:
        return Entry(
            name=f"{layout}-{data}",
            system="lavt",
            format=form,
            licence="not stated",  # the code is GPL-3.0; nothing is said of the weights
            files=(File(f"{layout}_{data}.pth", about=910958056),),
            preprocess="lavt",
            tokenizer="wordpiece",
            note=f"LAVT of {note}, BERT {where}; Google Drive, perhaps with its optimiser (then about 2.4 GB)",
            url=f"{DRIVE}{number}",
        )

    return one("lavt", "official", beside, "beside"), one("lavt_one", "official_one", inside, "inside")


def _dinov2() -> list[Entry]:
    """Every DINOv2 in its three layouts, with and without registers; sizes counted from the shapes."""
    made = []
    for size, parameters in DINOV2_SIZES:
        width = {"small": 384, "base": 768, "large": 1024, "giant": 1536}[size]
        for registers in (False, True):
            tail, note = ("_reg4", ", 4 registers") if registers else ("", "")
            note, about = (
                f"DINOv2 ViT-{size[0].upper().replace('G', 'g')}/14{note}",
                4 * (parameters + 4 * width * registers),
            )
            name = f"dinov2_vit{size[0]}14{tail}"
            file, url = f"{name}_pretrain.pth", f"{DINOV2_FILES}/dinov2_vit{size[0]}14/{name}_pretrain.pth"
            shared: dict[str, Any] = {"system": "dinov2", "licence": "Apache-2.0", "tokenizer": None, "note": note}
            made.append(
                Entry(name, format="official", files=(File(file, about=about),), preprocess="timm", url=url, **shared)
            )
            repos = {
                "transformers": f"facebook/dinov2-{'with-registers-' * registers}{size}",
                "timm": f"timm/vit_{size}_patch14{tail}_dinov2.lvd142m",
            }
            for form, repo in repos.items():
                beside = ("config.json", "preprocessor_config.json")[: 2 if form == "transformers" else 1]
                files = (File("model.safetensors", about=about), *(File(other) for other in beside))
                made.append(Entry(repo, format=form, files=files, repo=repo, preprocess=form, **shared))
    return made


def _sam(size: str, mark: str, weight: int, sha256: str, about: int) -> list[Entry]:
    """One size of SAM: Meta's own file and transformers' layout."""
    shared: dict[str, Any] = {"system": "sam", "licence": "Apache-2.0", "tokenizer": None}
    letter, note = size[0], f"SAM ViT-{size[0].upper()}"
    file = f"sam_vit_{letter}_{mark}.pth"
    official = File(file, weight, sha256, about=about)
    repo, beside = f"facebook/sam-vit-{size}", (File("config.json"), File("preprocessor_config.json"))
    files = (File("model.safetensors", about=about), *beside)
    url = f"{SAM_FILES}/{file}"
    return [
        Entry(
            f"sam_vit_{letter}", format="official", files=(official,), preprocess="none", note=note, url=url, **shared
        ),
        Entry(repo, format="transformers", files=files, repo=repo, preprocess="transformers", note=note, **shared),
    ]


ENTRIES: tuple[Entry, ...] = (
    _clip_repo(
        "openai/clip-vit-base-patch32",
        "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
        File("pytorch_model.bin", 605247071, "a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f"),
        "CLIP ViT-B/32, the usual first choice",
    ),
    _clip_repo(
        "openai/clip-vit-base-patch16",
        "57c216476eefef5ab752ec549e440a49ae4ae5f3",
        File("pytorch_model.bin", 598641023, "ec89c7b09c749a60aae3c9cd910516f24b58214a7df060b48962d14c469cfbf0"),
        "CLIP ViT-B/16",
    ),
    _clip_repo(
        "openai/clip-vit-large-patch14",
        "32bd64288804d66eefd0ccbe215aa642df71cc41",
        File("model.safetensors", 1710540580, "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb"),
        "CLIP ViT-L/14",
    ),
    _clip_repo(
        "openai/clip-vit-large-patch14-336",
        "ce19dc912ca5cd21c8a653c79e251e808ccabcd1",
        File("pytorch_model.bin", 1711974081, "c6032c2e0caae3dc2d4fba35535fa6307dbb49df59c7e182b1bc4b3329b81801"),
        "CLIP ViT-L/14 at 336 pixels",
    ),
    Entry(
        name="laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        system="clip",
        format="open_clip",
        licence="MIT",
        files=(File("open_clip_model.safetensors", 605143316, LAION_SHA256), File("open_clip_config.json")),
        repo="laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        revision="1a25a446712ba5ee05982a381eed697ef9b435cf",
        told={"quick_gelu": False},
        note="open_clip's ViT-B/32, trained on LAION-2B",
    ),
    Entry(
        name="google/vit-base-patch16-224",
        system="vit",
        format="transformers",
        licence="Apache-2.0",
        files=(File("model.safetensors", 346293852), File("config.json"), File("preprocessor_config.json")),
        repo="google/vit-base-patch16-224",
        revision="3f49326eb077187dfe1c2a2bb15fbd74e6ab91e3",
        told={"norm_eps": 1e-12},
        preprocess="transformers",
        tokenizer=None,
        note="ViT-B/16, 1000 ImageNet classes",
    ),
    _timm(
        "tiny",
        "7d3afdd0cf93ad84d986eb2d6bcc5812ebd0b106",
        File("model.safetensors", None, TINY_SHA256, about=22869664),
        "ViT-Ti/16, 1000 ImageNet classes",
    ),
    _timm(
        "small",
        "7e2c55630205e1266030f18370f4c6ed1a514b52",
        File("model.safetensors", 88216496, "79c03c635cdfd798a364a9d8c4e5c0b7255b975ea2c9616046d4f77ab01435aa"),
        "ViT-S/16, 1000 ImageNet classes",
    ),
    _timm("base", "main", File("model.safetensors", about=346270624), "ViT-B/16, 1000 ImageNet classes"),
    _timm(
        "large",
        "0930ab3308b84cb2ae091a4a80703c459412a4c7",
        File("model.safetensors", None, LARGE_SHA256, about=1217306528),
        "ViT-L/16, 1000 ImageNet classes",
    ),
    *(
        _openai(name, sha256, about, f"OpenAI's archive: {what}")
        for name, sha256, about, what in (
            ("RN50", "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762", 255262868, "ResNet-50"),
            ("RN101", "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599", 290938412, "ResNet-101"),
            ("RN50x4", "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd", 421084404, "4 x RN50"),
            ("RN50x16", "52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa", 660098596, "16 x RN50"),
            ("RN50x64", "be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c", 1352041860, "64 x RN50"),
            ("ViT-B/32", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af", 353436700, "ViT-B/32"),
            ("ViT-B/16", "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f", 350349340, "ViT-B/16"),
            ("ViT-L/14", "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836", 932051996, "ViT-L/14"),
            (
                "ViT-L/14@336px",
                "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
                933362716,
                "ViT-L/14 at 336 pixels",
            ),
        )
    ),
    *_clipseg(
        *("rd64-refined", 602990984, 4704900, "D = 64, refined head: the usual choice"),
        revision="999e0328d9e10b484360c477313983f9afdd7050",
    ),
    *_clipseg("rd64", 602775560, 4489476, "D = 64"),
    *_clipseg("rd16", 599537672, 1103940, "D = 16"),
    _swin("swin_tiny_patch4_window7_224", 114267480, "Swin-T, 1000 classes"),
    _swin("swin_base_patch4_window7_224_22k", 438096052, "Swin-B, 21,841 classes"),
    _swin("swin_base_patch4_window12_384_22k", 450665252, "Swin-B at 384 pixels: what LAVT's training starts from"),
    _swin_repo(
        *("microsoft/swin-tiny-patch4-window7-224", "transformers", "Apache-2.0", 113153416),
        "Swin-T, 1000 ImageNet classes",
    ),
    _swin_repo(
        *("timm/swin_tiny_patch4_window7_224.ms_in1k", "timm", "MIT", 113153416), "Swin-T, 1000 ImageNet classes"
    ),
    _swin_repo(
        *("timm/swin_base_patch4_window7_224.ms_in22k_ft_in1k", "timm", "MIT", 351072896),
        "Swin-B, trained on 22k classes, then 1000",
    ),
    _swin_repo(
        *("timm/swin_base_patch4_window12_384.ms_in22k_ft_in1k", "timm", "MIT", 351614336),
        "Swin-B at 384 pixels, 1000 classes",
    ),
    _bert(
        "google-bert/bert-base-uncased",
        "86b5e0934494bd15c9632b12f734a8a67f723594",
        File("model.safetensors", 440449768, "68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3"),
        "BERT-base, lower case: LAVT's",
    ),
    _bert(
        "google-bert/bert-base-cased",
        "cd5ef92a9fb2f889e972770a36d4ed042daf221e",
        File("model.safetensors", 435755784, "1d8bdcee6021e2c25f0325e84889b61c2eb26b843eef5659c247af138d64f050"),
        "BERT-base that tells Apple from apple",
    ),
    _bert(
        "google-bert/bert-large-uncased",
        "6da4b6a26a1877e173fca3225479512db81a5e5b",
        File("model.safetensors", about=1344904432),
        "BERT-large, lower case",
    ),
    _bert(
        "distilbert/distilbert-base-uncased",
        "12040accade4e8a0f71eabdb258fecc2e7e948be",
        File("model.safetensors", 267954768, "5e3f1108e3cb34ee048634875d8482665b65ac713291a7e32396fb18f6ff0063"),
        "DistilBERT, half of BERT-base's blocks",
    ),
    *_lavt(
        *("refcoco", "13D-OeEOijV8KTC3BkFP-gOJymc6DLwVT", "1xFMEXr6AGU97Ypj1yr8oo00uObbeIQvJ"),
        "RefCOCO (the man on the left)",
    ),
    *_lavt(
        *("refcoco+", "1B8Q44ZWsc8Pva2xD_M-KFh7-LgzeH2-2", "1HS8ZnGaiPJr-OmoUn4-4LVnVtD_zHY6w"),
        "RefCOCO+ (no words of place)",
    ),
    *_lavt(
        *("gref-umd", "1BjUnPVpALurkGl7RXXvQiAHhA-gQYKvK", "14g8NzgZn6HzC6tP_bsQuWmh5LnOcovsE"),
        "G-Ref (longer sentences), UMD split",
    ),
    *_lavt(
        *("gref-google", "1weiw5UjbPfo3tCBPfB8tu6xFXCUG16yS", "1IJeahFVLgKxu_BVmWacZs3oUzgTCeWcz"),
        "G-Ref (longer sentences), Google split",
    ),
    *_dinov2(),
    *_sam(
        *("base", "01ec64", 375042383, "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"),
        374942912,
    ),
    *_sam(
        *("large", "0b3195", 1249524607, "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"),
        1249372352,
    ),
    *_sam(
        *("huge", "4b8939", 2564550879, "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"),
        2564363456,
    ),
)
