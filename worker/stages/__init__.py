"""The bridge: rows to training to rows, one file per stage. `Task` goes in, `Outcome` comes out.

Knows both sides. Knows nothing of queues, claims or retries (worker.tasks).
"""
