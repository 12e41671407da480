"""What printed numbers can have been, and what the names of columns say."""

from fractions import Fraction

import numpy as np
import pytest

from metrics.printed import (
    LENGTHS,
    MISSING,
    PARTS,
    Column,
    Span,
    is_error,
    is_share,
    plain,
    read_cell,
    read_column,
    read_number,
    split_name,
)


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("text", "value", "decimals", "half"),
    [
        ("63.4", Fraction(634, 10), 1, Fraction(1, 20)),
        ("0.960", Fraction(96, 100), 3, Fraction(1, 2000)),
        ("57", Fraction(57), 0, Fraction(1, 2)),
        ("57.", Fraction(57), 0, Fraction(1, 2)),
        (".678", Fraction(678, 1000), 3, Fraction(1, 2000)),
        ("-1.5", Fraction(-3, 2), 1, Fraction(1, 20)),
        ("+1.50", Fraction(3, 2), 2, Fraction(1, 200)),
        ("−0.1", Fraction(-1, 10), 1, Fraction(1, 20)),
    ],
)
def test_numbers_are_known_to_half_the_last_digit(text, value, decimals, half) -> None:
    found = read_number(text)
    assert found is not None
    assert (found.value, found.decimals) == (value, decimals)
    assert found.span == Span(value - half, value + half)


@pytest.mark.truth("numpy")
@pytest.mark.parametrize("decimals", range(4))
def test_every_number_lies_in_the_span_of_what_is_printed_of_it(decimals) -> None:
    for value in np.random.default_rng(decimals).uniform(0, 200, 200):
        found = read_number(f"{value:.{decimals}f}")
        assert found is not None
        assert found.span.low <= Fraction(float(value)) <= found.span.high
        assert found.span.high - found.span.low == Fraction(1, 10**decimals)


@pytest.mark.parametrize(
    ("text", "digits", "unit"),
    [
        ("**63.4**", "63.4", ""),
        ("<b>63.4</b>", "63.4", ""),
        (r"\textbf{63.4}", "63.4", ""),
        (r"$\underline{63.4}$", "63.4", ""),
        ("__63.4__", "63.4", ""),
        ("~~63.4~~†", "63.4", ""),
        ("`63.4` ↓", "63.4", ""),
        ("[63.4](log.txt)", "63.4", ""),
        (" 63.4 ± 0.5", "63.4", ""),
        ("63.4±1.2 mm", "63.4", ""),
        ("63.4 mm", "63.4", "mm"),
        ("0.056m", "0.056", "m"),
        ("71.8%", "71.8", "%"),
        ("4.3 °", "4.3", "°"),
        ("12 cm ± 3", "12", "cm"),
        ("4.3 deg", "4.3", "deg"),
        ("63.4<sup>1</sup>", "63.4", ""),
        ("63.4<sub>2</sub>", "63.4", ""),
        ("$63.4_{12}$", "63.4", ""),
        ("63.4^{a}", "63.4", ""),
        ("63.4^2", "63.4", ""),
    ],
)
def test_numbers_in_markup(text, digits, unit) -> None:
    found = read_number(text)
    assert found is not None and (found.text, found.unit) == (digits, unit)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        ".",
        "n/a",
        "ResNet-50",
        "256x192",
        "1e-3",
        "63.4 (1.2)",
        "1,234",
        "1_000",
        "1 2",
        "²",
        "6 in",
        "9" * 16,
    ],
)
def test_what_is_no_number(text) -> None:
    assert read_number(text) is None


def test_other_peoples_digits_and_too_many_of_them() -> None:
    for text in ("٣", "٣.٤", "0." + "1" * 16, "." + "1" * 16, "<sup>" + "1" * 21 + "</sup>63.4<sup>"):
        assert read_number(text) is None


@pytest.mark.parametrize("text", ["9" * 15, "0." + "1" * 15, "." + "1" * 15])
def test_the_longest_numbers(text) -> None:
    found = read_number(text)
    assert found is not None and found.value == Fraction(text)


def span(low: str, high: str) -> Span:
    return Span(Fraction(low), Fraction(high))


@pytest.mark.truth("closed form")
def test_spans() -> None:
    one, other = span("1", "2"), span("3", "5")
    assert one.plus(other) == span("4", "7")
    assert one.times(Fraction(1, 3)) == span("1/3", "2/3")
    assert one.over(other) == span("1/5", "2/3")
    assert one.common(other) is None and other.common(one) is None
    assert one.common(span("2", "9")) == span("2", "2")
    assert one.common(span("3/2", "9")) == span("3/2", "9").common(one) == span("3/2", "2")
    assert one.common(span("0", "9")) == one
    assert span("1/3", "2/3").text(2) == "0.33 to 0.67" and one.text(0) == "1 to 2"


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(3))
def test_spans_bound_every_result(seed) -> None:
    rng = np.random.default_rng(seed)
    ends = np.sort(rng.integers(1, 100, (2, 2)), axis=1)
    one, other = (Span(Fraction(int(a)), Fraction(int(b))) for a, b in ends)
    inside = [[Fraction(int(a)) + Fraction(k, 7) * int(b - a) for k in range(8)] for a, b in ends]
    sums = [x + y for x in inside[0] for y in inside[1]]
    quotients = [x / y for x in inside[0] for y in inside[1]]
    assert one.plus(other) == (min(sums), max(sums))
    assert one.over(other) == (min(quotients), max(quotients))


