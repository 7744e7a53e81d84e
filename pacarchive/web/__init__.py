"""The REST API: what each verb means for files, jobs, and tape.

It imports the engine of recalls, the interfaces of storage, and L{pacarchive.web.http}, which carries it.  Only the
assembly (L{pacarchive.launch.service}) calls it.
"""
