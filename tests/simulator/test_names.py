"""The name space, its error numbers, and user-defined attributes.  (Items 9 and 10.)"""

from __future__ import annotations

import os
from typing import Any

import pytest
from hpss_simulator import Archive

from .clients import Client

ENOENT, EEXIST, EXDEV, ENOTDIR, EISDIR, EINVAL, EFAULT = -2, -17, -18, -20, -21, -22, -14
OTHER_FILESET = 2


def rename(client: Client, old: str, new: str) -> int:
    return int(client.sdk.Rename(old.encode(), new.encode()))


def test_a_rename_replaces_what_is_there(client: Client, archive: Archive) -> None:
    client.put("/old", b"old")
    client.put("/new", b"new")
    assert rename(client, "/new", "/old") == 0
    assert client.get("/old") == b"new"
    assert client.names("/") == ["old"]
    assert sum(1 for _ in (archive.directory / "data").iterdir()) == 1


def test_what_is_replaced_can_still_be_read_by_who_has_it_open(client: Client, archive: Archive) -> None:
    client.put("/old", b"old")
    client.put("/new", b"new")
    descriptor = client.open("/old", os.O_RDONLY)
    assert rename(client, "/new", "/old") == 0
    assert client.read(descriptor, 10) == b"old"
    assert client.sdk.Close(descriptor) == 0


def test_a_rename_keeps_directories_and_files_apart(client: Client, archive: Archive) -> None:
    for path in ("/d", "/d/inner", "/full", "/full/f", "/empty"):
        assert client.sdk.Mkdir(path.encode(), 0o700) == 0
    client.put("/f", b"")
    assert rename(client, "/f", "/d") == EISDIR
    assert rename(client, "/d", "/f") == ENOTDIR
    assert rename(client, "/d", "/d/inner/below") == EINVAL
    assert rename(client, "/d", "/full") == -87
    assert rename(client, "/d", "/empty") == 0
    assert client.names("/empty") == ["inner"]
    assert rename(client, "/missing", "/x") == ENOENT
    assert rename(client, "/f", "/missing/x") == ENOENT


def test_a_rename_does_not_leave_its_fileset(client: Client, archive: Archive) -> None:
    archive.mkdir("/other", fileset=OTHER_FILESET)
    client.put("/f", b"")
    client.put("/other/g", b"")
    assert rename(client, "/f", "/other/f") == EXDEV
    assert client.sdk.Link(b"/f", b"/other/f") == EXDEV
    assert rename(client, "/other/g", "/other/h") == 0


@pytest.mark.parametrize(("style", "not_empty", "too_long"), [("aix", -87, -86), ("linux", -39, -36)])
def test_two_systems_of_numbers(client: Client, archive: Archive, style: str, not_empty: int, too_long: int) -> None:
    archive.set("errno_style", style)
    assert client.sdk.Mkdir(b"/d", 0o700) == 0
    client.put("/d/f", b"")
    assert client.sdk.Rmdir(b"/d") == not_empty
    assert client.stat("/" + "n" * 256) == too_long
    assert client.stat("/d" * 600) == too_long
    assert client.sdk.Mkdir(("/" + "n" * 255).encode(), 0o700) == 0
    assert client.stat("/missing") == ENOENT  # below 35 they agree


def test_codes_have_names(client: Client) -> None:
    names = {-5: b"HPSS_EIO", -28: b"HPSS_ENOSPACE", -50: b"HPSS_ECONN", -12345: b"unknown error code"}
    assert {code: client.ffi.string(client.sdk.ErrnoName(code)) for code in names} == names
    assert client.ffi.string(client.sdk.ErrnoString(-28)) == b"no space left"


def test_arguments_that_cannot_be_right(client: Client, archive: Archive) -> None:
    null = client.ffi.NULL
    assert client.stat("") == ENOENT
    assert client.sdk.Stat(b"/", null) == EFAULT
    assert client.sdk.Stat(null, client.sdk.new("hpss_stat_t")) == EFAULT
    assert client.open("/", os.O_RDONLY) == EISDIR
    assert client.sdk.Opendir(b"/missing") == ENOENT
    client.put("/f", b"")
    assert client.sdk.Opendir(b"/f") == ENOTDIR
    assert client.stat("/f/x") == ENOTDIR
    assert client.stat("/f/") == ENOTDIR
    assert client.open("/f", os.O_WRONLY | os.O_CREAT | os.O_EXCL) == EEXIST
    assert client.sdk.Unlink(b"/") == EISDIR
    assert client.sdk.Mkdir(b"/", 0o700) == EEXIST


