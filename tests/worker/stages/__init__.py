"""What stages make of rows before anything is trained."""
