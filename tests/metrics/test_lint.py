"""Tables whose faults were planted, tables that are published, and tables that are right by construction."""

import csv
import io

import numpy as np
import pytest

from metrics import lint as module
from metrics.lint import CERTAIN, RULES, Finding, check, lint


def rules(*rows: dict[str, str]) -> list[str]:
    return [finding.rule for finding in lint(list(rows))]


def only(*rows: dict[str, str]) -> Finding:
    (finding,) = lint(list(rows))
    return finding


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.strip())))


# --- published tables ------------------------------------------------------------------------------

# AiOS (Sun et al. 2024), the table of its README, under flat names
AIOS = table("""
Data,FB-NMVE,B-NMVE,FB-NMJE,B-NMJE,FB-MVE,B-MVE,F-MVE,LH/RH MVE,FB-MPJPE,B-MPJPE,F-MPJPE,LH/RH MPJPE
BEDLAM,87.6,57.7,85.8,57.7,83.2,54.8,26.2,28.1/30.8,81.5,54.8,26.2,25.9/28.0
AGORA-Test,102.9,63.4,100.7,62.5,98.8,60.9,27.7,42.5/43.4,96.7,60.0,29.2,40.1/41.0
AGORA-Val,105.1,60.9,102.2,61.4,100.9,60.9,30.6,43.9/45.6,98.1,58.9,32.7,41.5/43.4
""")
# the same ten rows stand twice in the README of hmr-benchmarks (Pang et al. 2022), for two training sets
HMR = [
    ("No augmentation", "105.42 / 60.11"),
    ("Coarse dropout", "112.46 / 64.55"),
    ("Grid dropout", "112.67 / 63.36"),
    ("Photometric distortion", "107.13 / 62.13"),
    ("Random crop", "114.43 / 64.95"),
    ("Hard erasing", "112.34 / 67.53"),
    ("Soft erasing", "118.15 / 65.16"),
    ("Self-mixing", "111.46 / 62.81"),
    ("Synthetic occlusion", "110.42 / 62.78"),
    ("Synthetic occlusion over keypoints", "100.75 / 59.13"),
]


@pytest.mark.truth("published table")
def test_the_table_of_aios() -> None:
    finding = only(*AIOS)
    assert (finding.row, finding.rule, finding.certain) == (2, "F1", True)
    assert finding.columns == ("B-NMVE", "B-MVE")
    assert finding.found == "60.9"
    # by hand: F1 is at least 100.85/105.15 (FB-NMVE) and at most 98.15/102.15 (FB-NMJE)
    low, high = 60.85 / (98.15 / 102.15), 60.95 / (100.85 / 105.15)
    assert finding.expected == f"{low:.2f} to {high:.2f}" == "63.33 to 63.55"
    assert finding.sentence == (
        "B-NMVE 60.9 should be 63.33 to 63.55: B-MVE 60.9 over the F1 of 0.9591 to 0.9608 that the other "
        "columns have."
    )
    AIOS[2]["B-NMVE"], wrong = "63.4", AIOS[2]["B-NMVE"]
    assert lint(AIOS) == []
    AIOS[2]["B-NMVE"] = wrong


@pytest.mark.truth("published table")
@pytest.mark.parametrize("names", [("Config", "3DPW MPJPE/PA-MPJPE"), ("Config", "3DPW")])
def test_the_same_ten_rows_twice(names) -> None:
    first, second = (
        [
            dict(zip(names, (f"[{config}](hmr_{data}_{k}.py)", numbers), strict=True))
            for k, (config, numbers) in enumerate(HMR)
        ]
        for data in ("h36m", "eftcoco")
    )
    outcome = check([first, second])
    (finding,) = outcome.findings
    assert (finding.row, finding.rule, finding.certain) == (10, "duplicate", False)
    assert finding.found == "the numbers of No augmentation" and finding.expected == "numbers of its own"
    assert finding.sentence == (
        "The numbers of 10 rows from here on are those of No augmentation and the rows after it."
    )
    assert outcome.rows == 20
    assert lint(first) == []
    assert lint(first + first) == []  # the same rows again: a baseline may stand in two tables


