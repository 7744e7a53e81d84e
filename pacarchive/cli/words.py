"""What several commands have in common: words of their help, and the refusal of a command line."""

SETTINGS_FILE = "the settings file (default: $ARCHIVEINTERFACE_CONFIG, else /etc/pacarchive/pacarchive.ini where it is)"


class Misunderstood(Exception):
    """A command line that means nothing; C{str()} is one line for the user."""
