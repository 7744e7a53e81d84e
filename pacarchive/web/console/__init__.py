"""The console: pages for people in a browser, on what the archive does and how it is.

It imports the routes' own modules (L{pacarchive.web}), what the engine of recalls lists, and who may what; only the
assembly of the routes (C{pacarchive/web/application.py}) calls it.  Pages are made with L{twisted.web.template}, work
without a script, and have nothing from elsewhere: the script keeps open pages up to date, and no more.

  routes.py       the routes
  asking.py       what a screen is, and what it is made from
  screens/        what is on each of them
  parts.py        tables, bars, forms, of which they are built
  words.py        sizes, times and counts in words
  frame.py        the frame around them
  live.py         what is made once for all viewers
  following.py    what is kept up to date for those who go on looking
  viewing.py      who looks, and forms that are one of ours
  signing_in.py   sessions begin and end
  acting.py       what can be done
  assets/         style, script, sign
"""
