"""What a run shows: plain lines, JSON, and frames on a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any, TextIO

import pytest
from played import PlayedRun, play, record, score

from p2p.cli.live.console import LiveView
from p2p.cli.live.frame import render, sparkline, stacked
from p2p.cli.live.history import History
from p2p.cli.live.plain import JsonLines, PlainLines
from p2p.cli.text.formats import compact, count, duration, fixed
from p2p.cli.train import View, _dispatch
from p2p.cohort.events import Event, Iterated, Started
from p2p.core.config import TrainConfig

SMALL = TrainConfig(num_peers=2, total_steps=3 * 4096)


def show(view: View, events: Iterator[Event]) -> None:
    with view:
        for event in events:
            _dispatch(event, view)


def shown(make: Callable[[TextIO], View]) -> str:
    stream = StringIO()
    show(make(stream), play(SMALL))
    return stream.getvalue()


# Without a terminal

PLAIN = """\
hopper, p2pdrl, 2 peers, eps_tr 0.2, seed 0
run: runs/played
note: a note
iteration       steps  steps/s      left   return  length       KL  unstable
      1/3       4,096    4,096      0:02     5.00     200   0.0012         0
      3/3      12,288    4,096      0:00      105     200   0.0012         0

finished: 12,288 steps (6,144 a peer); 1:05, 4,096 steps/s while training

score of the final policies: mean action, nominal domain, 20 episodes each
         return +-    std   length
peer 0     3000 +-    123      990
peer 1     3010 +-    123      990
mean       3005                990

run    runs/played
next   p2p eval runs/played --eps-te 0.5
       p2p train --resume runs/played --total-steps 24576
"""


def test_plain_output_is_a_table_and_a_summary_in_ascii() -> None:
    assert shown(PlainLines) == PLAIN
    assert PLAIN.isascii()


def test_plain_lines_come_at_most_every_two_seconds_and_about_a_hundred_in_all() -> None:
    """One iteration a second, 1000 in all: a line for each percent and no more."""
    config, now, stream = TrainConfig(total_steps=1000 * 4096), [0.0], StringIO()
    view = PlainLines(stream, clock=lambda: now[0])
    run: Any = PlayedRun(config)
    view.started(Started(run, config, 0))
    for iteration in range(1000):
        now[0] += 1.0
        view.iterated(Iterated(record(config, iteration)))
    rows = [int(line.split("/")[0]) for line in stream.getvalue().splitlines() if "/1000 " in line]
    assert rows == [1, *range(11, 1000, 10), 1000]


def test_plain_lines_come_every_minute_when_the_run_is_slow() -> None:
    config, now, stream = TrainConfig(total_steps=10_000 * 4096), [0.0], StringIO()
    view = PlainLines(stream, clock=lambda: now[0])
    run: Any = PlayedRun(config)
    view.started(Started(run, config, 0))
    for iteration in range(50):
        now[0] += 30.0
        view.iterated(Iterated(record(config, iteration)))
    assert stream.getvalue().count("/10000 ") == 25


def test_json_is_an_object_an_event() -> None:
    started, *iterated, saved, finished = map(json.loads, shown(JsonLines).splitlines())
    assert started == {
        "event": "started",
        "run": "runs/played",
        "resumed_from": 0,
        "notes": ["a note"],
        "config": SMALL.model_dump(mode="json"),
    }
    assert iterated == [{"event": "iteration", **record(SMALL, n)} for n in range(3)]
    assert saved == {"event": "checkpoint", "path": "runs/played/checkpoints/3", "iteration": 3}
    assert finished == {
        "event": "finished",
        "run": "runs/played",
        "scores": [score(0), score(1)],
        "seconds": 65.0,
        "steps": 12288,
    }


def test_json_has_null_for_what_is_no_number() -> None:
    """NaN is not JSON, and a strict reader stops at it."""
    bad = record(SMALL, 0)
    bad["peers"][0] |= {"value_loss": float("nan"), "entropy": float("-inf")}
    stream = StringIO()
    JsonLines(stream).iterated(Iterated(bad))
    (peer, _) = json.loads(stream.getvalue())["peers"]
    assert (peer["value_loss"], peer["entropy"], peer["clip_fraction"]) == (None, None, 0.081)


def test_returns_of_episodes_that_are_cut_are_estimated() -> None:
    """At K = 4 envs are reset after 512 steps: what ended is short, and on HalfCheetah nothing."""
    config = TrainConfig(num_peers=4, total_steps=3 * 4096)
    history = History(config)
    for iteration in range(3):
        history.add(record(config, iteration))
    assert history.mean_return == 0.5 * 1000
    assert history.mean_length is None
    frame = "\n".join(line.plain for line in render(history, "runs/played", "", 100, 40))
    assert "(estimated)" in frame


# On a terminal

FRAME_80 = """\
hopper · p2pdrl · 2 peers · eps_tr 0.2 · seed 0                 iteration 2 of 3
runs/played

