"""The command line: click for what is typed, rich for what is shown."""
