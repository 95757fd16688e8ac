"""The exercises: our solution passes, every known mistake fails and is named, honest alternatives pass.

Everything runs in this process, on the same `judge` that runs in the learner's separate one (test_checker.py goes
through that).
"""

import importlib
import pickle
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from lessons.checker.attempts import attempt, cases
from lessons.checker.exercises import catalogue, of_lesson, read_exercise
from lessons.checker.judge import judge
from lessons.checker.load import forbidden_use, load_check, load_exercise
from lessons.desk.progress import lessons
from tests.lessons.alternatives import ALTERNATIVES

NUMBERS = list(catalogue())
# Known mistakes that the checker may name differently, with the reason; at most one in ten may stand here.
NOT_NAMED: dict[str, str] = {}

for module in sorted((Path(__file__).parent / "alternatives").glob("part_*.py")):
    importlib.import_module(f"tests.lessons.alternatives.{module.stem}")


@cache
def tasks_of(number):
    return {task.name: task for task in load_check(catalogue()[number])}


def run_source(source):
    """A learner's file as a dict of its names."""
    space = {"__name__": "handed_in"}
    exec(compile(source, "handed_in.py", "exec"), space)
    return space


# ---------------------------------------------------------------- the catalogue
def test_catalogue_needs_no_torch(root):
    code = "import sys; from lessons.checker.exercises import catalogue; every = catalogue().values();"
    code += "assert all(one.stub and one.solution and one.hints for one in every); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


WRITTEN = '''"""Two sums  (5 minutes, difficulty 1 of 5)

Write the sum of two numbers, and of three.
"""

import torch


# %% solution
def double(x):
    return 2 * x


def two(
    a,
    b=1,
):
    """a and b
    -> a + b."""
    # Beside the sum.
    return double(a + b) / 2


# %% check: against Python's sum
TASKS = [Task("two", cases, reference=sum, mistakes=[])]


# %% hints
HINTS = [("Off", "Count " "again.")]
'''
HANDED_OUT = '''"""7.3.2  Two sums  (5 minutes, difficulty 1 of 5)

Write the sum of two numbers, and of three.
"""

import torch


def two(
    a,
    b=1,
):
    """a and b
    -> a + b."""
    raise NotImplementedError
'''


@pytest.fixture
def write_exercise(tmp_path):
    """An exercise from its text."""

    def write(text):
        file = tmp_path / "7_sums" / "03_more" / "2_two_sums.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return read_exercise(file)

    return write


def test_the_learners_file_is_made_from_ours(write_exercise):
    """Signature and docstring of what is checked, without our body and helpers; the number comes from the path."""
    one = write_exercise(WRITTEN)
    assert (one.number, one.lesson, one.stub_name) == ("7.3.2", "7.3", "ex_7_3_2_two_sums.py")
    assert (one.title, one.minutes, one.difficulty, one.find_the_bug) == ("Two sums", 5, 1, False)
    assert one.task == "Write the sum of two numbers, and of three." and one.hints == (("Off", "Count again."),)
    assert one.functions == ("two",) and one.stub == HANDED_OUT
    assert one.solution.startswith("def double(x):") and "# Beside the sum." in one.solution
    assert "-> a + b" not in one.solution, "the learner's file says it already"


def test_a_bug_is_handed_out_as_it_stands_there(write_exercise):
    wrong = 'def two(a, b=1):\n    """-> a + b."""\n    return a - b\n'
    one = write_exercise(WRITTEN.replace("# %% solution", f"# %% given: with its bug\n{wrong}\n\n# %% solution"))
    assert one.find_the_bug and one.stub == HANDED_OUT[: HANDED_OUT.index("def")] + wrong
    assert "a - b" not in one.solution


def test_a_table_is_handed_out_empty(write_exercise):
    """One blank line behind the imports, as between any import and a name."""
    text = WRITTEN[: WRITTEN.index("def double")] + "TABLE = [(1, 2)]\n\n\n" + WRITTEN[WRITTEN.index("# %% check") :]
    one = write_exercise(text.replace('"two"', '"TABLE"'))
    assert one.stub.endswith("import torch\n\nTABLE = []\n") and one.solution == "TABLE = [(1, 2)]"


def test_an_exercise_without_minutes_says_what_is_wanted(write_exercise):
    with pytest.raises(ValueError, match="2_two_sums.py: an exercise is called .* difficulty 2 of 5"):
        write_exercise(WRITTEN.replace("5 minutes, ", ""))


def test_what_an_exercise_defines_can_be_found_by_its_name():
    """It is run once a process, under a name that pickle and tracebacks know."""
    one = catalogue()["2.1.2"]
    module = load_exercise(one)
    assert module is load_exercise(one) and pickle.loads(pickle.dumps(module.flawed)) is module.flawed
    assert module.__name__ == "exercise_2_1_2" and module.flawed.__code__.co_filename == str(one.file)


def test_an_exercise_that_stops_half_way_is_not_kept(write_exercise):
    one = write_exercise(WRITTEN)
    with pytest.raises(NameError, match="Task"):
        load_exercise(one)
    assert "exercise_7_3_2" not in sys.modules


