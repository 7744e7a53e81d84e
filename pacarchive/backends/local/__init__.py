"""Files on a local file system: what the C{posix} and C{hsmsideband} backends share.

It imports the words and L{pacarchive.runtime}; backends build on it, and commands that look after a tree without a
server (L{pacarchive.cli.admin}) do.
"""
