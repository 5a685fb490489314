"""The live view of a training run.

history    the journal's records so far, condensed to what a view shows
frame      lays a history out as lines, for a terminal's size
console    redraws the frame on a terminal
plain      lines for logs, and JSON lines
summary    the words at the start and at the end of a run
"""
