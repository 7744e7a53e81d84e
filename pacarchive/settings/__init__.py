"""Reading, checking and explaining the settings.

Each room owns the section that sets it up (C{pacarchive.recall.settings}, say); L{pacarchive.settings.sections} has
their names, and finds them when they are read, so that this room imports none of them: only the words and
L{pacarchive.runtime}.  Every room above may take its section's converters from here; the start of the service and
commands without a server read the settings.
"""
