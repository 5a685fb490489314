"""Text output that all commands share.

formats    numbers as text
chart      curves in a terminal
terminal   what a stream can show
"""
