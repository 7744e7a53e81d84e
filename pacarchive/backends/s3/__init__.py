"""The C{s3} backend: objects in a bucket of a store that speaks the protocol of S3.

It imports the words, L{pacarchive.runtime} and L{pacarchive.settings}.  C{signing} alone needs botocore, which
C{pip install pacarchive[s3]} installs; it is imported when the backend is made.
"""
