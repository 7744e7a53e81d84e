"""What a process runs on: threads, databases, work that is shared by several callers, directories and file systems.

It imports the words (L{pacarchive}) and nothing else of the project.  Every room above may call it.
"""
