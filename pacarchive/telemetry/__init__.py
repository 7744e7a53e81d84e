"""Telemetry: what the service says of itself to those who run it, beside the log.

It imports the words (L{pacarchive}), L{pacarchive.settings} and L{pacarchive.runtime}.  The REST API
(L{pacarchive.web}) and the start of the service call it.

  table.py        every metric that there is
  counts.py       counting, in memory that outlives the process
  memory.py       that memory, shared by a worker and its parent
  requests.py     what is counted of each request
  own.py          what the kernel says of a process
  process.py      what one process knows of itself: counts, samples, transfers under way, what was refused or failed
  parts.py        the same as data (Part, with Transfer and Event), and that of the whole service (Totals)
  rendering.py    Totals for Prometheus
  accesslog.py    one line for each request, in a file of its own
  audit.py        one line for each change and each refusal, in a file of its own
  history.py      what that file says of one file of the archive
  tracing.py      spans of requests, sent to a collector; only imported where there is one
  phases.py       what takes the time of a request
  settings.py     the sections [audit], [access_log], [metrics] and [tracing]

What rooms below measure, such as syncs and recalls, they say in L{pacarchive.runtime.measuring}: it is counted here.

Whoever wants to know how the whole service is (a route by C{context.whole}) awaits C{totals()}: L{Totals} has all
numbers of all processes, C{totals.value("connections")} or C{totals.counted} and C{totals.gauges} by metric and labels,
C{totals.transfers} and C{totals.events}.  Each call asks all workers: viewers should share one.
"""
