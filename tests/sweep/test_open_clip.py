"""open_clip's part of the sweep: some of its names here, all in the table that `tests.sweep --write` makes."""

import json

import open_clip
import pytest

from tests.sweep import open_clip_names as part
from tests.sweep.__main__ import JSON

SOME = {
    "ViT-B-32": "",
    "ViT-H-14-quickgelu": "",  # heads of 80
    "RN50x4": "",
    "ViT-M-16-alt": "our CLIP has no layer scale",
    "ViT-L-14-CLIPA": "",
    "ViT-L-14-worldwide": "our CLIP has no pooling but at the largest id",
    "coca_ViT-B-32": "our CLIP has no decoder that writes captions",
    "ViT-B-16-SigLIP": "our BiomedCLIP has no bias beside the scale",
    "EVA02-B-16": "of timm's image towers ours has BiomedCLIP's alone",
    "roberta-ViT-B-32": "our CLIP has no text tower of transformers",
}
REFUSALS = ("our CLIP has no", "our CLIPS has no", "our BiomedCLIP has no", "ours has BiomedCLIP's alone")


@pytest.mark.parametrize("name", SOME)
def test_a_name_agrees_or_is_refused_by_its_feature(name, tmp_path):
    outcome = part.attempt(name, tmp_path)
    assert outcome.agrees is not bool(SOME[name]) and outcome.fine and SOME[name] in outcome.words


def test_the_written_table_has_every_name():
    rows = {row["name"]: row for row in json.loads(JSON.read_text())["rows"] if row["group"].startswith("open_clip")}
    assert rows.keys() == set(open_clip.list_models()) == set(part.NAMES)
    for row in rows.values():
        refused = row["difference"] is None and any(words in row["words"] for words in REFUSALS)
        assert row["agrees"] or refused, row
