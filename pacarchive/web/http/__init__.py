"""HTTP without a word about archives: connections, requests, bodies, framing, fields, JSON, limits.

It imports the words, L{pacarchive.runtime} and L{pacarchive.settings}.  The routes (L{pacarchive.web}) build on it, and
nobody else does; it knows neither them nor what they work with.
"""
