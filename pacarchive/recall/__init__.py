"""The recall engine: durable stage jobs over a backend that has slower levels.

It imports the words, L{pacarchive.runtime} and L{pacarchive.settings}, and knows storage by L{pacarchive.interfaces}
alone.  The REST API (L{pacarchive.web}) and the start of the service call it, by its C{engine.py}.

What is plain data or pure functions of it:

  words.py        the data types: jobs, their files, pins, plans
  settings.py     the section [recall]
  places.py       where the store is, if the settings do not say
  schedule.py     which cartridge is next, for which owner, and how many files fit
  forecast.py     how long it takes: rates that are learned, and what they say of the queue
  promises.py     how good forecasts have been

The store, and what is done to it inside transactions:

  schema.py       the tables, in the words of both databases
  store.py        the database: writes one after the other, reads beside them
  moving.py       taking it over from where an earlier version had it
  tables.py       how requests for files end
  jobs.py         what callers do to it: jobs are made, cancelled, forgotten
  listing.py      what callers see of it
  quotas.py       what an owner may keep in it
  waiting.py      what jobs and files wait for
  channel.py      asking a database that may hang
  work.py         what the dispatcher does to it
  lease.py        who the dispatcher is
  watch.py        those who wait for changes

The dispatcher:

  dispatcher_state.py  what its parts share
  loops.py        work that is done over and over
  lookup.py       where files are
  storage_requests.py  which files the storage system is asked for
  progress.py     what it says of them
  upkeep.py       what is done by the clock
  dispatcher.py   one term of office: all of it together

And for the faces:

  planning.py     what is to be expected
  submitting.py   jobs on their way into the store
  noting.py       files that were read or removed
  releasing.py    what need not stay on disk
  engine.py       what the faces use
"""
