"""What is wrong with a cohort, found before anybody evaluates on it, in words.

Nothing here raises for a bad cohort: everything is a :class:`Finding` that says what was expected and found,
where, and what to try. An importer may know more of its own layout: a module in :mod:`cohorts.sources` that
has ``check(imported) -> iterable of Finding`` is asked too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cohorts.checks import people, reference, rig, videos
from cohorts.checks.findings import SEVERITIES, Finding, Report, Severity
from cohorts.formats.video import VideoInfo
from cohorts.recording import Trial
from cohorts.sources import find_source, sources
from cohorts.sources.common import natural
from cohorts.store import Imported

__all__ = ["SEVERITIES", "Finding", "Severity", "check", "worst"]


def check(
    imported: Imported,
    *,
    decode: bool = True,
    hashes: bool = True,
    jobs: int = 1,
    progress: Callable[[Trial], None] | None = None,
) -> list[Finding]:
    """Everything that is wrong or odd with a cohort, errors first.

    Parameters
    ----------
    imported : the cohort, with its root
    decode : decode every video to its end (200 to 400 frames/s); without it, videos are only looked for
    hashes : compare every file with the hash that the card holds of it
    jobs : trials that are looked at side by side; the findings are the same with any number
    progress : called with each trial when it is done
    """
    report = Report(imported)
    for note in imported.notes:
        report.add("note", "import", note, file=imported.trials_file)
    people.check_card(report)
    people.check_people(report)
    expected = _cameras_of(imported.cohort.trials)

    def look(trial: Trial) -> tuple[Report, people.Located]:
        own = Report(imported)
        located = _check_trial(own, trial, expected[trial.subject, trial.session], decode=decode)
        return own, located

    located: dict[str, people.Located] = {}
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        for trial, (own, found) in zip(
            imported.cohort.trials, pool.map(look, imported.cohort.trials), strict=True
        ):
            located[trial.key] = found
            seen = set(report.findings)
            report.findings += [finding for finding in own.findings if not _said(finding, seen)]
            if progress is not None:
                progress(trial)
    people.check_duplicates(report, located)
    if hashes:
        people.check_hashes(report)
    own_check = getattr(find_source(imported.source), "check", None) if imported.source in sources() else None
    if own_check is not None:
        report.findings += list(own_check(imported))
    return report.sorted()


def worst(findings: list[Finding]) -> Severity | None:
    """The gravest severity among ``findings``; None where there are none."""
    return next((s for s in SEVERITIES if any(f.severity == s for f in findings)), None)


def _said(finding: Finding, seen: set[Finding]) -> bool:
    """Whether a calibration that trials share was told of with an earlier one."""
    if finding.code not in ("calibration", "camera-below-floor", "camera-looks-away"):
        return False
    return any((f.code, f.file, f.message) == (finding.code, finding.file, finding.message) for f in seen)


def _cameras_of(trials: tuple[Trial, ...]) -> dict[tuple[str, str], tuple[str, ...]]:
    """(subject, session) -> the cameras to be expected: those of any trial of the session.

    Where a session has none at all, but others have, those of the others.
    """
    everyone: set[str] = set()
    per_session: dict[tuple[str, str], set[str]] = defaultdict(set)
    for trial in trials:
        per_session[trial.subject, trial.session] |= set(trial.videos)
        everyone |= set(trial.videos)
    return {key: tuple(sorted(own or everyone, key=natural)) for key, own in per_session.items()}


def _check_trial(report: Report, trial: Trial, expected: tuple[str, ...], *, decode: bool) -> people.Located:
    """All that concerns one trial alone."""
    card = report.imported.card
    located = people.locate(report, trial)
    videos.check_cameras(report, trial, expected)
    calibrations = _of(located, "calibrations")
    cameras = rig.check_rig(report, trial, calibrations, card.cameras)
    films = _of(located, "videos")
    infos: dict[str, VideoInfo] = {}
    if decode:
        infos = videos.check_videos(report, trial, films, cameras)
        keypoints = {
            at[1].partition(":")[2]: path
            for at, path in located.items()
            if at[0] == "extras" and at[1].startswith("keypoints:")
        }
        videos.check_offsets(report, trial, films, infos, keypoints)
    if not (trial.markers or trial.motion or "keypoints" in trial.extras) and card.reference.kind != "none":
        report.add(
            "warning",
            "no-reference",
            f"Expected a reference ({card.reference.kind}) as the card says, got none.",
            trial=trial,
            fix="add it, or leave the trial out",
        )
    reference.check_reference(report, trial, located, infos)
    return located


def _of(located: people.Located, what: str) -> dict[str, Path]:
    return {at[1]: path for at, path in located.items() if at[0] == what}
