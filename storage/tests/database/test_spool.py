from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimp.shared.errors import ConfigurationError
from kimp.storage.database.spool import HEADER_BYTES, Spool, SpoolFull

ROOM = 1 << 20


def contents(spool: Spool) -> list[bytes]:
    found, position = [], 0
    while (record := spool.read(position)) is not None:
        payload, position = record
        found.append(payload)
    return found


def test_records_come_back_in_order_after_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "rows.spool", ROOM)
    payloads = [b"one", b"", b"three" * 1000]
    for payload in payloads:
        spool.append(payload)
    first_id = spool.id
    spool.close()
    again = Spool(tmp_path / "rows.spool", ROOM)
    assert contents(again) == payloads
    assert again.id == first_id
    again.close()


@settings(deadline=None)  # a disk takes as long as it takes
@given(cut=st.integers(min_value=0, max_value=60), noise=st.binary(max_size=20))
def test_whatever_a_crash_leaves_at_the_end_only_whole_records_are_read(
    tmp_path_factory: pytest.TempPathFactory, cut: int, noise: bytes
) -> None:
    path = tmp_path_factory.mktemp("spool") / "rows.spool"
    spool = Spool(path, ROOM)
    payloads = [b"first record", b"second", b"third and last one"]
    ends = []
    for payload in payloads:
        spool.append(payload)
        ends.append(spool.size)
    spool.close()
    whole = path.read_bytes()
    left = max(HEADER_BYTES, len(whole) - cut)
    path.write_bytes(whole[:left] + noise)
    again = Spool(path, ROOM)
    kept = [payload for payload, end in zip(payloads, ends, strict=True) if end <= left]
    found = contents(again)
    assert found[: len(kept)] == kept
    again.append(b"after")
    assert contents(again) == [*found, b"after"]
    again.close()


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "rows.spool"
    spool = Spool(path, ROOM)
    spool.append(b"good")
    end = spool.size
    spool.append(b"spoiled")
    spool.close()
    content = bytearray(path.read_bytes())
    content[end + 9] ^= 1
    path.write_bytes(content)
    again = Spool(path, ROOM)
    assert contents(again) == [b"good"]
    again.close()


def test_it_never_grows_beyond_its_limit(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "rows.spool", 100)
    spool.append(b"x" * 60)
    with pytest.raises(SpoolFull):
        spool.append(b"x" * 60)
    assert contents(spool) == [b"x" * 60]
    spool.close()


def test_beginning_anew_gives_it_another_name(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "rows.spool", ROOM)
    spool.append(b"x")
    before = spool.id
    assert spool.clear(before, spool.size)
    assert spool.is_empty
    assert spool.id != before
    spool.close()


def test_what_came_in_the_meantime_is_not_cleared_away(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "rows.spool", ROOM)
    spool.append(b"replayed")
    seen = spool.size
    spool.append(b"newer")
    assert not spool.clear(spool.id, seen)
    assert not spool.clear("another", spool.size)
    assert contents(spool) == [b"replayed", b"newer"]
    spool.close()


def test_two_writers_cannot_share_a_spool(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "rows.spool", ROOM)
    with pytest.raises(ConfigurationError, match="another process writes"):
        Spool(tmp_path / "rows.spool", ROOM)
    spool.close()


def test_another_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "rows.spool").write_text("my holiday photographs")
    with pytest.raises(ConfigurationError, match="not a spool"):
        Spool(tmp_path / "rows.spool", ROOM)
    assert (tmp_path / "rows.spool").read_text() == "my holiday photographs"
