"""What is measured or tabulated: study files, committed results. No code."""
