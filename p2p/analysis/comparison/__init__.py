"""Which of several groups of runs is better, and whether that is shown: `p2p compare`.

runs      scores of runs, read or evaluated, and notes on them
compare   groups, statistics, tests
results   what is returned: tables, and a sentence a task
file      all of it as an HDF5 file
"""