def test_links(client: Client, archive: Archive) -> None:
    assert client.sdk.Mkdir(b"/d", 0o700) == 0
    client.put("/d/f", b"content")
    assert client.sdk.Symlink(b"d/../d/f", b"/soft") == 0
    assert client.sdk.Symlink(b"/loop", b"/loop") == 0
    assert client.get("/soft") == b"content"
    assert client.stat("/loop") == -85
    status = client.sdk.new("hpss_stat_t")
    assert client.sdk.Lstat(b"/soft", status) == 0
    assert (status.st_mode & 0o170000, status.st_size) == (0o120000, 8)
    buffer = client.ffi.new("char[]", 100)
    assert client.sdk.Readlink(b"/soft", buffer, 100) == 8
    assert client.ffi.string(buffer) == b"d/../d/f"
    assert client.sdk.Readlink(b"/soft", buffer, 7) == -34
    assert client.sdk.Readlink(b"/d/f", buffer, 100) == EINVAL
    assert client.sdk.Link(b"/d/f", b"/hard") == 0
    assert client.stat("/hard").st_nlink == 2
    assert client.sdk.Unlink(b"/d/f") == 0
    assert client.get("/hard") == b"content"
    assert client.stat("/soft") == ENOENT
    assert client.sdk.Unlink(b"/hard") == 0
    assert list((archive.directory / "data").iterdir()) == []


def test_a_listing_has_every_name_once_however_many_there_are(client: Client, archive: Archive) -> None:
    archive.populate(600, 1, prefix="/many")
    names = client.names("/many")
    assert len(names) == len(set(names)) == 600


def test_a_listing_ends_with_an_empty_name_and_starts_again(client: Client, archive: Archive) -> None:
    client.put("/f", b"")
    descriptor = client.sdk.Opendir(b"/")
    entry = client.sdk.new("hpss_dirent_t")

    def rest() -> list[bytes]:
        found = []
        while client.sdk.Readdir(descriptor, entry) == 0 and entry.d_namelen:
            found.append(client.ffi.string(entry.d_name))
        return found

    assert rest() == [b".", b"..", b"f"]
    assert rest() == []
    assert client.sdk.Rewinddir(descriptor) == 0
    assert rest() == [b".", b"..", b"f"]
    assert client.sdk.Read(descriptor, client.ffi.new("char[]", 1), 1) == -9  # it is no file
    assert client.sdk.Closedir(descriptor) == 0


def test_mode_owner_and_times(client: Client, archive: Archive) -> None:
    client.put("/f", b"")
    assert client.sdk.Chmod(b"/f", 0o444) == 0
    assert client.sdk.Chown(b"/f", 7, 8) == 0
    times = client.ffi.new("struct utimbuf *", {"actime": 11, "modtime": 2**32 - 1})
    assert client.sdk.Utime(b"/f", times) == 0
    status = client.stat("/f")
    assert (status.st_mode, status.st_uid, status.st_gid) == (0o100444, 7, 8)
    assert (status.hpss_st_atime, status.hpss_st_mtime) == (11, 2**32 - 1)
    times.modtime = 2**32  # no room for it in the library's times
    assert client.sdk.Utime(b"/f", times) == EINVAL
    attributes = client.sdk.new("hpss_fileattr_t")
    assert client.sdk.FileGetAttributes(b"/f", attributes) == 0
    stamps = [client.ffi.new("timestamp_sec_t *") for _ in range(3)]
    client.sdk.API_ConvertTimeToPosixTime(client.ffi.addressof(attributes.Attrs), *stamps)
    assert [stamp[0] for stamp in stamps][:2] == [11, 2**32 - 1]


def test_selected_attributes_can_be_set(client: Client, archive: Archive) -> None:
    client.put("/f", b"")
    wanted = client.sdk.new("hpss_fileattr_t")
    wanted.Attrs.Comment = b"0000A1B2"
    wanted.Attrs.FamilyId = 5
    selected = 1 << client.sdk.CORE_ATTR_COMMENT
    assert client.sdk.FileSetAttributes(b"/f", selected, wanted, client.ffi.NULL) == 0
    found = client.sdk.new("hpss_fileattr_t")
    assert client.sdk.FileGetAttributes(b"/f", found) == 0
    assert (client.ffi.string(found.Attrs.Comment), found.Attrs.FamilyId) == (b"0000A1B2", 0)


