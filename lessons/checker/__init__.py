"""The checker: a learner's function beside the reference library, and the name of the mistake when they differ.

exercises.py   the files of the exercises: task, solution and hints, and what the learner's file holds at the start
task.py        what a check says: the function, its cases, the reference, the known mistakes
block_parts.py random parts of a transformer block, for the checks that need them
values.py      copy, describe and compare values: tensors, numbers, texts, lists and dicts of them
errors.py      exceptions in a learner's words, with the line
attempts.py    calls on one case: answer or exception, gradients
judge.py       one function against its reference, in this process
diagnosis.py   which known mistake, or which plain pattern, explains a wrong answer
verdict.py     the result of one exercise, as text and as JSON
load.py        runs the files of exercises and learners
child.py       the separate process that runs learners' files
runner.py      starts that process, with a time limit
"""

from lessons.checker.task import Mistake, Random, Task, Unusable

__all__ = ["Mistake", "Random", "Task", "Unusable"]
