"""Access: who asks, and what they may.

It imports the words (L{pacarchive}), L{pacarchive.settings} and L{pacarchive.runtime}, and knows neither HTTP requests
nor storage.  The REST API (L{pacarchive.web}) asks its gate about every request; the start of the service makes the
gate; C{pacarchive admin} makes tokens and explains decisions.

  rights.py       what can be allowed: read, stat, create, modify, stage, poll, import, admin; and ranges of ids
  identity.py     who somebody is, and what somebody may (Access)
  settings.py     the sections [auth], [allow NAME] and [issuer NAME]
  policy.py       from an identity to its rights, by the rules of the settings
  gate.py         the one door: verifies what a caller presents, and remembers the outcome
  throttle.py     slows down addresses that present what is not valid
  tokens.py       static tokens, and their file
  passwords.py    the file of users and their passwords
  issuers.py      tokens of issuers (WLCG, SciTokens): signature, claims
  scopes.py       what their scopes open
  keys.py         the issuers' keys: found, kept, refreshed
  discovery.py    where an issuer has its keys, and how they are fetched
  keysets.py      which of them are taken, and the file that they are kept in
"""
