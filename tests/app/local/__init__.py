"""The embedded servers and child processes, real: started, shared, killed and found again."""
