"""C{pacarchive check}: sees whether an archive that runs does what it should, and leaves it as it was.

L{pacarchive.check.catalogue} has the checks in their order, L{pacarchive.check.session} what they have in common, and
L{pacarchive.check.run} runs them.
"""
