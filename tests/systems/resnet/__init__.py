"""ResNet, and how long its file may be."""

CODE_LINES = {"minimodels/resnet.py": 140}
