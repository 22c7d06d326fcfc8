"""Why files were left out of an import, counted."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable

NUMBER = re.compile(r"\d[\d.]*")


def reasons(skipped: Iterable[str]) -> dict[str, int]:
    """How many files were left out for each reason, most first, of lines ``file: reason``.

    Names in a reason do not count, nor do numbers: one that is the same of all these files stands as it is, as our
    own bounds do; others are N.
    """
    alike: dict[tuple[str, ...], list[list[str]]] = defaultdict(list)
    for line in skipped:
        file, found, why = line.partition(": ")
        said = (why if found else file).removeprefix(os.path.basename(file)).strip()
        alike[tuple(NUMBER.split(said))].append(NUMBER.findall(said))
    counted: Counter[str] = Counter()
    for texts, numbers in sorted(alike.items(), key=lambda group: -len(group[1])):
        shown = [each[0] if len(set(each)) == 1 else "N" for each in zip(*numbers, strict=True)]
        counted["".join(text + number for text, number in zip(texts, [*shown, ""], strict=True))] += len(numbers)
    return dict(counted)
