"""Makes C{twistd pacarchive} and the backends known; imports nothing heavy, since every C{twistd} runs it."""

from twisted.application.service import ServiceMaker

from pacarchive.settings.providers import BackendProvider

pacarchive = ServiceMaker(  # type: ignore[no-untyped-call]
    "pacarchive",
    "pacarchive.launch.tap",
    "An archive of files by number, over HTTP.",
    "pacarchive",
)

posix = BackendProvider(
    name="posix",
    section="posix",
    settings_name="pacarchive.backends.local.settings:PosixSettings",
    make_name="pacarchive.backends.posix:make",
)

hpss = BackendProvider(
    name="hpss",
    section="hpss",
    settings_name="pacarchive.backends.hpss.settings:HpssSettings",
    make_name="pacarchive.backends.hpss:make",
    local_prefix=False,
)

memory = BackendProvider(
    name="memory",
    section="memory",
    settings_name="pacarchive.backends.memory:MemorySettings",
    make_name="pacarchive.backends.memory:make",
)

hsmsideband = BackendProvider(
    name="hsmsideband",
    section="hsm_sideband",
    settings_name="pacarchive.backends.sideband.settings:SidebandSettings",
    make_name="pacarchive.backends.sideband:make",
)

s3 = BackendProvider(
    name="s3",
    section="s3",
    settings_name="pacarchive.backends.s3.settings:S3Settings",
    make_name="pacarchive.backends.s3:make",
    local_prefix=False,
    needs_tls=True,
)
