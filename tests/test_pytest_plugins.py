"""The plugins that make a run strict: what they let pass, and what they fail."""

from __future__ import annotations

import pytest

from imagefs.testing.pytest_skips import parse_allowed

pytest_plugins = ["pytester"]


@pytest.fixture
def strict(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini(
        "[pytest]\nallowed_skips = allowed\n"
        "addopts = -p imagefs.testing.pytest_skips -p imagefs.testing.pytest_logs\n"
    )
    pytester.path.joinpath("allowed").write_text("*::test_old[*] | Linux 6.9\n")
    return pytester


def test_a_skip_on_the_list_passes(strict: pytest.Pytester) -> None:
    strict.makepyfile(
        """
        import pytest
        @pytest.mark.parametrize("way", ["a", "b"])
        def test_old(way):
            pytest.skip("needs Linux 6.9: resend")
        """
    )
    assert strict.runpytest_subprocess().ret == pytest.ExitCode.OK


@pytest.mark.parametrize(
    "source",
    [
        "import pytest\ndef test_new(): pytest.skip('needs Linux 6.9')",
        "import pytest\n@pytest.mark.parametrize('w', [1])\ndef test_old(w): pytest.skip('x')",
        "import pytest\npytest.skip('later', allow_module_level=True)",
    ],
    ids=["another test", "another reason", "a whole module"],
)
def test_any_other_skip_fails_the_run(strict: pytest.Pytester, source: str) -> None:
    strict.makepyfile(source, test_passes="def test_passes(): pass")
    result = strict.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*skipped without leave*"])


def test_an_expected_failure_is_no_skip(strict: pytest.Pytester) -> None:
    strict.makepyfile("import pytest\n@pytest.mark.xfail\ndef test_x(): assert False")
    assert strict.runpytest_subprocess().ret == pytest.ExitCode.OK


def test_a_list_that_does_not_parse_is_named(strict: pytest.Pytester) -> None:
    strict.path.joinpath("allowed").write_text("# fine\ntest_x\n")
    result = strict.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*allowed: line 2: not `GLOB | FEATURE`: 'test_x'"])


def test_brackets_in_a_glob_are_plain_characters() -> None:
    (leave,) = parse_allowed("t.py::test_x[a-*] | loop devices")
    assert leave.tests.fullmatch("t.py::test_x[a-b]")
    assert not leave.tests.fullmatch("t.py::test_xa")


@pytest.mark.parametrize(
    ("marker", "outcome"), [("", "failed"), ("@pytest.mark.expects_warnings", "passed")]
)
def test_a_logged_warning_fails_a_test_that_expects_none(
    strict: pytest.Pytester, marker: str, outcome: str
) -> None:
    strict.makepyfile(
        f"import logging, pytest\n{marker}\n"
        "def test_logs(): logging.getLogger('imagefs.store').warning('spilt %d', 3)"
    )
    result = strict.runpytest_subprocess()
    result.assert_outcomes(**{outcome: 1})
    if outcome == "failed":
        result.stdout.fnmatch_lines(["imagefs.store: WARNING: spilt 3"])


def test_other_libraries_may_log(strict: pytest.Pytester) -> None:
    strict.makepyfile("import logging\ndef test_logs(): logging.getLogger('other').warning('x')")
    strict.runpytest_subprocess().assert_outcomes(passed=1)
