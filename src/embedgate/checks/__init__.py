"""What is asserted: a module per family of checks, each coming to judgements."""
