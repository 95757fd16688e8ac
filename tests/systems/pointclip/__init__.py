"""PointCLIP's depth maps, and how long their file may be."""

CODE_LINES = {"minimodels/depth_maps.py": 110}