━━━━━━━━━━━━━━━━━━─────────  67%  8,192 / 12,288 steps  4,096 steps/s  0:01 left

peer   wind  grav  fric  mass  start  return   len      KL   entr  clip  critic
          N     x     x     x    rad                   nat    nat     %        
   0  -0.25  1.02  0.95  1.10   0.07    50.0   200  0.0012  -0.50   8.1   0.250
   1  -0.25  1.02  0.95  1.10   0.07    60.0   201  0.0012  -0.50   8.1   0.250

return  ▁█  5.00 to 55.0 (mean of the last 20 episodes)
time    ██████▓▒▒▒▒░░░  █ physics 40%  ▓ policy 10%  ▒ update 30%  ░ waiting 20%

status"""  # noqa: W291

FRAME_60 = """\
hopper · p2pdrl · 2 peers · eps_tr 0.2 · seed 0
runs/played
67%  8,192 / 12,288 steps  4,096 steps/s  0:01 left
peer  wind grav fric mass start return  len     KL critic
         N    x    x    x   rad                nat       
   0 -0.25 1.02 0.95 1.10  0.07   50.0  200 0.0012  0.250
   1 -0.25 1.02 0.95 1.10  0.07   60.0  201 0.0012  0.250
return  ▁█  5.00 to 55.0
█ physics 40%  ▓ policy 10%  ▒ update 30%  ░ waiting 20%
status"""  # noqa: W291


def history(config: TrainConfig = SMALL, iterations: int = 2) -> History:
    past = History(config)
    for iteration in range(iterations):
        past.add(record(config, iteration))
    return past


def frame(past: History | None, width: int, height: int = 24) -> list[str]:
    return [line.plain for line in render(past, "runs/played", "status", width, height)]


def test_a_frame_of_80_columns_has_every_column_of_the_table() -> None:
    assert "\n".join(frame(history(), 80)) == FRAME_80


def test_a_narrow_and_low_frame_leaves_out_what_matters_least() -> None:
    assert "\n".join(frame(history(), 60, 14)) == FRAME_60


@pytest.mark.parametrize("peers", [1, 2, 16, 128])
@pytest.mark.parametrize(("width", "height"), [(60, 16), (80, 24), (120, 30), (200, 50)])
def test_a_frame_fits_its_terminal_and_counts_the_peers_that_do_not(
    width: int, height: int, peers: int
) -> None:
    config = TrainConfig(num_peers=peers, total_steps=10**8, num_minibatches=8)
    lines = frame(history(config, 3), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    top = next(n for n, line in enumerate(lines) if line.startswith("peer"))
    rows = [line.split()[0] for line in lines[top + 2 :] if line]
    shown = sum(rank == str(n) for n, rank in enumerate(rows))
    hidden = [int(line.split()[2]) for line in lines if line.startswith("... and ")]
    assert shown + sum(hidden) == peers


def test_columns_stay_where_they_are_while_numbers_grow() -> None:
    """A table that shifts at each iteration cannot be read."""
    small, large = history(iterations=1), history(iterations=40)
    assert frame(small, 80)[5:7] == frame(large, 80)[5:7]


def test_domains_that_differ_within_a_peer_are_said_to_be_one_of_them() -> None:
    note = "domains: of the first environment of each peer"
    assert note in frame(history(TrainConfig(domain_schedule="episode")), 80)
    assert note not in frame(history(), 80)


def test_a_long_path_keeps_its_end() -> None:
    """Two runs differ in the last part of their paths."""
    path = "/" + "folder/" * 20 + "hopper-260101"
    line = render(history(), path, "", 80, 24)[1].plain
    assert (len(line), line[0], line[-13:]) == (80, "…", "hopper-260101")


@pytest.mark.parametrize(
    ("values", "width", "bars"),
    [
        ([], 10, ""),
        ([3.0], 10, "▁"),
        ([0.0, 7.0], 10, "▁█"),
        ([float(n) for n in range(8)], 8, "▁▂▃▄▅▆▇█"),
        ([0.0, 0.0, 7.0, 7.0], 2, "▁█"),
        ([-1.0, 1.0, 5.0, 9.0], 2, "▁█"),
        ([1.0, 2.0], 0, ""),
    ],
)
def test_a_sparkline_runs_from_least_to_greatest(
    values: list[float], width: int, bars: str
) -> None:
    assert sparkline(values, width) == bars


def test_a_stacked_bar_is_filled_exactly() -> None:
    """Rounding each share by itself would give 3 x 7 = 21 cells of 20."""
    cells = stacked({"physics": 1 / 3, "policy": 1 / 3, "update": 1 / 3}, 20)
    assert sum(cells.values()) == 20
    assert max(cells.values()) - min(cells.values()) <= 1


class Terminal(StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name, value in {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}.items():
        monkeypatch.setenv(name, value)
    return Terminal()


def test_the_live_view_leaves_its_last_frame_and_the_summary(terminal: Terminal) -> None:
    show(LiveView(terminal, "starting 2 peers"), play(SMALL))
    output = terminal.getvalue()
    assert "starting 2 peers: 0 s" in output
    assert "iteration 3 of 3" in output
    assert output.endswith(PLAIN[PLAIN.index("run    ") :])
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l")  # the cursor is back


def test_the_live_view_leaves_nothing_of_a_run_that_never_started(terminal: Terminal) -> None:
    """`error: ... is not empty` should stand alone, not below `starting 2 peers: 0 s`."""
    with LiveView(terminal, "starting 2 peers"):
        pass
    before, erased, after = terminal.getvalue().rpartition("\x1b[2K")
    assert ("starting 2 peers" in before, bool(erased), "starting" in after) == (True, True, False)


def test_a_command_in_the_summary_is_not_broken_by_a_narrow_terminal(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    show(LiveView(terminal, "starting"), play(SMALL))
    assert "next   p2p eval runs/played --eps-te 0.5" in terminal.getvalue()


# History and numbers


def test_the_rate_leaves_out_the_start_of_the_peers() -> None:
    """The first iteration lasts as long as torch takes to load."""
    past = History(TrainConfig(total_steps=10 * 4096))
    for iteration, seconds in enumerate([9.0, 2.0, 2.0]):
        past.add(record(past.config, iteration, seconds))
    assert past.rate == past.session_rate == 2048
    assert past.seconds_left == 14.0


def test_a_resumed_run_shows_old_returns_but_not_old_speed() -> None:
    past = History(SMALL, [record(SMALL, 0, 1.0), record(SMALL, 1, 1.0)])
    assert (past.iterations, past.returns, past.rate) == (2, [5.0, 55.0], None)
    past.add(record(SMALL, 2, 4.0))
    assert past.rate == 1024
    assert past.rows[1].episode_return == 110.0  # the mean of 10, 110 and 210


def test_returns_are_means_over_the_last_twenty_episodes() -> None:
    past = history(TrainConfig(method="ppo", total_steps=10**6), 30)
    assert past.rows[0].episode_return == sum(range(1000, 3000, 100)) / 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (compact(None), "-"),
        (compact(float("nan")), "-"),
        (compact(0.0), "0"),
        (compact(-0.00001), "-1e-05"),
        (compact(0.00123), "0.0012"),
        (compact(34.56), "34.6"),
        (compact(-1204.4), "-1204"),
        (compact(1234567.0), "1.2e+06"),
        (fixed(1.0, 3), "1.000"),
        (fixed(1204.4, 3), "1204"),
        (duration(7.4), "0:07"),
        (duration(59.6), "1:00"),
        (duration(3892), "1:04:52"),
        (duration(200_000), "2d 07:33:20"),
        (duration(None), "-"),
        (count(1003520), "1,003,520"),
    ],
)
def test_numbers_are_short_and_say_no_more_than_they_know(text: str, expected: str) -> None:
    assert text == expected


@pytest.mark.parametrize("width", [30, 80, 120])
def test_reward_terms_are_one_line_that_fits(width: int):
    """Their means a step; those that do not fit are counted."""
    history = History(SMALL)
    history.add(record(SMALL, 0))
    assert not any("reward" in line.plain for line in render(history, "run", "", width, 30))
    terms = {f"term {n}": n / 8 for n in range(12)}
    other = record(SMALL, 1)
    for peer in other["peers"]:
        peer["reward_terms"] = terms
    history.add(other)
    (line,) = [x.plain for x in render(history, "run", "", width, 30) if "term 0" in x.plain]
    assert len(line) <= width
    assert "more" in line or "term 11" in line