@pytest.mark.truth("published table")
def test_swapped_columns() -> None:
    # PoseExaminer's row, 73.65 and 47.25, the other way round
    finding = only({"Method": "PARE", "3DPW MPJPE": "47.25", "3DPW PA-MPJPE": "73.65", "3DPW PVE": "91.29"})
    assert (finding.row, finding.rule, finding.certain) == (0, "alignment", False)
    assert finding.columns == ("3DPW PA-MPJPE", "3DPW MPJPE")
    assert (finding.found, finding.expected) == ("73.65", "47.25 or less")
    assert (
        finding.sentence == "3DPW PA-MPJPE 73.65 is above 3DPW MPJPE 47.25, which is aligned less: swapped?"
    )


@pytest.mark.truth("published table")
@pytest.mark.parametrize(
    "row",
    [
        # MMPose, SimpleBaseline 256x192 on COCO val2017
        {"Arch": "50", "AP": "0.718", "AP<sup>50</sup>": "0.898", "AP<sup>75</sup>": "0.795", "AR": "0.773"},
        # OpenCapBench, mean of 12 coordinates
        {"a": "5.1", "b": "2.8", "c": "3.4", "d": "8.3", "e": "4.9", "f": "7.3", "g": "8.3", "h": "7.6",
         "i": "9.1", "j": "6.2", "k": "4.6", "l": "8.7", "mean": "6.36"},
        {"Method": "PARE", "3DPW MPJPE": "73.65", "3DPW PA-MPJPE": "47.25", "3DPW PVE": "91.29"},
        {"Method": "RTMW3D-x", "MPJPE (m)": "0.057", "AP": ".680"},
    ],
)  # fmt: skip
def test_published_rows_that_are_right(row) -> None:
    assert lint([row]) == []
    assert check([[row]]).checked > 0


# --- tables that are right by construction, and with one number spoilt -----------------------------------


def agora(seed: int, decimals: int, *, f1_decimals: int = 2, agora_rounds: bool = True) -> dict[str, str]:
    """A row as AGORA's tool makes it, from unrounded errors; every number rounded for print alone."""
    rng = np.random.default_rng(seed)
    precision, recall = rng.uniform(0.7, 1, 2)
    if agora_rounds:
        precision, recall = round(precision, 2), round(recall, 2)
    f1 = 2 * precision * recall / (precision + recall)
    divisor = round(f1, 2) if agora_rounds else f1
    row = {"Method": f"model {seed}", "F1": f"{f1:.{f1_decimals}f}"}
    for error, normalised in (("MVE", "NMVE"), ("MPJPE", "NMJE")):
        body, left, right, face = rng.uniform(20, 110, 4)
        whole = body + (left + right + face) / 3
        for part, value in (("FB", whole), ("B", body), ("LH", left), ("RH", right), ("F", face)):
            row[f"{part}-{error}"] = f"{value:.{decimals}f}"
        for part, value in (("FB", whole), ("B", body)):
            row[f"{part}-{normalised}"] = f"{value / divisor:.{decimals}f}"
    return row


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("decimals", [0, 1, 2, 4])
@pytest.mark.parametrize("agora_rounds", [True, False])
def test_rounding_alone_finds_nothing(decimals, agora_rounds) -> None:
    for seed in range(10):
        row = agora(seed, decimals, agora_rounds=agora_rounds)
        if not agora_rounds:
            del row["F1"]  # printed to 2 decimals it is not the one divided by
        assert lint([row]) == []
        for f1_decimals in (3, 5):
            assert lint([agora(seed, decimals, f1_decimals=f1_decimals, agora_rounds=agora_rounds)]) == []


@pytest.mark.truth("metamorphic")
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spoilt", ["FB-NMVE", "B-NMVE", "FB-NMJE", "B-NMJE", "FB-MVE", "B-MPJPE", "F1"])
def test_one_spoilt_number_is_found(seed, spoilt) -> None:
    row = agora(seed, 1)
    row[spoilt] = f"{float(row[spoilt]) * 0.9:.{len(row[spoilt].partition('.')[2])}f}"
    findings = lint([row])
    assert findings and all(finding.certain for finding in findings)
    assert any(finding.columns[0] == spoilt or finding.columns[1:2] == (spoilt,) for finding in findings)
    if spoilt != "F1":
        assert {finding.rule for finding in findings} <= {"F1", "full body"}
    else:
        (finding,) = findings
        assert finding.columns == ("F1",) and "is not the F1 of 0." in finding.sentence
        low, high = map(float, finding.expected.split(" to "))
        assert low < float(agora(seed, 1)["F1"]) < high


