"""``capbench lint``: reading tables, and telling what does not fit in them."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from capbench.cli.lint import COLUMNS, LIMIT, read
from capbench.cli.main import cli
from cohorts.errors import CapbenchError


def run(*words: object):
    return CliRunner(env={"COLUMNS": "100"}).invoke(cli, ["lint", *map(str, words)])


def written(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


# AiOS (Sun et al. 2024) on AGORA-val, as its README has it: B-NMVE is a copy of B-MVE
AIOS = """Data,FB-NMVE,B-NMVE,FB-NMJE,B-NMJE,FB-MVE,B-MVE,F-MVE,LH/RH MVE,FB-MPJPE,B-MPJPE
AGORA-Test,102.9,63.4,100.7,62.5,98.8,60.9,27.7,42.5/43.4,96.7,60.0
AGORA-Val,105.1,60.9,102.2,61.4,100.9,60.9,30.6,43.9/45.6,98.1,58.9
"""


def test_a_published_table(tmp_path) -> None:
    path = written(tmp_path, AIOS)
    result = run(path)
    assert result.exit_code == 1
    first, must, *finding = result.stdout.splitlines()
    assert re.fullmatch(rf"{re.escape(str(path))}: 1 finding; checked \d+ relations in 2 rows", first)
    assert must.strip().startswith("NMVE·F1 = MVE") and "Worth a look" not in must
    told = " ".join(" ".join(finding).split())
    assert told.startswith("line 3, AGORA-Val: B-NMVE 60.9 should be 63.33 to 63.55: ")


def test_json(tmp_path) -> None:
    path = written(tmp_path, AIOS)
    result = run(path, "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    checked = told.pop("checked")
    assert checked == int(re.search(r"checked (\d+)", run(path).stdout)[1]) > 40
    (finding,) = told.pop("findings")
    assert told == {"file": str(path), "rows": 2}
    assert "B-MVE 60.9" in finding.pop("sentence")
    assert finding == {
        "line": 3,
        "row": 2,
        "columns": ["B-NMVE", "B-MVE"],
        "rule": "F1",
        "certain": True,
        "expected": "63.33 to 63.55",
        "found": "60.9",
    }


def test_a_table_that_is_right(tmp_path) -> None:
    path = written(tmp_path, AIOS.replace("105.1,60.9", "105.1,63.4"))
    result = run(path)
    assert result.exit_code == 0
    assert re.fullmatch(
        rf"{re.escape(str(path))}: nothing found; checked \d+ relations in 2 rows\n", result.stdout
    )
    told = json.loads(run(path, "--json").stdout)
    assert told["findings"] == [] and told["rows"] == 2


README = """# Results

On H36M

| Config | 3DPW |
|:------:|-----:|
| [A](a_h36m.py) | 105.42 / 60.11 |
| [B](b_h36m.py) | 112.46 / 64.55 |

On COCO: a | b

Config | 3DPW MPJPE/PA-MPJPE | Note
---|:---|---
[A](a_coco.py) | 105.42 / 60.11 | a \\| b
[C](c_coco.py) | 50.42 / 60.11
---|---|---
D | 70.42 / 60.11 | x | y

Text.
"""


def test_pipe_tables(tmp_path) -> None:
    path = written(tmp_path, README, "README.md")
    first, second = read(path)
    assert first.lines == [7, 8] and second.lines == [14, 15, 16, 17]
    assert first.rows[1] == {"Config": "[B](b_h36m.py)", "3DPW": "112.46 / 64.55"}
    assert second.rows[0]["Note"] == "a \\| b"
    assert second.rows[1] == {"Config": "[C](c_coco.py)", "3DPW MPJPE/PA-MPJPE": "50.42 / 60.11", "Note": ""}
    assert second.rows[3] == {"Config": "D", "3DPW MPJPE/PA-MPJPE": "70.42 / 60.11", "Note": "x"}
    result = run(path)
    assert result.exit_code == 1
    assert "An error after more alignment is not larger. Worth a look:" in result.stdout
    assert "line 15, C: 3DPW PA-MPJPE 60.11 is above 3DPW MPJPE 50.42" in result.stdout
    assert "1 finding;" in result.stdout and "in 6 rows" in result.stdout


def test_findings_stand_below_their_rule(tmp_path) -> None:
    path = written(
        tmp_path, "Method,AP,AP50\nA,-1.0,70.0\nB,80.0,70.0\nC,700.0,70.0\n1,60.0,70\n,60.0,70.0\n"
    )
    result = run(path)
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert lines[1:] == [
        "Errors are not negative, and shares lie within 0 and 100.",
        "line 2, A: AP -1.0 is negative.",
        "line 4, C: AP 700.0 is above 100 %.",
        "AP and AR fall as more overlap is asked for, and rise with the distance allowed.",
        "line 3, B: AP 80.0 is above AP50 70.0.",
        "line 4, C: AP 700.0 is above AP50 70.0.",
        "A column has one number of decimals. Worth a look:",
        "line 5: AP50 70 has 0 decimals where the column has 1.",
    ]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Method,MPJPE,PA-MPJPE\nA,50.1,60.1\n", "a.csv"),
        ("\ufeffMethod,MPJPE,PA-MPJPE\r\nA,50.1,60.1\r\n", "a.csv"),
        ("Method;MPJPE;PA-MPJPE\nA, B;50.1;60.1\n", "a.csv"),
        ("Method\tMPJPE\tPA-MPJPE\nA, B\t50.1\t60.1\n", "a.tsv"),
        ('\nMethod, MPJPE, PA-MPJPE\n\n"A, ""B""", 50.1, "60.1"\n , ,\n', "a.txt"),
        ("|Method|MPJPE|PA-MPJPE|\n|-|-|-|\n|A|50.1|60.1|\n", "a.csv"),
        ("Method | MPJPE | PA-MPJPE\n --- | :-: | --- \nA | 50.1 | 60.1", "a.markdown"),
    ],
)
def test_kinds_of_tables(tmp_path, text, name) -> None:
    result = run(written(tmp_path, text, name))
    assert result.exit_code == 1, result.output
    assert "PA-MPJPE 60.1 is above MPJPE 50.1" in " ".join(result.stdout.split())


