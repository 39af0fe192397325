"""The `hone` command as a person types it."""