def test_an_owner_that_is_no_superuser_is_held_to_modes(client: Client, archive: Archive) -> None:
    assert client.sdk.Mkdir(b"/d", 0o700) == 0
    assert client.sdk.Chown(b"/d", 300, 300) == 0
    archive.set("principal_uid", 300)
    client.put("/d/f", b"content")
    assert client.sdk.Chmod(b"/d/f", 0o444) == 0
    assert client.open("/d/f", os.O_WRONLY) == -13
    assert client.get("/d/f") == b"content"
    assert client.sdk.Mkdir(b"/refused", 0o700) == -13
    assert client.sdk.Unlink(b"/d/f") == 0


def chomp(client: Client, value: str | int) -> str:
    assert isinstance(value, str)
    text = client.sdk.ChompXMLHeader(client.ffi.new("char[]", value.encode()), client.ffi.NULL)
    found = client.ffi.string(text).decode()
    client.free(text)
    return str(found)


def test_attributes_come_back_behind_an_xml_header(client: Client, archive: Archive) -> None:
    client.put("/f", b"")
    assert client.set_attributes("/f", algorithm="md5", state="Valid") == 0
    value = client.get_attribute("/f", "/hpss/user/algorithm")
    assert isinstance(value, str)
    assert value.startswith("<?xml")
    assert chomp(client, value) == "md5"
    assert client.set_attributes("/f", state="Invalid") == 0
    assert chomp(client, client.get_attribute("/f", "/hpss/user/state")) == "Invalid"
    assert client.sdk.ChompXMLHeader(client.ffi.new("char[]", b""), client.ffi.NULL) == client.ffi.NULL


def test_a_missing_attribute_and_a_missing_file_look_alike(client: Client, archive: Archive) -> None:
    client.put("/f", b"")
    assert client.get_attribute("/f", "/hpss/user/missing") == ENOENT
    assert client.get_attribute("/missing", "/hpss/user/missing") == ENOENT
    assert client.set_attributes("/missing", key="value") == ENOENT
    assert client.get_attribute("/f", "/user/key") == EINVAL  # not below /hpss


def test_attributes_are_listed_deleted_and_go_with_the_file(client: Client, archive: Archive) -> None:
    client.put("/f", b"")
    assert client.set_attributes("/f", one="1", two="2") == 0
    assert listed(client) == {"/hpss/user/one": "1", "/hpss/user/two": "2"}
    keys = client.ffi.new("hpss_userattr_t[]", 1)
    key = client.ffi.new("char[]", b"/hpss/user/one")
    keys[0].Key = key
    chosen = client.sdk.new("hpss_userattr_list_t", len=1, Pair=keys)
    assert client.sdk.UserAttrDeleteAttrs(b"/f", chosen, client.ffi.NULL) == 0
    assert client.sdk.UserAttrDeleteAttrs(b"/f", chosen, client.ffi.NULL) == ENOENT
    assert listed(client) == {"/hpss/user/two": "2"}
    assert client.sdk.Unlink(b"/f") == 0
    client.put("/f", b"")
    assert listed(client) == {}


def listed(client: Client) -> dict[str, str]:
    """All attributes of C{/f}, every allocation given back."""
    found = client.sdk.new("hpss_userattr_list_t")
    length = [client.sdk.HPSS_XML_SIZE] if client.sdk.has_newer_shape else []
    assert client.sdk.UserAttrListAttrs(b"/f", found, client.sdk.XML_NO_ATTR, *length) == 0
    pairs: dict[str, str] = {}
    for pair in found.Pair[0 : found.len]:
        key: Any = client.ffi.string(pair.Key).decode()
        pairs[key] = chomp(client, client.ffi.string(pair.Value).decode())
        client.free(pair.Key)
        client.free(pair.Value)
    client.free(found.Pair)
    return pairs


def test_a_site_may_have_no_attributes(client: Client, archive: Archive) -> None:
    client.put("/f", b"")
    archive.set("user_attributes", "off")
    assert client.set_attributes("/f", one="1") == -64