@pytest.mark.truth("literal definition")
@pytest.mark.parametrize("seed", range(6))
def test_averages_over_thresholds(seed) -> None:
    rng = np.random.default_rng(seed)
    by_threshold = np.sort(rng.uniform(0, 100, 10))[::-1]  # AP at .50, .55, … .95
    row = {
        "AP": f"{by_threshold.mean():.1f}",
        "AP50": f"{by_threshold[0]:.1f}",
        "AP75": f"{by_threshold[5]:.1f}",
        "AP90": f"{by_threshold[8]:.1f}",
    }
    assert lint([row]) == []
    assert (
        check([[row]]).checked == 4 + 1 + 2 + 1
    )  # ranges; AP between; AP50 over AP75 over AP90; no duplicate


# --- each rule -----------------------------------------------------------------------------------


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("MPJPE", "-3.0", "MPJPE -3.0 is negative."),
        ("knee RMSE", "-0.1", "knee RMSE -0.1 is negative."),
        ("AP", "-1", "AP -1 is negative."),
        ("AP", "101", "AP 101 is above 100 %."),
        ("PCK@0.2", "100.2", "PCK@0.2 100.2 is above 100 %."),
        ("F1 (%)", "100.11", "F1 (%) 100.11 is above 100 %."),
        ("AR75", "700", "AR75 700 is above 100 %."),
        ("MPJPE", "-0.0", None),  # has been above zero
        ("MPJPE", "-0.05", "MPJPE -0.05 is negative."),
        ("AUC", "100.0", None),
        ("AUC", "100.1", "AUC 100.1 is above 100 %."),
        ("AUC", "0", None),
        ("MPJPE", "200", None),
        ("change of MPJPE", "-3.0", None),
        ("bias", "-3.0", None),
    ],
)
def test_range(name, text, sentence) -> None:
    found = lint([{name: text}])
    assert [finding.sentence for finding in found] == ([sentence] if sentence else [])
    if sentence:
        assert found[0].rule == "range" and found[0].certain and found[0].found == text
        assert found[0].expected == ("0 or more" if "negative" in sentence else "0 to 100")


