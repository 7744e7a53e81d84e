"""Call SAM's own library, C{libsam}, by ctypes: C{sam_stage(3)}, C{sam_cancelstage(3)} and C{sam_stat(3)}.

It is installed on hosts that run SAM, and reports about a file what the sideband database does not: that it is being
staged, that the last stage failed, that no good copy is left.  All its calls block.
"""

from __future__ import annotations

import ctypes
import os

_LIBRARY = "libsam.so"

_STAGE_NOW = b"i"


class _Copy(ctypes.Structure):
    """C{struct sam_copy_s} in its 64-bit form."""

    _fields_ = (
        ("position", ctypes.c_uint64),
        ("creation_time", ctypes.c_int64),
        ("offset", ctypes.c_uint32),
        ("flags", ctypes.c_uint16),
        ("n_vsns", ctypes.c_int16),
        ("media", ctypes.c_char * 4),
        ("vsn", ctypes.c_char * 32),
    )


class _Stat(ctypes.Structure):
    """C{struct sam_stat} as it is on Linux."""

    _fields_ = (
        ("st_mode", ctypes.c_uint32),
        ("st_ino", ctypes.c_uint32),
        ("st_dev", ctypes.c_uint16),
        ("st_nlink", ctypes.c_uint32),
        ("st_uid", ctypes.c_uint32),
        ("st_gid", ctypes.c_uint32),
        ("st_size", ctypes.c_uint64),
        ("st_atime", ctypes.c_int64),
        ("st_mtime", ctypes.c_int64),
        ("st_ctime", ctypes.c_int64),
        ("attribute_time", ctypes.c_int64),
        ("creation_time", ctypes.c_int64),
        ("residence_time", ctypes.c_int64),
        ("copy", _Copy * 4),
        ("old_attr", ctypes.c_uint32),
        ("cs_algo", ctypes.c_uint8),
        ("flags", ctypes.c_uint8),
        ("stripe_width", ctypes.c_uint8),
        ("stripe_group", ctypes.c_uint8),
        ("gen", ctypes.c_uint32),
        ("partial_size", ctypes.c_uint32),
        ("rdev", ctypes.c_uint16),
        ("st_blocks", ctypes.c_uint64),
        ("segment_size", ctypes.c_uint32),
        ("segment_number", ctypes.c_uint32),
        ("stage_ahead", ctypes.c_uint32),
        ("admin_id", ctypes.c_uint32),
        ("allocahead", ctypes.c_uint32),
        ("obj_depth", ctypes.c_uint32),
        ("cs_val", ctypes.c_uint64 * 2),
        ("rperiod_start_time", ctypes.c_int64),
        ("rperiod_duration", ctypes.c_uint32),
        ("projid", ctypes.c_int32),
        ("attr", ctypes.c_uint64),
    )


_STAGE_NEVER = 0x8
_DAMAGED = 0x10
_PARTIAL = 0x4000
_OFFLINE = 0x8000
_STAGING = 0x1
_STAGE_FAILED = 0x2


class LibSam:
    """
    The loaded library.

    @param name: The name that the dynamic linker looks for.
    @raise OSError: It is not installed.
    @raise AttributeError: It lacks one of the calls.
    """

    def __init__(self, name: str = _LIBRARY) -> None:
        library = ctypes.CDLL(name, use_errno=True)
        self._stage = library.sam_stage
        self._stage.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
        self._cancel = library.sam_cancelstage
        self._cancel.argtypes = [ctypes.c_char_p]
        self._stat = library.sam_stat
        self._stat.argtypes = [ctypes.c_char_p, ctypes.POINTER(_Stat), ctypes.c_size_t]

    def stage(self, path: str) -> None:
        """
        Queue a file to be staged at once (C{sam_stage} with the option C{i}); does not wait for it.

        @param path: The file on this host.
        @raise OSError: SAM refuses; C{ENXIO} where no copy can be used.
        """
        _checked(self._stage(os.fsencode(path), _STAGE_NOW))

    def cancel(self, path: str) -> None:
        """
        Cancel the staging of a file (C{sam_cancelstage}).

        @raise OSError: It cannot be cancelled.
        """
        _checked(self._cancel(os.fsencode(path)))

    def inspect(self, path: str) -> FileFlags:
        """
        Return a file's state in SAM (C{sam_stat}).

        @raise OSError: SAM does not report it.
        """
        found = _Stat()
        _checked(self._stat(os.fsencode(path), ctypes.byref(found), ctypes.sizeof(found)))
        return FileFlags(found.attr, found.flags)


class FileFlags:
    """
    A file's state in SAM.

    @param attributes: C{sam_stat.attr}.
    @param flags: C{sam_stat.flags}.
    """

    def __init__(self, attributes: int, flags: int) -> None:
        self.offline = bool(attributes & _OFFLINE)
        self.damaged = bool(attributes & _DAMAGED)
        self.never_staged = bool(attributes & _STAGE_NEVER)
        self.partial = bool(attributes & _PARTIAL)
        self.staging = bool(flags & _STAGING)
        self.stage_failed = bool(flags & _STAGE_FAILED)


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
