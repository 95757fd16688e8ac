"""Every model in float16 and bfloat16 as its library runs in them, at the trained size and where positions are resized.

What no library has (LAVT, Matcher, prompts, the mask generator) is tested in its own folder.
"""

import pytest

from checkpoints_convert.proof.references import Trial, all_references
from checkpoints_convert.proof.suite import tried
from tests.systems.halves import HALVES, STEPS, rounding

# Other sizes that a library must be asked for by an option of its own, or reads in a way of its own.
OTHER_SIZES = {
    ("ViT", "timm"): Trial({"dynamic_img_size": True}, image_size=(48, 56)),
    ("DINOv2", "timm"): Trial({"dynamic_img_size": True}, image_size=(28, 56)),
    ("DINOv2", "transformers"): Trial(image_size=(28, 56)),
    ("DINOv2 registers", "timm"): Trial({"dynamic_img_size": True}, image_size=(70, 42)),
    ("DINOv2 registers", "transformers"): Trial(image_size=(70, 42)),
}
TRIALS = {}
for reference in all_references():
    name = f"{reference.system}: {reference.model}, {reference.library}"
    trained, *others = reference.trials.values()
    resized = [trial for trial in others if trial.image_size]
    TRIALS[name] = (reference, trained)
    for trial in [*resized[-2:], *filter(None, [OTHER_SIZES.get((reference.model, reference.library))])]:
        TRIALS[f"{name}, {trial.image_size}"] = (reference, trial)


@pytest.mark.parity
@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", TRIALS)
def test_as_close_as_the_library(name, dtype, device):
    """Each side beside its own answer in float64: ours is rounded little more than theirs, and by few steps at all."""
    reference, trial = TRIALS[name]
    pair = tried(reference, trial, device=device)
    ours = rounding(pair.ours, reference.run, pair.inputs, dtype)
    theirs = rounding(pair.theirs, reference.run_reference, pair.inputs, dtype)
    assert ours.keys() == theirs.keys()
    assert all(off <= min(2 * theirs[output] + 4, STEPS) for output, off in ours.items()), (ours, theirs)