@pytest.mark.parametrize(
    ("name", "quantity", "part", "group"),
    [
        ("MPJPE", "MPJPE", "", ""),
        ("mpjpe (mm) ↓", "MPJPE", "", ""),
        ("3DPW MPJPE", "MPJPE", "", "3dpw"),
        ("MPJPE (m)", "MPJPE", "", ""),
        ("mm MPJPE [mm]", "MPJPE", "", "mm"),
        ("3DPW_MPJPE", "MPJPE", "", "3dpw"),
        ("Human3.6M MPJPE", "MPJPE", "", "human3.6m"),
        ("PA-MPJPE", "PA-MPJPE", "", ""),
        ("PAMPJPE", "PA-MPJPE", "", ""),
        ("P-MPJPE", "PA-MPJPE", "", ""),
        ("MPJPE-PA", "PA-MPJPE", "", ""),
        ("MPJPE (PA)", "PA-MPJPE", "", ""),
        ("Reconstruction Error", "PA-MPJPE", "", ""),
        ("3DPW PA", "PA-MPJPE", "", "3dpw"),
        ("PA (mm)", "PA-MPJPE", "", ""),
        ("PA region", "", "", "pa region"),
        ("N-MPJPE", "N-MPJPE", "", ""),
        ("nMPJPE", "N-MPJPE", "", ""),
        ("PVE", "PVE", "", ""),
        ("MPVPE", "PVE", "", ""),
        ("mpve", "PVE", "", ""),
        ("V2V", "PVE", "", ""),
        ("PA-PVE", "PA-PVE", "", ""),
        ("PA-MPVPE", "PA-PVE", "", ""),
        ("PVE-PA", "PA-PVE", "", ""),
        ("B-MVE", "PVE", "B", ""),
        ("AGORA B-NMVE", "NMVE", "B", "agora"),
        ("FB-NMJE", "NMJE", "FB", ""),
        ("NMVE (full-body)", "NMVE", "FB", ""),
        ("fullbody MVE", "PVE", "FB", ""),
        ("Body MPJPE", "MPJPE", "B", ""),
        ("MVE LH", "PVE", "LH", ""),
        ("left hand MVE", "PVE", "LH", ""),
        ("MVE L-hand", "PVE", "LH", ""),
        ("right hand MPJPE", "MPJPE", "RH", ""),
        ("RHand MPJPE", "MPJPE", "RH", ""),
        ("MPJPE RH", "MPJPE", "RH", ""),
        ("F-MPJPE", "MPJPE", "F", ""),
        ("face MPJPE", "MPJPE", "F", ""),
        ("hands MPJPE", "MPJPE", "", "hands"),
        ("F1", "F1", "", ""),
        ("AGORA F1-score", "F1", "", "agora"),
        ("F1 Score", "F1", "", ""),
        ("AP", "AP", "", ""),
        ("mAP", "AP", "", ""),
        ("whole AP", "AP", "", "whole"),
        ("AP@0.5:0.95", "AP", "", ""),
        ("AP@[.5:.05:.95]", "AP", "", ""),
        ("AP@[ .50:.95 ]", "AP", "", ""),
        ("AP50:95", "AP", "", ""),
        ("AP50", "AP50", "", ""),
        ("mAP50", "AP50", "", ""),
        ("AP@50", "AP50", "", ""),
        ("AP@0.5", "AP50", "", ""),
        ("AP .75", "AP75", "", ""),
        ("AP@.05", "AP5", "", ""),
        ("AP<sup>50</sup>", "AP50", "", ""),
        ("$AP_{75}$", "AP75", "", ""),
        ("AP^50", "AP50", "", ""),
        ("AP150", "AP150", "", ""),
        ("AP1", "AP1", "", ""),
        ("AP99999", "", "", "ap99999"),
        ("foot AR", "AR", "", "foot"),
        ("AR@0.75", "AR75", "", ""),
        ("APm", "", "", "apm"),
        ("AP (M)", "AP", "", "m"),
        ("AP (L)", "AP", "", "l"),
        ("AP (%)", "AP", "", ""),
        ("PCKh@0.5", "share", "", "@0.5"),
        ("3DPCK", "share", "", ""),
        ("PCK", "share", "", ""),
        ("AUC", "share", "", ""),
        ("Top-1", "share", "", ""),
        ("top 5", "share", "", ""),
        ("Accuracy", "share", "", ""),
        ("precision", "share", "", ""),
        ("Recall@500", "share", "", "@500"),
        ("knee RMSE (deg)", "error", "", "knee"),
        ("MAE", "error", "", ""),
        ("Accel", "error", "", ""),
        ("Δ MPJPE", "", "", "δ mpjpe"),
        ("MPJPE gain", "", "", "mpjpe gain"),
        ("MPJPE std", "", "", "mpjpe std"),
        ("difference of AP", "", "", "difference of ap"),
        ("improvement in AP", "", "", "improvement in ap"),
        ("mpjpexyz", "", "", "mpjpexyz"),
        ("Method", "", "", "method"),
        ("", "", "", ""),
    ],
)
def test_what_columns_are_of(name, quantity, part, group) -> None:
    found = read_column(name)
    assert (found.quantity, found.part, found.group) == (quantity, part, group)
    assert found.name == name and not found.mean
    assert found.part in PARTS


