"""Which layer a difference begins at."""