@pytest.mark.parametrize(("text", "broken"), [("-1", True), ("-0", False), ("100.5", False), ("101", True)])
def test_the_ends_of_the_range_allow_for_rounding(text, broken) -> None:
    # -0 was up to 0.5; 100.5 is known to half of 0.1, and 101 to half of 1
    assert bool(rules({"AUC": text})) is (broken or text == "100.5")
    assert rules({"AUC": "100.5 "}) == ["range"]
    assert rules({"AUC": "100"}) == []


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("row", "broken"),
    [
        ({"AP": "70.0", "AP50": "69.8"}, ("AP", "AP50")),
        ({"AP": "69.9", "AP50": "69.8"}, None),  # 69.85 both
        ({"AP": "70", "AP50": "69.5"}, None),  # 69.5 … 69.55
        ({"AP": "70", "AP50": "69.4"}, ("AP", "AP50")),
        ({"AP": "50.0", "AP50": "60.0", "AP75": "70.0"}, ("AP75", "AP50")),
        ({"AP": "50.0", "AP75": "49.0", "AP90": "60.0"}, ("AP90", "AP75")),
        ({"AR": "0.93", "AR@0.5": "0.91"}, ("AR", "AR@0.5")),
        ({"body AP": "70", "foot AP50": "60"}, None),
        ({"AP": "70", "AR50": "60"}, None),
        ({"AP50": "60", "AP75": "70"}, None),  # may be millimetres
        ({"AP": "30", "AP25": "60", "AP50": "50"}, None),
        ({"AP25": "10", "AP50": "50", "AP100": "90"}, None),
        ({"AP25": "10", "AP50": "50", "AP100": "40"}, ("AP50", "AP100")),
        ({"AP25": "10", "AP50": "50", "AP99": "40"}, None),
        ({"mAP": "95", "AP100": "40"}, None),
        ({"AP25 (mm)": "60", "AP50 (mm)": "50"}, ("AP25 (mm)", "AP50 (mm)")),
        ({"AP25 (mm)": "50", "AP50 (mm)": "60"}, None),
        ({"AP": "70", "mAP": "71", "AP50": "60"}, None),  # which of the two?
        ({"AP49": "10", "AP50": "20", "AP": "5"}, None),
    ],
)
def test_thresholds(row, broken) -> None:
    found = lint([row])
    assert [finding.columns for finding in found] == ([broken] if broken else [])
    if broken:
        lower, above = broken
        assert found[0].rule == "threshold" and found[0].certain
        assert (found[0].found, found[0].expected) == (row[lower], f"{row[above]} or less")
        assert found[0].sentence == f"{lower} {row[lower]} is above {above} {row[above]}."


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("average", "broken"),
    # AP50 90.0 and AP75 60.0: from (89.95 + 5 · 59.95) / 10 = 38.97 to (90.05 + 60.05) / 2 = 75.05
    [("38.9", True), ("39.0", False), ("75.1", False), ("75.2", True)],
)
def test_the_average_lies_between(average, broken) -> None:
    found = lint([{"AP": average, "AP50": "90.0", "AP75": "60.0"}])
    assert [finding.rule for finding in found] == ["average AP"] * broken
    if broken:
        assert found[0].columns == ("AP", "AP50", "AP75") and found[0].certain
        assert (found[0].found, found[0].expected) == (average, "38.97 to 75.05")
        assert found[0].sentence == (
            f"AP {average} is no mean over thresholds from .50 to .95: AP50 90.0 and AP75 60.0 bound it to "
            "38.97 to 75.05."
        )


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("nmve", "mve", "f1", "broken"),
    [
        ("63.4", "60.9", "0.96", False),
        ("60.9", "60.9", "0.96", True),
        ("60.9", "60.9", "", False),  # F1 may be 1
        ("60.8", "60.9", "", False),  # 60.85 both
        ("60.7", "60.9", "", True),
        ("63.4", "60.9", "96", False),
        ("63.4", "60.9", "96.0%", False),
        ("60.9", "60.9", "1", False),
        ("121.8", "60.9", "1", False),  # 1 without decimals is from 0.5 to 1.5
        ("122.2", "60.9", "1", True),
        ("66.7", "60.0", "0.90", False),
        # 60 over 0.895 to 0.905: from 66.24 to 67.09
        ("66.2", "60.0", "0.90", False),
        ("66.1", "60.0", "0.90", True),
        ("67.1", "60.0", "0.90", False),
        ("67.2", "60.0", "0.90", True),
        # 0.9000 may stand for 0.885 to 0.915 where AGORA rounds: from 65.51 to 67.86
        ("65.5", "60.0", "0.9000", False),
        ("65.4", "60.0", "0.9000", True),
        ("67.9", "60.0", "0.9000", False),
        ("68.0", "60.0", "0.9000", True),
        ("65.5", "60.0", "90.00", False),
        ("65.4", "60.0", "90.00", True),
        ("65.5", "60.0", "90.0", False),
        ("65.5", "60.0", "90", True),
        ("0.0", "60.0", "0.90", False),  # no number to divide by
        ("60.0", "0.0", "0.90", False),
    ],
)
def test_f1(nmve, mve, f1, broken) -> None:
    row = {"B-NMVE": nmve, "B-MVE": mve, "F1": f1}
    assert rules(row) == ["F1"] * broken
    renamed = {"Dev NMJE": nmve, "Dev MPJPE": mve, "Dev F1": f1}
    assert rules(renamed) == ["F1"] * broken


def test_which_number_does_not_fit_f1() -> None:
    alone = only({"NMVE": "50.0", "MVE": "60.9"})
    assert alone.columns == ("NMVE", "MVE") and alone.found == "50.0"
    assert alone.expected == "60.85 or more"
    assert alone.sentence == "NMVE 50.0 should be 60.85 or more: MVE 60.9 over an F1 of at most 1."
    two = only({"NMVE": "60.9", "MVE": "60.9", "F1": "0.96"})
    assert two.columns == ("NMVE", "MVE", "F1") and two.expected == "one F1 for all"
    assert two.sentence == (
        "No F1 up to 1 fits all columns: by NMVE 60.9 and MVE 60.9 it is 0.9984 to 1.0016; "
        "by F1 0.96 it is 0.9550 to 0.9650."
    )
    f1 = only({"B-NMVE": "100.0", "B-MVE": "90.0", "B-NMJE": "80.0", "B-MPJPE": "72.0", "F1": "0.80"})
    assert f1.columns == ("F1",) and f1.found == "0.80" and f1.expected == "0.8991 to 0.9010"
    assert f1.sentence == "F1 0.80 is not the F1 of 0.8991 to 0.9010 that the other columns have."
    # 0.010 may stand for 0 to 0.0255
    none = only({"NMVE": "50.0", "MVE": "60.9", "F1": "0.010"})
    assert none.columns == ("NMVE", "MVE") and none.expected == f"{60.85 / 0.0255:.2f} or more"
    assert "over the F1 of 0.0000 to 0.0255 that the other columns have" in none.sentence
    # nothing, and less, is no F1 to divide by
    assert rules({"NMVE": "60.9", "MVE": "60.9", "F1": "0.0"}) == []
    assert rules({"NMVE": "50.0", "MVE": "60.9", "F1": "-0.05"}) == ["range", "F1"]