def test_every_lesson_has_exercises_and_every_part_bugs():
    assert {lesson: len(of_lesson(lesson)) for lesson in lessons() if len(of_lesson(lesson)) < 3} == {}
    assert {exercise.lesson for exercise in catalogue().values()} <= lessons().keys()
    bugs = Counter(exercise.number[0] for exercise in catalogue().values() if exercise.find_the_bug)
    assert bugs["2"] >= 2 and bugs["3"] >= 2


@pytest.mark.parametrize("number", NUMBERS)
def test_files_are_whole(number):
    exercise = catalogue()[number]
    tasks = tasks_of(number)
    assert exercise.file.parent.with_suffix(".py") == lessons()[exercise.lesson].script
    assert exercise.stub_name == f"ex_{number.replace('.', '_')}_{exercise.name}.py"
    assert exercise.task and len(exercise.hints) >= 3 and set(exercise.functions) == set(tasks)
    sections = ["task", *(["given"] if exercise.find_the_bug else []), "solution", "check", "hints"]
    assert list(exercise.sections) == sections and not exercise.title[0].isdigit()
    assert exercise.stub.startswith(f'"""{number}  {exercise.title}  ({exercise.minutes} minutes, ')
    texts = [exercise.title, exercise.task, *(part for hint in exercise.hints for part in hint)]
    texts += [text for task in tasks.values() for mistake in task.mistakes for text in (mistake.text, mistake.fix)]
    assert all(text.isascii() for text in texts), "consoles show ASCII everywhere"
    for name, task in tasks.items():
        assert len(task.mistakes) >= 5, f"{name} knows {len(task.mistakes)} mistakes"
        assert len({mistake.text for mistake in task.mistakes}) == len(task.mistakes)


@pytest.mark.parametrize("number", NUMBERS)
def test_our_solution_passes_and_the_stub_does_not(number):
    exercise = catalogue()[number]
    before, after = run_source(exercise.stub), run_source(f"{exercise.stub}\n\n{exercise.solution}\n")
    for name, task in tasks_of(number).items():
        verdict = judge(task, after[name])
        assert verdict.status == "passed", verdict
        assert judge(task, before[name]).status == ("failed" if exercise.find_the_bug else "unwritten")
        assert forbidden_use(exercise.solution, task.forbidden) is None


@pytest.mark.parametrize("number", NUMBERS)
def test_another_seed_passes_too(number):
    space = run_source(f"{catalogue()[number].stub}\n\n{catalogue()[number].solution}\n")
    for name, task in tasks_of(number).items():
        assert judge(task, space[name], seed=7).status == "passed"


# ---------------------------------------------------------------- known mistakes
@cache
def judged(number):
    """(function, mistake, verdict) for every known mistake of an exercise."""
    pairs = [(task, mistake) for task in tasks_of(number).values() for mistake in task.mistakes]
    return [(task.name, mistake, judge(task, mistake.handed_in)) for task, mistake in pairs]


@pytest.mark.parametrize("number", NUMBERS)
def test_known_mistakes_fail_and_are_named(number):
    for name, mistake, verdict in judged(number):
        assert verdict.status == "failed", f"{name} passes as {mistake.text}"
        if f"{number} {mistake.text}" not in NOT_NAMED:
            assert verdict.diagnosis == f"Your output equals {mistake.text}."
            assert verdict.fix == mistake.fix


@pytest.mark.parametrize("number", NUMBERS)
def test_a_known_mistake_gives_an_answer(number):
    """A mistake that only raises would be told from nothing else that raises; a mistyped option would, too."""
    for task in tasks_of(number).values():
        for mistake in task.mistakes:
            errors = [attempt(task, mistake.handed_in, case).error for case in cases(task, 0)]
            assert None in errors and not any(isinstance(error, TypeError | NameError) for error in errors), (
                mistake.text
            )


def test_enough_mistakes_and_nearly_all_named():
    results = [result for number in NUMBERS for result in judged(number)]
    named = sum(verdict.diagnosis == f"Your output equals {mistake.text}." for _, mistake, verdict in results)
    assert len(results) >= 120 and named >= 0.9 * len(results)
    assert len(results) - named <= len(NOT_NAMED)
    print(f"{len(NUMBERS)} exercises, {len(results)} known mistakes, {named} named")


def test_two_mistakes_at_once_are_both_named():
    """Where one function can make both: the pair itself, or one of its halves when the other then changes nothing."""
    told = Counter()
    for number in NUMBERS[:12]:
        for task in tasks_of(number).values():
            singles = {f"Your output equals {mistake.text}." for mistake in task.mistakes}
            for pair in task.pairs[:6]:
                verdict = judge(task, pair)
                right = verdict.diagnosis == f"Your output equals {pair.text}."
                told["pair" if right else "single" if verdict.diagnosis in singles else "other"] += 1
    assert told["pair"] > 40
    assert told["other"] <= 0.1 * sum(told.values()), told


# ---------------------------------------------------------------- honest alternatives
@pytest.mark.parametrize("number, name, thing", ALTERNATIVES, ids=[f"{n}-{name}" for n, name, _ in ALTERNATIVES])
def test_alternative_passes(number, name, thing):
    verdict = judge(tasks_of(number)[name], thing)
    assert verdict.status == "passed", verdict


def test_every_function_has_an_alternative():
    have = {(number, name) for number, name, _ in ALTERNATIVES}
    assert have >= {(number, name) for number in NUMBERS for name in tasks_of(number)}
