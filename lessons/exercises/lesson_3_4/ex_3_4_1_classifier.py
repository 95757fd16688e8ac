"""3.4.1  A classifier out of templates  (15 minutes, difficulty 2 of 5)

Classes become weights by being written down. For each label: fill it into
every template (`"a photo of a {}."`), encode these texts, divide each
embedding by its length, take their mean, divide that by its length again
(Radford et al. 2021, section 3.1.4, "prompt ensembling"). Like
`build_zero_shot_classifier` of open_clip, one row a class.
"""

import torch


def make_classifier(labels, templates, encode_text):
    """Lists of C labels and T templates, a function from a list of texts to (texts, E) -> classifier (C, E)."""
    raise NotImplementedError