def test_lines_are_those_of_the_file(tmp_path) -> None:
    path = written(tmp_path, 'Method,AUC\n"A\nB",50\n\nC,101\n')
    assert "line 5, C: AUC 101" in run(path).stdout


def test_columns_that_stand_there_again(tmp_path) -> None:
    path = written(tmp_path, "Method,B,MPJPE,B,MPJPE,B (2),,\nA,1,50,2,60,3,4,5\n")
    (table,) = read(path)
    assert list(table.rows[0]) == ["Method", "B", "MPJPE", "B (2)", "MPJPE (2)", "B (2) (2)", "", " (2)"]
    assert list(table.rows[0].values()) == ["A", "1", "50", "2", "60", "3", "4", "5"]
    again = written(tmp_path, "B (2),B,B,B\n1,2,3,4\n")
    (table,) = read(again)
    assert list(table.rows[0]) == ["B (2)", "B", "B (3)", "B (4)"]


def test_columns_of_which_none_is_known(tmp_path) -> None:
    said = "No column has a name that is known"
    result = run(written(tmp_path, "Method,Speed,LH/RH\nA,1.0,2/3\n"))
    assert result.exit_code == 0 and said in result.stdout
    for known in ("AP50", "avg", "LH/RH MVE", "MPJPE/PA"):
        result = run(written(tmp_path, f"Method,{known}\nA,1.0\n"))
        assert result.exit_code == 0 and said not in result.stdout
    assert said not in run(written(tmp_path, "|MPJPE|\n|---|\n", "a.md")).stdout


@pytest.mark.parametrize(
    ("text", "name", "problem", "line"),
    [
        ("Method,AP\nA,1\nB\n", "a.csv", "Expected 2 cells as in the headings, got 1.", 3),
        ("Method,AP\nA,1,2\n", "a.csv", "Expected 2 cells as in the headings, got 3.", 2),
        ('Method,AP\n"A"x,1\n', "a.csv", "Expected CSV, got: ", 2),
        ('Method,AP\nA,1\n"B,1\n', "a.csv", "Expected CSV, got: ", None),
        ("Method,AP\nA," + "1" * 200_000 + "\n", "a.csv", "Expected CSV, got: field larger", 2),
        ("", "a.csv", "Expected a line of headings and rows below it.", None),
        ("Method,AP\n", "a.csv", "Expected a line of headings and rows below it.", None),
        ("no table\n", "a.md", "Expected a pipe table", None),
        ("a|b\n", "a.MD", "Expected a pipe table", None),
        ("a" + "," * COLUMNS + "\n", "a.csv", "Expected at most 1000 columns, got 1001.", 1),
        ("x\n" + "|" * (COLUMNS + 1) + "x|\n|-|\n", "a.md", "Expected at most 1000 columns, got 1001.", 2),
        ("a\0b\n", "a.csv", "Expected text, got a binary file.", None),
    ],
)
def test_files_that_are_no_tables(tmp_path, text, name, problem, line) -> None:
    path = written(tmp_path, text, name)
    result = run(path)
    assert result.exit_code == 2 and result.stdout == "" and "Traceback" not in result.stderr
    assert problem in result.stderr and str(path) in result.stderr
    with pytest.raises(CapbenchError) as caught:
        list(read(path))
    assert line is None or caught.value.line == line
    assert json.loads(run(path, "--json").stdout)["error"]["exit_code"] == 2


def test_most_columns(tmp_path) -> None:
    heads = ",".join(f"c{k}" for k in range(COLUMNS))
    assert run(written(tmp_path, f"{heads}\n{heads}\n")).exit_code == 0


def test_files_out_of_bounds(tmp_path) -> None:
    big = written(tmp_path, "x" * (LIMIT + 1))
    assert run(big).exit_code == 4 and LIMIT == 4 << 20
    assert run(tmp_path / "none.csv").exit_code == 2
    assert run(tmp_path).exit_code == 2


def test_a_hostile_file_does_not_take_long(tmp_path) -> None:
    assert run(written(tmp_path, "|-|\n" * 20_000, "a.md")).exit_code == 0
    assert run(written(tmp_path, "|" + " " * 50_000 + "\n|" + "-" * 50_000 + "\n", "b.md")).exit_code == 2
    assert run(written(tmp_path, "|a|" + "\n|" + " -" * 20_000 + "\n", "c.md")).exit_code == 2
    same = ",".join(["a"] * COLUMNS)
    assert run(written(tmp_path, f"{same}\n{same}\n")).exit_code == 0


def test_names_cannot_steer_the_terminal(tmp_path) -> None:
    result = run(written(tmp_path, "Method,\x1b[2J AUC\nA\x1b[31m,101\n"))
    assert "\x1b" not in result.stdout and "AUC 101 is above" in result.stdout