def test_no_f1_is_sought_where_none_belongs() -> None:
    assert rules({"A NMVE": "60.9", "B NMVE": "60", "A F1": "0.5"}) == []
    assert rules({"FB-NMVE": "100.0", "B-MVE": "60.9", "F1": "0.96"}) == []
    assert rules({"x NMVE": "60.9", "y MVE": "60.9", "x F1": "0.96"}) == []
    assert rules({"NMVE (m)": "0.0609", "MVE (mm)": "60.9", "F1": "0.96"}) == []
    assert rules({"NMVE (mm)": "60.9", "MVE": "60.9", "F1": "0.96"}) == ["F1"]
    assert rules({"NMVE (m)": "0.0609", "MVE (m)": "0.0609", "F1": "0.96"}) == ["F1"]
    assert rules({"NMVE (m)": "0.0634", "MVE (m)": "0.0609", "F1": "0.96"}) == []
    assert check([[{"F1": "0.96"}]]).checked == 2  # its range, and whether it is another row's


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("whole", "broken"),
    # 60.9 + (30.6 + 43.9 + 45.6) / 3 = 100.9333, known to 0.05 + 0.05, and the whole to 0.05
    [("100.7", True), ("100.8", False), ("101.0", False), ("101.1", True)],
)
def test_full_body(whole, broken) -> None:
    row = {"F-MVE": "30.6", "LH MVE": "43.9", "RH MVE": "45.6", "B-MVE": "60.9", "FB-MVE": whole}
    found = lint([row])
    assert [finding.rule for finding in found] == ["full body"] * broken
    if broken:
        assert found[0].columns == ("FB-MVE", "B-MVE", "LH MVE", "RH MVE", "F-MVE") and found[0].certain
        assert (found[0].found, found[0].expected) == (whole, "100.83 to 101.03")
        assert found[0].sentence == f"FB-MVE {whole} is not B + (LH + RH + F)/3, which is 100.83 to 101.03."


def test_full_body_needs_all_its_parts() -> None:
    row = {"FB-MVE": "1", "B-MVE": "60.9", "LH/RH MVE": "43.9/45.6", "F-MVE": "30.6"}
    assert rules(row) == ["full body"]
    for gone in ("FB-MVE", "B-MVE", "LH/RH MVE", "F-MVE"):
        assert rules({**row, gone: "-"}) == []
    assert rules({**row, "F-MVE": "3.06 cm"}) == ["full body"]
    assert rules({**row, "F-MVE": "3.06 cm", "B-MVE": "60.9 mm"}) == []


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("aligned", "less"),
    [("PA-MPJPE", "MPJPE"), ("PA-MPJPE", "N-MPJPE"), ("N-MPJPE", "MPJPE"), ("PA-PVE", "PVE")],
)
def test_alignment(aligned, less) -> None:
    assert rules({aligned: "50.1", less: "50.0"}) == []  # 50.05 both
    assert rules({aligned: "50.2", less: "50.0"}) == ["alignment"]
    assert rules({aligned: "40.2", less: "50.0"}) == []
    assert rules({f"B-{aligned}": "50.2", f"F-{less}": "50.0"}) == []
    assert rules({f"EHF {aligned}": "50.2", f"3DPW {less}": "50.0"}) == []
    assert rules({f"{aligned} (mm)": "50.2", f"{less} (m)": "0.1"}) == []
    assert rules({f"{aligned} (mm)": "50.2", less: "50.0"}) == ["alignment"]


