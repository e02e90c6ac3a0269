"""The tables of many videos as Parquet: a folder for each table, a file for each shard.

`pandas.read_parquet("out/frames")` and the like read all shards of a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peclip_fast.analyze.tables import CLASS, COLUMNS
from peclip_fast.archive.account import Account, shard_name
from peclip_fast.archive.listing import extra
from peclip_fast.errors import InputError, one_line
from peclip_fast.files import beside, is_partial

SOURCE = "source"
_WHOLE = ("frame", "track", "success", "window", "first_frame", "last_frame", "frames", "windows",
          "speech")  # fmt: skip


class ShardWriter:
    """Writes the shards of an account.

    Args:
        account: knows what is done.
        classes: of the model.
        speech: whether frames.csv has the column.

    Raises:
        InputError: pyarrow isn't installed.
    """

    def __init__(self, account: Account, classes: Sequence[str], speech: bool) -> None:
        self._account, self._arrow = account, extra("pyarrow")
        self._parquet, self._csv = extra("pyarrow.parquet"), extra("pyarrow.csv")
        self._columns = {
            table: (*columns, *(f"{CLASS}{name}" for name in classes))
            for table, columns in COLUMNS.items()
        }
        if speech:
            self._columns["frames.csv"] += ("speech",)
        for table in COLUMNS:
            folder = account.output / Path(table).stem
            folder.mkdir(exist_ok=True)
            for path in filter(is_partial, folder.iterdir()):  # of a process that was killed
                path.unlink()

    def write(self, shard: int) -> None:
        """Write a shard's files, each beside its place first.

        Raises:
            InputError: a video's tables are damaged; names the file.
        """
        videos = self._account.done_in(shard)
        for table in COLUMNS:
            folder = self._account.output / Path(table).stem
            with beside(folder / f"{shard_name(shard)}.parquet") as file:
                self._write(file, table, videos)
        self._account.wrote(shard)

    def _write(self, file: Path, table: str, videos: Sequence[tuple[str, Path]]) -> None:
        arrow, kinds = self._arrow, self._kinds(table)
        # Without its order in the dictionary, each source would be written out in each row.
        fields = [(SOURCE, arrow.dictionary(arrow.int32(), arrow.string())), *kinds.items()]
        schema = arrow.schema(fields)
        with self._parquet.ParquetWriter(file, schema, compression="zstd") as writer:
            for source, folder in videos:
                rows = self._read(folder / table, kinds)
                printed = source.encode(errors="backslashreplace").decode()
                named = arrow.array([printed] * len(rows), arrow.string()).dictionary_encode()
                whole = rows.add_column(0, SOURCE, named).cast(schema)
                writer.write_table(whole)

    def _read(self, path: Path, kinds: dict[str, Any]) -> Any:
        options = self._csv.ConvertOptions(
            column_types=kinds, include_columns=list(kinds), strings_can_be_null=True,
            null_values=[""], quoted_strings_can_be_null=False,
        )  # fmt: skip
        try:
            return self._csv.read_csv(path, convert_options=options)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{path}: can't be read ({one_line(error)}); remove its folder, and the same "
                "command analyzes the video anew"
            ) from None

    def _kinds(self, table: str) -> dict[str, Any]:
        whole, real, text = self._arrow.int64(), self._arrow.float64(), self._arrow.string()
        return {
            name: whole if name in _WHOLE else text if name == "prediction" else real
            for name in self._columns[table]
        }
