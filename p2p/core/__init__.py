"""What everything else builds on: settings, errors, random streams, signals, compilation."""
