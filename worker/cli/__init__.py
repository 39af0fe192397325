"""The training library alone: `python -m worker.cli STAGE` runs one stage from files, without Hone's servers.

The only place of the worker that talks to a terminal. The mathematics is in worker.training, which is loaded once
arguments and files are known to be good.
"""
