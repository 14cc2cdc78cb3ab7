"""The assertions: one short module per question, no branches and no backend names."""
