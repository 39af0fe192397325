"""What answers say about those who gave them: agreement, pace, bias, skill and drift, on plain arrays.

Knows statistics, with the source of each formula beside it. Knows nothing of rows or pages; randomness is an argument.
"""
