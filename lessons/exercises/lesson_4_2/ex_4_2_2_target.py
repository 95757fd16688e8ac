"""4.2.2  What a prompt means: the target mask  (10 minutes, difficulty 1 of 5)

Training needs, for each prompt, the pixels that are right. A scene comes as
`owner`: for each pixel 0 where the background shows, i + 1 where sticker i
does. `kinds` names the class of each sticker. The target of a class prompt
is True on the pixels of ALL stickers of that class, and on none where the
class is not in the scene: a negative prompt.
"""

import torch


def target_mask(owner, kinds, asked):
    """owner (H, W) whole numbers, kinds a list of class names, asked a class name -> (H, W) bool."""
    raise NotImplementedError
