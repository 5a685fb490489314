"""Which of several groups of runs is better, and whether that is shown: `p2p compare`.

runs      scores of runs, read or evaluated, and what must be said of them
compare   groups, statistics, tests
hdf5      all of it as a file
figures   scores and performance profiles as a picture
"""
