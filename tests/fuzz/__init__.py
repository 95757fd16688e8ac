"""Trying what nobody writes by hand: damaged files, hostile pickles, odd configs, pictures and options, at random.

    python -m tests.fuzz --minutes 30                 a fresh seed, which is printed
    python -m tests.fuzz --seed 7 --only damage       the same tries again, of one target
    python -m tests.fuzz --replay tests/fuzz/found    what was found before

A target (`targets/`) makes cases from random numbers and tries them. What must never come of a case: an exception that
is no `UserError`, a message of several lines, a hang, a crash, a great deal of memory, temporary files left behind, and
a wrong answer in silence. `found/` keeps the cases that once did; `test_found.py` tries them for ever.
"""