def test_alignment_is_no_theorem() -> None:
    # one point of four is 4 off: the mean distance is 1 unaligned, but moved to the least squares it is 1.5
    true = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0.0]])
    told = true + np.array([[0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 4.0]])
    unaligned = np.linalg.norm(told - true, axis=1).mean()
    moved = np.linalg.norm(told - told.mean(axis=0) - true + true.mean(axis=0), axis=1).mean()
    assert (unaligned, moved) == (1, 1.5)
    assert "alignment" not in CERTAIN


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("mean", "broken"),
    # (50.0 + 61.0 + 71.0) / 3 = 60.6667, known to 0.05 as the mean itself
    [("60.5", True), ("60.6", False), ("60.7", False), ("60.8", True)],
)
def test_means(mean, broken) -> None:
    row = {"Method": "A", "Dir.": "50.0", "Eat": "61.0", "Walk": "71.0", "Avg": mean}
    found = lint([row])
    assert [finding.rule for finding in found] == ["mean"] * broken
    if broken:
        assert found[0].columns == ("Avg", "Dir.", "Eat", "Walk") and not found[0].certain
        assert (found[0].found, found[0].expected) == (mean, "60.62 to 60.72")
        assert (
            found[0].sentence
            == f"Avg {mean} is not the mean of the 3 columns before it, 60.62 to 60.72; weighted?"
        )


@pytest.mark.parametrize(
    ("row", "broken"),
    [
        ({"a": "1.0", "b": "2.0", "Mean": "9.0"}, True),
        ({"a": "1.0", "Mean": "9.0"}, False),  # of one column?
        ({"a": "1.0", "b": "-", "Mean": "9.0"}, False),
        ({"a": "-", "b": "2.0", "c": "3.0", "Mean": "9.0"}, False),
        ({"Mean": "9.0", "a": "1.0", "b": "2.0"}, False),
        ({"FPS": "30", "a": "1.0", "b": "3.0", "Mean": "2.0"}, False),
        ({"FPS": "30", "a": "1.0", "b": "3.0", "Mean": "9.0"}, True),
        ({"a": "1.0", "Params (M)": "30", "b": "3.0", "Mean": "9.0"}, False),
        ({"PCK": "90.0", "MPJPE A": "10.0", "MPJPE B": "30.0", "MPJPE avg": "20.0"}, False),
        ({"PCK": "90.0", "MPJPE A": "10.0", "MPJPE B": "30.0", "MPJPE avg": "40.0"}, True),
        ({"PCK A": "90.0", "PCK B": "80.0", "MPJPE avg": "40.0"}, False),
        ({"A": "90.0", "B": "80.0", "MPJPE avg": "40.0"}, True),
        ({"MPJPE A": "90.0", "MPJPE B": "80.0", "avg": "40.0"}, True),
        ({"MPJPE": "90.0", "PA-MPJPE": "80.0", "avg": "40.0"}, False),
        ({"a": "1.0", "b": "2.0", "Note": "x", "Mean": "9.0"}, False),
        ({"a": "1.0", "b": "3.0", "Mean": "2.0", "c": "5.0", "d": "7.0", "avg": "6.0"}, False),
        ({"a": "1.0", "b": "3.0", "Mean": "2.0", "c": "5.0", "d": "7.0", "avg": "4.0"}, True),
        ({"a": "1.0 mm", "b": "3.0 mm", "Mean": "9.0 cm"}, False),
        ({"a": "1.0 mm", "b": "3.0 m", "Mean": "9.0"}, False),
        ({"mean12": "1.0", "b": "3.0", "mean18": "9.0"}, False),
    ],
)
def test_what_a_mean_is_of(row, broken) -> None:
    assert rules(row) == ["mean"] * broken


@pytest.mark.parametrize("word", sorted(module.NOT_SCORES))
def test_columns_that_are_no_scores(word) -> None:
    assert rules({word: "100", "a": "1.0", "b": "3.0", "avg": "2.0"}) == []
    assert rules({f"x{word}": "100", "a": "1.0", "b": "3.0", "avg": "2.0"}) == ["mean"]


