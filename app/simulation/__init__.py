"""Simulated labelers and the tour of the whole loop: an HTTP client like any other, and nothing else.

Knows Hone's HTTP endpoints and the domain's words. Knows nothing of tables, services or models: what a simulated
labeler sees is what a person sees.
"""
