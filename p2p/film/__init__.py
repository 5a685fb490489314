"""Films of trained policies, and a window to watch them in.

episode   an episode as evaluation plays it, moment by moment
takes     an episode kept to be drawn, and the model to draw it with
stage     draws moments with MuJoCo, by the back end that works here
captions  writes domain, time and return on pictures
files     WebP, GIF and MP4 files
make      `make_film`, the library's side of `p2p video`
play      `p2p play`: MuJoCo's own viewer
"""

from p2p.film.make import Film, make_film

__all__ = ["Film", "make_film"]
