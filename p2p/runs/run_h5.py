"""Keeps run.h5 up to date with the journal, without reading the whole journal each time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p.core.config import TrainConfig
from p2p.core.errors import BadArtefact
from p2p.core.platform import release_memory
from p2p.core.reading import DAMAGE
from p2p.runs.files import write_atomically
from p2p.runs.journal import Journal, Mark

if TYPE_CHECKING:
    from p2p.runs.columns import Columns

FileId = tuple[int, int, int]


class RunH5:
    """The file run.h5, replaced as a whole; `p2p.runs.hdf5` describes it.

    What this process has written itself is the start of the next version: of the journal only the
    records since are read. Anything else is not relied on, and built anew.

    Args:
        path: the run folder.
        journal: of the run.
    """

    def __init__(self, path: Path, journal: Journal) -> None:
        self.path, self.journal = path / "run.h5", journal
        self._written: FileId | None = None
        self._mark = Mark()  # how far into the journal

    @property
    def rows(self) -> int:
        """Iterations that it has, as far as this process has written it."""
        return self._mark.lines

    def forget(self) -> None:
        """Build it from the whole journal the next time: earlier records have changed."""
        self._written, self._mark = None, Mark()

    def write(self, config: TrainConfig, versions: Mapping[str, Any]) -> None:
        """Write it anew with all of the journal's records.

        Raises:
            NoRoom: the disk is full or cannot be written; the earlier run.h5 is intact.
            BadArtefact: the journal is damaged.
        """
        data, mark = self._encoded(config, versions)
        write_atomically(self.path, data, "run.h5")
        self._written, self._mark = _file_id(self.path), mark
        del data
        release_memory()  # a few hundred bytes an iteration, else kept until the next time

    def _encoded(self, config: TrainConfig, versions: Mapping[str, Any]) -> tuple[bytes, Mark]:
        """Return the file's next version, and its place in the journal."""
        from p2p.envs.units import unit  # brings MuJoCo, and h5py: reading a run needs neither
        from p2p.runs.hdf5 import encode_run

        attributes = {"config": config.model_dump_json(), "versions": json.dumps(versions)}
        units = {factor.name: unit(factor) for factor in config.randomisation}
        try:
            columns, mark = self._columns(config.num_peers)
            for record, end in self.journal.stream_from(mark):
                columns.add(record)
                mark = end
            return encode_run(columns, attributes, units), mark
        except MemoryError:
            raise
        except DAMAGE as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise BadArtefact(f"{self.journal.path} is damaged: {reason}; restore it") from None

    def _columns(self, num_peers: int) -> tuple[Columns, Mark]:
        """Return what the file has, if this process has written it, and how far that goes."""
        import h5py

        from p2p.runs.columns import Columns

        if self._written is not None and self._written == _file_id(self.path):
            # Without HDF5's lock, which some file systems lack
            with (
                suppress(OSError, RuntimeError, *DAMAGE),
                h5py.File(self.path, "r", locking=False) as file,
            ):
                return Columns.of(file, num_peers), self._mark
        return Columns(num_peers), Mark()


def _file_id(path: Path) -> FileId | None:
    """Return what tells a file from one that has replaced it; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
