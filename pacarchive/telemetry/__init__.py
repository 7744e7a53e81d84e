"""Telemetry: what the service says of itself to those who run it, beside the log.

It imports the words (L{pacarchive}), L{pacarchive.settings} and L{pacarchive.runtime}.  The REST API
(L{pacarchive.web}) and the start of the service call it.

  audit.py        one line for each change and each refusal, in a file of its own
  settings.py     the section [audit]
"""
