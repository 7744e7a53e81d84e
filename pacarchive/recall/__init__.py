"""The recall engine: durable stage jobs over a backend that has slower levels.

What is plain data or pure functions of it:

  words.py        the nouns: jobs, their files, pins, plans
  schedule.py     which cartridge is next, for which owner, and how many files fit
  forecast.py     how long it takes: rates that are learned, and what they say of the queue
  promises.py     how good forecasts have been

The store, and what is done to it inside transactions:

  schema.py       the tables, in the words of both databases
  store.py        the database: writes one after the other, reads beside them
  moving.py       taking it over from where an earlier version had it
  tables.py       how requests for files end
  jobs.py         what those who ask do to it, and see of it
  work.py         what the dispatcher does to it
  lease.py        who the dispatcher is
  watch.py        those who wait for changes

The dispatcher:

  desk.py         what its parts share
  lanes.py        work that is done over and over
  lookup.py       where files are
  handing.py      which files the storage system is asked for
  progress.py     what it says of them
  upkeep.py       what is done by the clock
  dispatcher.py   one term of office: all of it together

And for the faces:

  planning.py     what is to be expected
  releasing.py    what need not stay on disk
  engine.py       what the faces use
"""
