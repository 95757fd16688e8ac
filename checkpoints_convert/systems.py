"""All systems: the models whose official weights we read and write."""

from checkpoints_convert import bert, clip, clipseg, dinov2, lavt, sam, swin, vit
from checkpoints_convert.system import System
from minimodels.errors import UserError

SYSTEMS: dict[str, System] = {
    module.SYSTEM.name: module.SYSTEM for module in (vit, clip, clipseg, dinov2, swin, sam, bert, lavt)
}


def find_system(name: str) -> System:
    """The system of that name.

    Raises:
        UserError: there is none.
    """
    if name not in SYSTEMS:
        raise UserError(f"unknown system {name!r}; there are: {', '.join(SYSTEMS)}")
    return SYSTEMS[name]
