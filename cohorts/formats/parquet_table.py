"""Parquet: the same table as the CSV, for data frames (needs pyarrow: ``pip install capbench[arrow]``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from cohorts.bounded import MB, NPZ_FREE, NPZ_LIMIT, NPZ_RATIO, regular_file, replacing
from cohorts.errors import CapbenchError, EnvironmentFault, RefusedError
from cohorts.formats.table_columns import from_columns, to_columns
from cohorts.recording import Markers, Motion, Signals


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise EnvironmentFault(
            "Parquet needs the package pyarrow, which is not installed.",
            fix="pip install 'capbench[arrow]', or use .csv",
        ) from error
    return pyarrow


def read(
    path: Path, *, notes: list[str] | None = None, units: Literal["deg", "rad"] | None = None
) -> Motion | Signals | Markers:
    """The motion (radians, metres), markers (metres) or signals of a .parquet file."""
    notes = [] if notes is None else notes
    pyarrow = _pyarrow()
    size = regular_file(path, NPZ_LIMIT).stat().st_size
    try:
        file = pyarrow.parquet.ParquetFile(path, memory_map=False, page_checksum_verification=True)
        heads, rows = list(file.schema_arrow.names), file.metadata.num_rows
        if len(heads) < 2 or len(heads) > 10_000:
            raise CapbenchError(f"Expected 2 to 10,000 columns, got {len(heads)}.", file=path)
        # the metadata's own byte counts can lie; rows times columns can't
        needed, allowed = rows * len(heads) * 8, max(NPZ_FREE, NPZ_RATIO * size)
        if needed > allowed:
            raise RefusedError(
                f"Expected at most {allowed // MB} MB of numbers in a file of this size, "
                f"got {rows} rows of {len(heads)} columns (a bomb?).",
                file=path,
            )
        for field in file.schema_arrow:
            if not (pyarrow.types.is_floating(field.type) or pyarrow.types.is_integer(field.type)):
                raise CapbenchError(
                    f"Expected columns of numbers, got {field.name!r} of {field.type}.", file=path
                )
        columns = [
            column.cast(pyarrow.float64()).to_numpy().astype(np.float64)
            for column in file.read(use_threads=False).columns
        ]
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CapbenchError(f"Expected a Parquet table, got: {first[:200]}.", file=path) from None
    return from_columns(heads, np.column_stack(columns), path, notes, units)


def write(
    path: Path,
    value: Motion | Signals | Markers,
    *,
    overwrite: bool = False,
    units: Literal["deg", "rad"] = "rad",
) -> None:
    """Write a motion (angles in radians unless ``units="deg"``), markers or signals, digits exact."""
    pyarrow = _pyarrow()
    heads, table = to_columns(value, path, units)
    arrays = [pyarrow.array(column) for column in np.ascontiguousarray(table.T)]
    with replacing(path, overwrite=overwrite) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(arrays, names=heads), temporary, write_page_checksum=True)
