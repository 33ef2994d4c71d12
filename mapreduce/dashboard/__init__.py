"""`mr dashboard`: what `mr status` and `mr workers` show, as a page that is always up to date.

    broker ◀── Watching, a role, in the watcher's thread ── news ──▶ Feed ── Server-Sent Events ──▶ the page

chart       a job's attempts as bars, bounded in number; throughput, sizes of partitions
snapshot    a JobView as plain data for JSON
watching    the role: follows the logs of the jobs that are looked at, asks for all jobs and workers, cancels
watcher     the thread that runs it
feed        the latest news of each topic, for any number of readers
security    who may do what: Host header, token, limits; headers of every answer
app         the routes
static      the page: ES modules and CSS as they are, no build step
"""
