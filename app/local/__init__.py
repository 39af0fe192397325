"""Everything Hone needs around it, started on this machine: PostgreSQL, Redis, and the web and worker processes.

Knows how servers are found, started, shared between several `hone` commands and stopped. Knows nothing of what is
stored in them. Only `app.cli` imports it; production brings its own servers and never comes here.

- `postgres`, `redis`: `with running(data_directory) as url`, each reusing a server that is already there
- `processes`: child processes with named output, that never outlive this one
- `restarts`, `logs`: when a child that ended is started again, and where what all of them say is kept
- `ports`, `places`: what must be true before anything starts
- `sharing`, `leash`, `unprivileged`: how the above keep their word
"""
