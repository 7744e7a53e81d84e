"""Make, inspect and break simulated HPSS archives.

A simulated archive is a directory, and C{libhpss.so} of the simulator is a client library for it.  This package is the
operator's side: it works on the same files as the library, while any number of processes use the archive.

    archive     L{Archive}: everything about one archive      rehearsal   a night of recalls in seconds
    files       files put in without a client                 command     C{hpss-simulator}
    namespace   paths and objects                             sdk         where the built library is
    library     what drives and requests are doing            listings    what the command prints
    page        the control page: clock, counters             words       what is told about an archive
"""

from hpss_simulator.archive import Archive
from hpss_simulator.page import Clock
from hpss_simulator.sdk import hpss_root
from hpss_simulator.words import (
    Cartridge,
    Drive,
    Entry,
    Fault,
    Kind,
    Locality,
    Request,
    Segment,
    SimulatorError,
    Sums,
)

__all__ = [
    "Archive",
    "Cartridge",
    "Clock",
    "Drive",
    "Entry",
    "Fault",
    "Kind",
    "Locality",
    "Request",
    "Segment",
    "SimulatorError",
    "Sums",
    "hpss_root",
]
__version__ = "1.0"
