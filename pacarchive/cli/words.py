"""What several commands share: texts of their help, and the error for an invalid command line."""

SETTINGS_FILE = "the settings file (default: $ARCHIVEINTERFACE_CONFIG, else /etc/pacarchive/pacarchive.ini where it is)"


class Misunderstood(Exception):
    """The command line is invalid; C{str()} is one line for the user."""
