"""The K processes of a run on this machine: started, watched, stopped, resumed, recorded."""
