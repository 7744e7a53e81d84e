"""Storage: the backends that come with pacarchive, each behind the interfaces of L{pacarchive.interfaces}.

A backend imports the words, L{pacarchive.runtime} and L{pacarchive.settings}, and no other backend but what is in
L{pacarchive.backends.local.archive}.  It is found as a plugin; only administration without a server knows one by name.
"""
