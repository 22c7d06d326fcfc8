"""The pool's tasks on the nodes of a Ray cluster: each in a process of its own there, as `Pool` runs them here.

A task whose process, worker or node dies is run again, on any node, and goes on from its files: the sweep's folder, the
corpus and the current folder must be the same ones on every node.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinyse.core.artifacts import versions
from tinyse.core.cluster import Cluster, Died
from tinyse.core.errors import TinyseError
from tinyse.core.progress import Progress, silent
from tinyse.studies.sweep.plan import can_emulate
from tinyse.studies.sweep.pool import Pool, Task
from tinyse.studies.sweep.workers import NEED


@dataclass(frozen=True)
class Sent:
    """A task, and what the node that runs it must have to give the result that this machine would.

    Attributes:
        task: its log's folder is there already.
        here: folder to run it in. python: the interpreter in its command, which is the node's own there.
        versions, emulator: of this machine.
    """

    task: Task
    here: Path
    python: str
    versions: dict[str, str]
    emulator: bool


class RayPool:
    """As `Pool`, on a cluster; Ray waits for cores and memory.

    Args:
        cluster: connected.
        workers: tasks that Ray may know at once.
        progress, ended: as of `Pool`.
    """

    def __init__(self, cluster: Cluster, workers: int, progress: Progress = silent,
                 ended: Callable[[Task, str], None] = lambda task, error: None) -> None:
        self._cluster, self.workers, self._progress, self._ended = cluster, workers, progress, ended

    def run(self, tasks: Sequence[Task]) -> dict[str, str]:
        """Run all; labels of those that failed, with one line each."""
        failed = {}
        sent = [Sent(replace(task, log=task.log.absolute()), Path.cwd(), sys.executable, versions(), can_emulate())
                for task in tasks]
        for done, found in self._cluster.as_finished(run_there, sent, self.workers, NEED, self._progress):
            error = found.line() if isinstance(found, TinyseError) else str(found)
            if error:
                failed[done.task.label] = error
            self._ended(done.task, error)
        return failed


def run_there(sent: Sent, progress: Progress) -> str:
    """Run a task on this node; its error line, empty where all went well.

    Raises:
        TinyseError: the node lacks a folder or a program, or has other versions. Died: the process was killed.
    """
    node = f"node {platform.node()}"
    for folder in (sent.here, sent.task.log.parent):
        if not folder.is_dir():
            raise TinyseError(f"{node}: has no {folder}", "on Ray, folders are shared by all nodes (docs/sweep.md)")
    if versions() != sent.versions:
        other = {f"{name} {versions().get(name, 'missing')}, here {version}" for name, version in sent.versions.items()
                 if versions().get(name) != version}
        raise TinyseError(f"{node}: {'; '.join(sorted(other))}", "the same packages on every node")
    if can_emulate() != sent.emulator:
        raise TinyseError(f"{node}: an emulator {'is missing there' if sent.emulator else 'is there, and not here'}",
                          "the same programs on every node (tinyse doctor)")
    command = tuple(sys.executable if word == sent.python else word for word in sent.task.command)
    pool = Pool(1, progress, here=sent.here)
    failed = pool.run([replace(sent.task, command=command)])
    if pool.killed:
        raise Died(failed[sent.task.label])
    return failed.get(sent.task.label, "")
