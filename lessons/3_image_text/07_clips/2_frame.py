"""A row with something at its last place  (10 minutes, difficulty 2 of 5)

CLIPS' text tower is pooled at the last place of a row, whatever stands
there. Make the row of one text from the ids of its pieces:

    start  pieces ...  end  pad pad ... pad  last

A row has `length` ids. What does not fit is cut off the pieces, from their
end; start, end and last always stay.
"""


# %% solution
def frame(pieces, length, start, end, pad, last):
    """pieces: a list of ids; -> a list of `length` ids."""
    row = [start, *pieces[: length - 3], end]
    return [*row, *[pad] * (length - 1 - len(row)), last]


# %% check: rows against a row filled place by place
from lessons.checker import Mistake, Task


def cases(random):
    for count, length in [(4, 12), (0, 5), (9, 12), (10, 12), (25, 12), (1, 4), (7, 4)]:
        pieces = [int(value) + 20 for value in (random(count).abs() * 100)] if count else []
        yield {"pieces": pieces, "length": length, "start": 1, "end": 2, "pad": 0, "last": 11}


def reference(pieces, length, start, end, pad, last):
    row = {place: pad for place in range(length)}
    row[0], row[length - 1] = start, last
    fitting = min(len(pieces), length - 3)
    for place in range(fitting):
        row[1 + place] = pieces[place]
    row[1 + fitting] = end
    return [row[place] for place in range(length)]


def flawed(pieces, length, start, end, pad, last, room=3, keep="first", order="normal", cut_end=False):
    kept = pieces[: length - room]
    if keep == "last" and len(pieces) > length - room:
        kept = pieces[len(pieces) - (length - room) :]
    row = [start, *kept, end]
    if cut_end:
        row = [start, *pieces, end][: length - 1]
    if order == "no end":
        row = [start, *kept]
    if order == "last first":
        return [last, *row, *[pad] * (length - 1 - len(row))]
    if order == "behind the text":
        return ([*row, last] + [pad] * length)[:length]
    if order == "no last":
        return [*row, *[pad] * (length - len(row))]
    if order == "end last":
        return ([start, *kept] + [pad] * length)[: length - 2] + [end, last]
    return (row + [pad] * length)[: length - 1] + [last]


MISTAKES = [
    Mistake("a row that ends with padding", order="no last", fix="The last place of every row is `last`."),
    Mistake("a row with `last` directly behind the text", order="behind the text", fix="Padding first, then `last`."),
    Mistake("a row that begins with `last`, as BERT's do", order="last first", fix="`last` stands at the end."),
    Mistake("a row without `end`", order="no end", fix="[start, *pieces, end]."),
    Mistake("a row whose `end` stands behind the padding", order="end last", fix="`end` follows the pieces."),
    Mistake("a row that lost its `end` where it was cut", cut_end=True, fix="Cut the pieces, not the finished row."),
    Mistake("a row with one piece too few", room=4, fix="Three places are taken: start, end, last."),
    Mistake("a row that kept the last pieces of a long text", keep="last", fix="pieces[: length - 3]."),
]

TASKS = [
    Task("frame", cases, reference=reference, flawed=flawed, mistakes=MISTAKES,
         like="rows filled place by place"),
]


# %% hints
HINTS = [
    ("How many pieces fit?", "Three places are taken: `pieces[: length - 3]`."),
    ("Long texts lose their end", "Cut the pieces before the marks are put around them."),
    ("The row is too short or too long", "`length - 1 - len(row)` pads, then `last`."),
]
