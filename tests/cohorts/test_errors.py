import pickle

import pytest

from cohorts.errors import CapbenchError, EnvironmentFault, RefusedError, did_you_mean, unknown_name


def test_message_says_where_what_and_what_to_try() -> None:
    error = CapbenchError(
        "Expected a number, got 'x'.", file="a.trc", line=7, place="marker C7", fix="mend it"
    )
    assert str(error) == "a.trc, line 7, marker C7: Expected a number, got 'x'. Try: mend it"
    assert str(CapbenchError("Expected more.")) == "Expected more."


def test_exit_codes_are_those_of_the_design() -> None:
    assert (CapbenchError.exit_code, EnvironmentFault.exit_code, RefusedError.exit_code) == (2, 3, 4)


def test_hostile_names_cannot_steer_the_terminal() -> None:
    text = str(CapbenchError("Expected a name, got '\x1b[2J\r\nroot#'.", file="a\x07.trc"))
    assert "\x1b" not in text
    assert "\n" not in text
    assert r"\x1b[2J\r\nroot#" in text


def test_errors_cross_process_borders_whole() -> None:
    error = RefusedError("no", file="f", line=3, place="p", fix="x")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert type(again) is RefusedError
    assert again.to_dict() == error.to_dict()


@pytest.mark.parametrize(("typed", "meant"), [("coco17", "coco-17"), ("HALPE26", "halpe-26"), ("zzzz", None)])
def test_did_you_mean(typed, meant) -> None:
    assert did_you_mean(typed, ["coco-17", "halpe-26"]) == meant
    error = unknown_name("skeleton", typed, ["halpe-26", "coco-17"])
    assert (f"Did you mean {meant!r}?" in str(error)) == (meant is not None)
    assert "coco-17, halpe-26" in str(error)
