"""Reports: from what the tests found to a table in the terminal, `report.json` and `report.md`."""
