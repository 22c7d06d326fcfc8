"""Ctrl-C with workers running: one traceback-free end, and no wait for what is queued."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import signal, time
from tinyse.core.workers import Workers

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell started us with &
    try:
        with Workers(2) as pool:
            waiting = [pool.submit(time.sleep, 0.5) for _ in range(2000)]
            waiting[1].result()
            print("running", flush=True)
            waiting[-1].result()
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_an_interrupt_of_the_group_is_the_programs_alone(tmp_path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    root = os.path.dirname(os.path.dirname(__file__))
    program = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, start_new_session=True, env={**os.environ, "PYTHONPATH": root})
    assert program.stdout is not None and program.stdout.readline() == "running\n"
    os.killpg(program.pid, signal.SIGINT)
    out, err = program.communicate(timeout=120)  # of 500 s that are queued
    assert (out, err, program.returncode) == ("interrupted\n", "", 0)


def test_results_come_back() -> None:
    from tinyse.core.workers import Workers

    with Workers(1) as pool:
        assert list(pool.map(abs, [-1, -2])) == [1, 2]


def test_variables_are_there_when_a_worker_starts_and_nowhere_else(monkeypatch) -> None:
    from tinyse.core.workers import ONE_THREAD, Workers, unless_set

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    variables = unless_set(ONE_THREAD)
    assert "OMP_NUM_THREADS" in variables and "OPENBLAS_NUM_THREADS" not in variables
    with Workers(1, variables=variables) as pool:
        found = [pool.submit(os.getenv, name).result() for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")]
    assert found == ["1", "3"] and "OMP_NUM_THREADS" not in os.environ


def test_a_process_of_its_own_returns_raises_and_outlives_a_crash() -> None:
    from tinyse.core.workers import Crashed, Isolated

    isolated = Isolated()
    assert isolated(int, "7") == 7 and isolated(os.getpid) != os.getpid()
    with pytest.raises(ValueError, match="invalid literal"):
        isolated(int, "x")
    first = isolated(os.getpid)
    with pytest.raises(Crashed, match=r"^crashed \(SIGABRT\)$"):
        isolated(os.abort)
    with pytest.raises(Crashed, match="^ended with code 3$"):
        isolated(os._exit, 3)
    assert isolated(os.getpid) != first
    last = isolated(os.getpid)
    isolated.close()
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)


def test_a_pool_says_how_its_worker_ended() -> None:
    from concurrent.futures.process import BrokenProcessPool

    from tinyse.core.workers import Workers

    with Workers(2) as pool:
        assert pool.submit(abs, -1).result() == 1
        with pytest.raises(BrokenProcessPool):
            pool.submit(os.abort).result()
        assert pool.ending() == "crashed (SIGABRT)"


def test_workers_end_with_a_program_that_is_killed(tmp_path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import os, time\nfrom tinyse.core.workers import Workers\n\nif __name__ == '__main__':\n"
                       "    with Workers(1) as pool:\n        print(pool.submit(os.getpid).result(), flush=True)\n"
                       "        time.sleep(600)\n")
    process = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    os.kill(worker, 0)
    process.kill()
    process.communicate(timeout=120)  # ends when nobody holds the pipe any more
    with pytest.raises(ProcessLookupError):
        for _ in range(600):
            os.kill(worker, 0)
            time.sleep(0.1)
