import pytest
from click.testing import CliRunner
from test_doctor import HEALTHY, Fake, squeeze

from tinyse.cli import main
from tinyse.studies import doctor


@pytest.mark.parametrize(("changes", "code"), [({}, 0), ({"programs": set()}, 0), ({"packages": {}}, 1)])
def test_exit_code_says_whether_the_main_job_can_run(monkeypatch, changes, code):
    monkeypatch.setattr(doctor, "Machine", lambda: Fake(**changes))
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == code
    if not changes:
        assert squeeze(result.output) == squeeze(HEALTHY)


def test_fvp_option(monkeypatch):
    monkeypatch.setattr(doctor, "Machine", lambda: Fake(programs={"/opt/fvp"}))
    result = CliRunner().invoke(main, ["doctor", "--fvp", "/opt/fvp"])
    assert "/opt/fvp" in next(line for line in result.output.splitlines() if doctor.FVP in line)


def test_help_shows_an_example():
    result = CliRunner().invoke(main, ["doctor", "--help"])
    assert result.exit_code == 0 and "Example:" in result.output
