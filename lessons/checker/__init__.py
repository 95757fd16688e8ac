"""The checker: a learner's function beside the reference library, and the name of the mistake when they differ.

task.py        what a check file says: the function, its cases, the reference, the known mistakes
values.py      copy, describe and compare values: tensors, numbers, texts, lists and dicts of them
errors.py      exceptions in a learner's words, with the line
judge.py       one function against its reference, in this process
diagnosis.py   which known mistake, or which plain pattern, explains a wrong answer
report.py      the result of one exercise, as text and as JSON
load.py        check files and learners' files
child.py       the separate process that runs learners' files
runner.py      starts that process, with a time limit
"""

from lessons.checker.task import Mistake, Random, Task, Unusable

__all__ = ["Mistake", "Random", "Task", "Unusable"]
