"""One session: what is asked, what is built and encoded, each once, and trouble kept apart."""
