"""The statistics, against worked examples from the papers, counts by hand, and answers whose truth is planted."""
