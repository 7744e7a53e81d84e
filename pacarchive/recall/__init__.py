"""The recall engine: durable stage jobs, over a backend that has slower levels.

It imports the words, L{pacarchive.runtime} and L{pacarchive.settings}, and knows storage by L{pacarchive.interfaces}
alone.  The REST API (L{pacarchive.web}) and the start of the service call it, by its C{engine.py}.

Data types and pure functions:

  words.py        the data types: jobs, their files, pins, plans
  views.py        the data types of what operators see
  settings.py     the section [recall]
  places.py       where the store is, if the settings do not say
  schedule.py     which cartridge is read next, for which owner, and how many files fit
  forecast.py     how long recalls take: rates that are learned, and forecasts for the queue
  accuracy.py     how accurate forecasts have been

The store, and operations on it inside transactions:

  schema.py       the tables, for both databases
  store.py        the database: one writer at a time, reads beside it
  moving.py       moving the store from where an earlier version had it
  counting.py     counts that are kept as files change
  tables.py       how requests for files end
  jobs.py         operations of callers: submit, cancel and delete jobs, release pins
  listing.py      listings for callers
  following.py    what has changed of a job, for all who follow it
  quotas.py       how much an owner may keep in the store
  waiting.py      what jobs and files wait for
  holds.py        what operators keep from being recalled
  retrying.py     retrying what has failed
  priorities.py   changing the priority of a job
  overview.py     what operators see of the queue
  channel.py      calls to a database that may hang
  work.py         operations of the dispatcher
  stored_forecasts.py  the forecasts that the dispatcher stores
  lease.py        which process is the dispatcher
  watch.py        waiting for changes

The dispatcher:

  dispatcher_state.py  the state that its parts share
  loops.py        steps that are repeated
  lookup.py       where files are
  storage_requests.py  which files are submitted to the storage system
  progress.py     what the storage system reports on them
  upkeep.py       what is done at certain times
  dispatcher.py   all of it together, while the lease lasts

And for its callers:

  planning.py     estimates and plans
  submitting.py   jobs on their way into the store
  noting.py       files that were read or removed
  operations.py   what operators see and do
  releasing.py    files that need not stay on disk
  engine.py       what the REST API calls
"""