@pytest.mark.parametrize(
    "word", ["delta", "diff", "gain", "change", "reduction", "gap", "drop", "std", "sd", "var"]
)
def test_a_difference_is_not_the_quantity_itself(word) -> None:
    assert read_column(f"MPJPE {word}").quantity == ""
    assert read_column(f"MPJPE x{word}x").quantity == "MPJPE"


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("Avg", True),
        ("avg.", True),
        ("Mean MPJPE", True),
        ("average", True),
        ("AVE", True),
        ("meaning", False),
    ],
)
def test_means(name, mean) -> None:
    assert read_column(name).mean is mean


def test_the_rest_of_the_name_of_a_mean() -> None:
    assert read_column("3DPW MPJPE (avg.)") == Column("3DPW MPJPE (avg.)", "MPJPE", "", "3dpw", "", True)


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("MPJPE (mm)", "mm"),
        ("MPJPE [m]", "m"),
        ("( cm ) PVE", "cm"),
        ("AP (%)", "%"),
        ("MPJPE", ""),
        ("a (b)", ""),
    ],
)
def test_units(name, unit) -> None:
    assert read_column(name).unit == unit


def test_kinds() -> None:
    shares = {q for q in ("AP", "AP50", "AR", "AR75", "F1", "share", "error", "", *LENGTHS) if is_share(q)}
    assert shares == {"AP", "AP50", "AR", "AR75", "F1", "share"}
    errors = {q for q in ("AP", "AP50", "AR", "F1", "share", "error", "", "PVE", *LENGTHS) if is_error(q)}
    assert errors == {"error", "MPJPE", "PA-MPJPE", "N-MPJPE", "PVE", "PA-PVE", "NMVE", "NMJE"}
    assert PARTS == ("", "FB", "LH", "RH", "F", "B")
    assert {"", "-", "–", "—", "n/a", "na"} <= MISSING


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](b) ![c](d)", "a c"),
        ("a<br/>b  <i>c</i>", "ab c"),
        (r"\alpha{x} $y_{1}^2$", "x y12"),
        ("a_b", "a_b"),
        ("x" * 5000, "x" * 5000),
        ("[" * 50, "[" * 50),
    ],
)
def test_plain_text(text, expected) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize(
    ("name", "count", "names"),
    [
        ("MPJPE/PA-MPJPE", 2, ["MPJPE", "PA-MPJPE"]),
        ("3DPW MPJPE / PA-MPJPE (mm)", 2, ["3DPW MPJPE (mm)", "3DPW PA-MPJPE (mm)"]),
        ("LH/RH MVE", 2, ["LH MVE", "RH MVE"]),
        ("MVE B/LH/RH", 3, ["MVE B", "MVE LH", "MVE RH"]),
        ("a/b c/d/e", 3, ["a/b c", "a/b d", "a/b e"]),
        ("3DPW", 2, ["3DPW", "3DPW"]),
        ("a/b", 3, ["a/b"] * 3),
        ("MPJPE", 1, ["MPJPE"]),
        ("m/s speed", 1, ["m/s speed"]),
    ],
)
def test_names_of_several_values(name, count, names) -> None:
    assert split_name(name, count) == names


def test_cells() -> None:
    (left, right) = read_cell("LH/RH MVE", "42.5/ 43.4")
    assert (left[0].part, left[1].text) == ("LH", "42.5")
    assert (right[0].part, right[1].text) == ("RH", "43.4")
    assert [c.quantity for c, _ in read_cell("MPJPE", "5.0")] == ["MPJPE"]
    assert read_cell("MPJPE", "5.0/a") == read_cell("MPJPE", "") == read_cell("MPJPE", "-") == []
    assert [c.name for c, _ in read_cell("3DPW", "105.42 / 60.11")] == ["3DPW", "3DPW"]


def test_nothing_takes_long() -> None:
    for text in ("[" * 20_000, "<" * 20_000, "{" * 20_000, "(" * 20_000, "[(" * 10_000, "1" * 20_000):
        assert read_number(text) is None
        assert read_column(text).quantity == ""