@pytest.mark.truth("closed form")
@pytest.mark.parametrize(
    ("name", "texts", "broken"),
    [
        ("MPJPE (mm)", ["0.056"], [0]),
        ("MPJPE (mm)", ["1.000"], []),
        ("MPJPE (mm)", ["0.999"], [0]),
        ("MPJPE (mm)", ["0.000"], []),  # of a perfect model
        ("MPJPE (m)", ["56.0"], [0]),
        ("MPJPE (m)", ["10.0"], [0]),
        ("MPJPE (m)", ["9.9"], []),
        ("MPJPE (m)", ["0.056"], []),
        ("MPJPE (cm)", ["0.5", "56.0", "70.0"], []),
        ("MPJPE", ["0.056"], []),
        ("MPJPE", ["56.0"], []),
        ("MPJPE", ["0.056", "56.1", "57.1"], [0]),
        ("MPJPE", ["0.056", "10.0", "57.1"], [0]),
        ("MPJPE", ["0.056", "9.9", "57.1"], []),
        ("MPJPE", ["0.056", "0.057", "58.0"], [2]),
        ("MPJPE", ["0.056", "0.999", "10.0"], [2]),
        ("MPJPE", ["0.056", "1.0", "10.0"], []),
        ("MPJPE", ["0.056 m", "56.1", "57.1"], []),
        ("PVE", ["0.1", "90.0", "90.0"], [0]),
        ("AP", ["0.1", "90.0", "90.0"], []),
        ("score", ["0.1", "90.0", "90.0"], []),
    ],
)
def test_units(name, texts, broken) -> None:
    rows = [{"Method": str(k) + "x", name: text} for k, text in enumerate(texts)]
    found = [finding for finding in lint(rows) if finding.rule != "decimals"]
    assert [finding.row for finding in found] == broken
    for finding in found:
        large = float(finding.found) > 1
        assert finding.rule == "unit" and not finding.certain and finding.columns == (name,)
        assert finding.expected == ("less than 10 m" if large else "1 mm or more")
        says = "is in mm, not m?" if large else "is in m, not mm?"
        assert finding.sentence == f"{name} {finding.found} {says}"


@pytest.mark.parametrize(
    ("name", "texts", "broken"),
    [
        ("MPJPE", ["50.1", "60.2", "70"], [2]),
        ("MPJPE", ["50.1", "60.25", "70.2", "80.25", "90.1"], [1, 3]),
        ("MPJPE", ["50.1", "70"], []),
        ("MPJPE", ["50.1", "60.1", "70", "80"], []),
        ("MPJPE", ["50.1"], []),
        ("MPJPE", ["50.1", "-", "60.1", "70"], [3]),
        ("Avg", ["50.1", "60.1", "70"], [2]),
        ("Params", ["50.1", "60.1", "70"], []),
    ],
)
def test_decimals(name, texts, broken) -> None:
    found = lint([{"Method": str(k) + "x", name: text} for k, text in enumerate(texts)])
    assert [(finding.row, finding.rule) for finding in found] == [(k, "decimals") for k in broken]


def test_the_words_of_decimals() -> None:
    one = lint([{"MPJPE": text} for text in ("50.1", "60.1", "70")])[0]
    assert (one.expected, one.found, one.columns, one.certain) == ("1 decimal", "70", ("MPJPE",), False)
    assert one.sentence == "MPJPE 70 has 0 decimals where the column has 1."
    two = lint([{"MPJPE": text} for text in ("50.15", "60.15", "70.1")])[0]
    assert two.expected == "2 decimals"
    assert two.sentence == "MPJPE 70.1 has 1 decimal where the column has 2."
    tables = [[{"MPJPE": text} for text in texts] for texts in (("50.1", "60.1"), ("70", "80"))]
    assert check(tables).findings == []  # each table has decimals of its own


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        (("50.1", "60.2", "70.3"), True),
        (("50.1", "60.2", "71"), False),  # two digits are often equal
        (("50.1", "60.2"), False),
        (("0.718", "0.898", "0.795"), True),
        (("0.718", "0.898", "0.079"), False),
        (("100", "200", "300"), True),
        (("-1.25", "+1.25", "1.25"), True),
        (("0.0", "0.00", "0.000"), False),
    ],
)
def test_one_duplicate(numbers, found) -> None:
    heads = ("x", "y", "z")
    rows = [{"Method": name, **dict(zip(heads, numbers, strict=False))} for name in ("A", "B")]
    assert rules(*rows) == ["duplicate"] * found
    rows[1]["Method"] = "A"
    assert rules(*rows) == []
    rows[1] = {**rows[1], "Method": "B", "x": "99.9"}
    assert rules(*rows) == []


