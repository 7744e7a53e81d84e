"""Words that several commands have in their help; what they speak of is not imported for that."""

SETTINGS_FILE = "the settings file (default: $ARCHIVEINTERFACE_CONFIG, else /etc/pacarchive/pacarchive.ini where it is)"
