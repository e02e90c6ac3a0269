"""Whatever bit of a file is flipped, it is noticed."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.damage import damaged

from peclip_fast.digests import read_zip, seal_zip
from peclip_fast.errors import InputError


def numpys() -> io.BytesIO:
    file = io.BytesIO()
    np.savez_compressed(file, points=np.arange(1000.0))
    return file


def torchs() -> io.BytesIO:
    file = io.BytesIO()
    torch.save({"weight": torch.arange(1000.0)}, file)
    return file


@pytest.mark.parametrize("make", [numpys, torchs])
class TestZip:
    def test_others_read_it_still(self, tmp_path: Path, make) -> None:
        file = make()
        plain = file.getvalue()
        seal_zip(file)
        (tmp_path / "file").write_bytes(file.getvalue())
        read = read_zip(tmp_path / "file")
        assert read.getvalue().startswith(plain[:-2])
        assert zipfile.ZipFile(read).testzip() is None
        if make is torchs:
            loaded = torch.load(tmp_path / "file", weights_only=True)["weight"]
            assert torch.equal(loaded, torch.arange(1000.0))
        else:
            assert np.array_equal(np.load(tmp_path / "file")["points"], np.arange(1000.0))

    def test_damage(self, tmp_path: Path, make) -> None:
        file, path = make(), tmp_path / "file"
        seal_zip(file)
        for data in damaged(file.getvalue(), 300):
            path.write_bytes(data)
            with pytest.raises(InputError, match=f"^{path}: (damaged|has no digest): "):
                read_zip(path)

    def test_without_a_digest(self, tmp_path: Path, make) -> None:
        (tmp_path / "file").write_bytes(make().getvalue())
        with pytest.raises(InputError, match="damaged, or another program wrote it"):
            read_zip(tmp_path / "file")

    def test_a_comment_would_be_lost(self, make) -> None:
        file = make()
        seal_zip(file)
        with pytest.raises(ValueError, match="comment"):
            seal_zip(file)
