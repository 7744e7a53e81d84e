"""For C{twistd -ny tac/pacarchive.tac}: the archive, with all settings from the environment and the file that it names.

C{ARCHIVEINTERFACE_CONFIG} names the file, which else is C{/etc/pacarchive/pacarchive.ini} where that is;
C{PAI_BACKEND_TYPE} and C{PAI_PREFIX} go before it.
"""

import os
import sys

from twisted.application.service import Application

from pacarchive.settings.reading import ConfigError, load
from pacarchive.launch.service import make_service
from pacarchive.launch.tap import BAD_CONFIGURATION
from pacarchive.settings.server import LogFormat

try:
    settings = load(None, os.environ, {})
except ConfigError as error:
    sys.stderr.write(f"{error}\n")
    sys.exit(BAD_CONFIGURATION)
if settings.server.log_format is LogFormat.JSON:
    sys.stderr.write("[server] log_format: json needs twistd pacarchive; here it is twistd that writes the log\n")
    sys.exit(BAD_CONFIGURATION)

application = Application("pacarchive")
make_service(settings).setServiceParent(application)