def test_the_words_of_a_duplicate() -> None:
    numbers = {"x": "50.1", "y": "60.2/70.3"}
    finding = only(
        {"Method": "**A**", **numbers}, {"Method": "B", "x": "1", "y": "2"}, {"Method": "C", **numbers}
    )
    assert (finding.row, finding.columns) == (2, ("x", "y", "y"))
    assert finding.sentence == "The numbers are those of A, under another name."
    assert (finding.expected, finding.found) == ("numbers of its own", "the numbers of A")
    assert only(numbers, {"Method": "C", **numbers}).found == "the numbers of a row without a name"


def test_blocks_of_duplicates() -> None:
    def row(name: str, number: float) -> dict[str, str]:
        return {"Method": name, "x": f"{number:.2f}"}

    first = [row(name, k + 1) for k, name in enumerate("ABCDE")]
    # three rows with one telling number each are no chance, two are
    assert rules(*first, *(row(name, k + 1) for k, name in enumerate("FGH"))) == ["duplicate"]
    assert rules(*first, *(row(name, k + 1) for k, name in enumerate("FG"))) == []
    again = lint(
        [*first, *(row(name, number) for name, number in zip("FGHIJ", (1, 2, 9, 3, 4), strict=True))]
    )
    assert again == []  # blocks of two
    late = lint([*first, row("F", 9), row("G", 3), row("H", 4), row("I", 5)])
    assert [(f.row, f.found) for f in late] == [(6, "the numbers of C")]
    assert "3 rows" in late[0].sentence
    (many,) = lint([*first, *(row(name, k + 1) for k, name in enumerate("FGHIJ")), {"Method": "Z"}])
    assert "5 rows" in many.sentence


def test_duplicates_have_the_same_columns() -> None:
    one = {"Method": "A", "x": "50.1", "y": "60.2", "z": "70.3"}
    assert rules(one, {"Method": "B", "x": "50.1", "y": "60.2", "w": "70.3"}) == []
    assert rules(one, {"Method": "B", "x": "**50.1**", "y": "60.2", "z": "70.3"}) == ["duplicate"]
    assert rules(*({"Method": name} for name in "AB")) == []


# --- the whole -----------------------------------------------------------------------------------


def test_findings_are_in_the_order_of_the_rows() -> None:
    rows = [{"AP": "-1.0", "MPJPE": "50"}, {"AP": "70.0", "MPJPE": "50.5"}, {"AP": "700.0", "MPJPE": "60.5"}]
    assert [(f.row, f.rule) for f in lint(rows)] == [(0, "range"), (0, "decimals"), (2, "range")]


def test_what_was_checked_is_counted() -> None:
    assert check([]) == ([], 0, 0)
    assert check([[{"Method": "A", "Note": "b"}]]) == ([], 0, 1)
    row = {"MPJPE": "50.1", "PA-MPJPE": "40.1", "x": "1"}
    # ranges 2, alignment 1, units 2, duplicate 1
    assert check([[row]]).checked == 6
    # and decimals 2 in each of the rows
    assert check([[row, {**row, "x": "2"}]]).checked == 16
    assert check([[row], [{**row, "x": "2"}]]).checked == 12
    assert check([[row], [{**row, "x": "2"}]]).rows == 2


def test_columns_that_say_the_same_are_not_judged() -> None:
    assert rules({"MPJPE": "50.0", "mpjpe (mm)": "90.0", "PA-MPJPE": "80.0"}) == []
    assert rules({"MPJPE": "50.0", "MPJPE ": "-90.0"}) == ["range"]  # each may still be wrong by itself


def test_only_what_is_named_is_certain() -> None:
    assert set(RULES) > CERTAIN
    for rule in RULES:
        assert Finding(0, (), rule, "", "", "").certain is (rule in CERTAIN)
        assert RULES[rule].endswith(".")
    assert {"range", "threshold", "average AP", "F1", "full body"} == CERTAIN
    assert set(RULES) - CERTAIN == {"alignment", "mean", "unit", "decimals", "duplicate"}


def test_long_tables_do_not_take_long() -> None:
    rows = [{"Method": str(k), "MPJPE": "50.1", "PA-MPJPE": "40.1"} for k in range(500)]
    assert check([rows]).rows == 500
    wide = {f"{k} {name}": "50.1" for k in range(80) for name in ("NMVE", "MVE", "F1", "AP", "mean")}
    assert check([[wide]]).checked > 400
