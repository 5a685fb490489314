"""`p2p report`: one page that loads nothing, escapes everything, and says what it stands on."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from made_curves import SIZE, make_trained

from p2p.analysis.comparison.compare import compare
from p2p.analysis.evaluation.kept import kept_evaluations
from p2p.analysis.evaluation.session import evaluate
from p2p.cli import main, report
from p2p.core.errors import BadArtefact, UsageError
from p2p.envs import gl
from p2p.plots.method_styles import METHODS
from p2p.report import strip
from p2p.report.charts import Curve, Row, interval_chart, line_chart
from p2p.report.formats import duration, number, plus_minus, tick
from p2p.report.page import CONTRAST, GROUND, colours, contrast, legible
from p2p.report.run import run_page
from p2p.report.source import of_folder
from p2p.report.study import study_page
from p2p.runs import RunFolder
from p2p.runs.measures import measures
from p2p.study import plan_study, read_study

VOID = {"meta", "img", "br", "link"}
LOADS = {"src", "href", "xlink:href", "data", "poster", "srcset", "action", "background"}


class Checked(HTMLParser):
    """A page as a browser sees it: what it would load, its anchors, texts and open elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.anchors: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} has {name}"
            if name == "id":
                self.ids.append(value or "")
            if name in LOADS and (value or "").startswith("#"):
                self.anchors.append((value or "")[1:])
            elif name in LOADS:
                self.loads.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def check(html: str) -> Checked:
    """Return the page, which holds to what every page must."""
    page = Checked(html)
    assert len(html.encode()) < 3e6
    assert all(load.startswith("data:image/jpeg;base64,") for load in page.loads)
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    assert "url(" not in html
    assert "@import" not in html
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert page.anchors
    assert set(page.anchors) == set(page.ids)
    assert "default-src 'none'" in html
    assert "prefers-color-scheme:dark" in html
    return page


def p2p(*args: str | Path) -> Result:
    return CliRunner().invoke(main.p2p, ["report", *(str(arg) for arg in args)])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_trained(tmp_path / "run", 2.0, learning_rate=0.0003)


def test_a_runs_page_has_all_sections_and_its_numbers(run: Path) -> None:
    """Final scores 100 and 102 of two peers: 101."""
    page = check(run_page(run, frames=0).html())
    assert page.ids == ["summary", "curves", "evaluation", "domains", "settings", "versions"]
    for said in ("Hopper, P2PDRL", "mean of 2 peers", " 101 ", "16,384", "20 episodes each",
                 "p2p eval", "--by-factor", "A point is the mean over 1 iteration",
                 "Sliding friction", "learning_rate 0.0003 0.0001", "mujoco"):  # fmt: skip
        assert said in page.text, said


def test_the_page_is_a_function_of_the_run(run: Path) -> None:
    """Also of its date, which is that of the journal, unless one is given."""
    first = run_page(run, frames=0).html()
    assert first == run_page(run, frames=0).html()
    assert "Last trained on 1 April 1990." in run_page(run, frames=0, date="1 April 1990").html()


def test_an_unfinished_run_is_reported_as_far_as_it_came(tmp_path: Path) -> None:
    run = make_trained(tmp_path / "run", total_steps=16 * 4096, score=None)
    page = check(run_page(run, frames=0).html())
    assert "not finished: 25% of its steps are done" in page.text
    assert "no final score yet" in page.text


def test_a_score_of_an_earlier_goal_is_not_the_final_one(tmp_path: Path) -> None:
    """Finished at 4 iterations, resumed to 16, stopped at 8: result.json is of other policies."""
    run = make_trained(tmp_path / "run", iterations=8, total_steps=16 * SIZE)
    assert "score" in measures(RunFolder.open(run))
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**result, "steps": 4 * SIZE}))
    assert "score" not in measures(RunFolder.open(run))
    page = check(run_page(run, frames=0).html())
    assert "not finished: 50% of its steps are done" in page.text
    assert "no final score yet" in page.text
    assert "101" not in page.text


def test_strangers_texts_are_escaped_wherever_they_stand(tmp_path: Path) -> None:
    """Folder, version, reward term and study's name hold markup; so may a task's name."""
    evil = "<img src=x onerror=alert(1)>&\"'"
    folder = tmp_path / "<b onclick=alert(1)>"
    for seed in (0, 1):
        run = make_trained(
            folder / f"run-{seed}-<i>", seed=seed, more={"reward_terms": {evil: 1.0}}
        )
        (run / "versions.json").write_text(json.dumps({"p2p": evil, "cpu": evil}))
        config = json.loads((run / "config.json").read_text())
        config |= {"task": f"tasks.py:{evil}", "source_sha256": {f"tasks.py:{evil}": "0" * 64}}
        (run / "config.json").write_text(json.dumps(config))
    (folder / "results.json").write_text(json.dumps({"study": evil}))
    for html in (run_page(run, frames=0).html(), study_page(of_folder(folder)).html()):
        page = check(html)
        assert "img" not in page.tags
        assert "b" not in page.tags
        assert "onerror=alert(1)>" in page.text


def test_what_eval_h5_holds_is_shown_and_nothing_is_run(run: Path) -> None:
    """Two strengths and all factors; with another policy the file says nothing of this one."""
    settings = {"domains": 2, "workers": 1}
    evaluate(run, [0.0, 1.0], **settings)
    evaluate(run, 1.0, by_factor=True, points=3, episodes=3, workers=1)
    kept = kept_evaluations(RunFolder.open(run))
    assert kept.strengths is not None
    assert kept.factors is not None
    assert [one.set.eps for one in kept.strengths.measured] == [0.0, 1.0]
    assert kept.factors.measured[0].episode_return.shape == (2, 3, 3)
    page = check(run_page(run, frames=0).html())
    assert "2 domains a strength" in page.text
    assert "the 6 episodes of a point" in page.text
    assert "p2p eval" not in page.text
    other = make_trained(run.parent / "other", seed=7)
    for rank in (0, 1):
        name = f"policies/peer-{rank}.safetensors"
        shutil.copy(other / name, run / name)
    known = kept_evaluations(RunFolder.open(run))
    assert (known.strengths, known.factors, known.others) == (None, None, True)
    assert "of other policies, settings or versions" in run_page(run, frames=0).html()


def test_a_studys_page_has_results_bands_comparison_and_runs(tmp_path: Path) -> None:
    """P2PDRL 101 and 201, PPO 300 and 400: means with intervals, and no difference shown."""
    for method, base in (("p2pdrl", 100.0), ("ppo", 300.0)):
        for seed in (0, 1):
            name, score = f"{method}-{seed}", base + 100 * seed
            make_trained(tmp_path / name, 1 + seed, score=score, method=method, seed=seed)
    damaged = make_trained(tmp_path / "damaged", seed=9)
    (damaged / "journal.jsonl").write_text("x\n")
    page = check(study_page(of_folder(tmp_path)).html())
    assert page.ids == ["results", "comparison", "curves", "runs", "settings"]
    for said in ("151 \u00b1 635", "350 \u00b1 635", "Hopper: no difference shown.",
                 "n = 2 seeds a line", "Left out:", "damaged", "p2pdrl-1", "4 of 5"):  # fmt: skip
        assert said in page.text, said
    assert "band c0" in study_page(of_folder(tmp_path)).html()


def test_runs_of_different_lengths_are_groups_of_their_own(tmp_path: Path) -> None:
    """As `p2p compare` has them; 101 and 2001 are averaged to 1051 nowhere."""
    for iterations, score in ((4, 100.0), (8, 2000.0)):
        for seed in (0, 1):
            make_trained(tmp_path / f"{iterations}-{seed}", 1.0, iterations, score, seed=seed)
    text = check(study_page(of_folder(tmp_path)).html()).text
    groups = [group.label for group in compare(sorted(tmp_path.iterdir())).groups]
    assert groups == ["p2pdrl steps 16384", "p2pdrl steps 32768"]
    for label, score in zip(groups, ("101", "2,001"), strict=True):
        row = f"{label.replace('p2pdrl', 'P2PDRL')} 2 1,000 \u00b1 0 {score} \u00b1 0"
        assert row in text, row
    assert "1,051" not in text


def test_results_and_comparison_are_of_finished_runs_alone(tmp_path: Path) -> None:
    """Also where only they have a value of a setting; of two folders of a seed, one has ended."""
    for method, value in (("p2pdrl", 5.0), ("ppo", 3.0)):
        for seed in (0, 1):
            make_trained(tmp_path / f"{method}-{seed}", value, method=method, seed=seed)
    begun = {"iterations": 2, "total_steps": 4 * SIZE, "score": None}
    make_trained(tmp_path / "p2pdrl-begun", 0.001, seed=2, **begun)
    make_trained(tmp_path / "ppo-fast", 0.001, method="ppo", learning_rate=0.01, **begun)
    make_trained(tmp_path / "a-twin", 7.0, score=None)
    source = of_folder(tmp_path)
    text = check(study_page(source).html()).text
    assert "Left out of results and comparison, not finished: 3 runs, a-twin, " in text
    results = text.split("Learning curves")[1]  # the first is in the contents
    for said in ("P2PDRL 2 5,000 \u00b1 0 101", "PPO learning_rate 0.0003 2 3,000 \u00b1 0 100"):
        assert said in results, said
    assert "learning_rate 0.01 " not in results
    assert "learning_rate 0.01 " in text
    begun_alone = [run for run in source.runs if not run.curves.finished]
    text = check(study_page(source._replace(runs=begun_alone)).html()).text
    assert "No run is finished yet." in text
    assert "Not possible: fewer than two groups have a finished run" in text


def test_a_study_shows_no_tests_side_by_side_that_are_not_of_one_kind(tmp_path: Path) -> None:
    """Held-out domains of `p2p export`, and tests of a run that was trained on since."""
    runs = [make_trained(tmp_path / f"run-{seed}", seed=seed) for seed in range(3)]
    evaluate(runs[0], 0.5, domains=2, workers=1)
    evaluate(runs[1], 0.5, domains=2, workers=1, domain_seed=1)
    tests = [{"eps_te": 0.5, "peers": [{"mean": 10.0, "worst": 0.0}] * 2}]
    config = {"domains": 2, "episodes": 1}
    stale = {"tests": tests, "config": config, "steps": 4096}
    (runs[2] / "evaluation.json").write_text(json.dumps(stale))
    source = of_folder(tmp_path)
    assert [("eps_te=0.5" in run.measures) for run in source.runs] == [True, False, False]
    text = check(study_page(source).html()).text
    assert "run-1: tested in other domains than the first; not shown." in text
    assert "run-2: tested after 4,096 steps, and trained on since; not shown." in text
    assert "the same for all runs" in text


@pytest.mark.parametrize(
    "more", [{"config": 3}, {"config": {"domains": "x"}}, {"config": {"episodes": None}},
             {"steps": "x"}, {"tests": 3}],
)  # fmt: skip
def test_damaged_tests_of_a_run_are_a_note(tmp_path: Path, more: dict[str, object]) -> None:
    for seed in (0, 1):
        run = make_trained(tmp_path / f"run-{seed}", seed=seed)
    tests = [{"eps_te": 0.5, "peers": [{"mean": 10.0, "worst": 0.0}] * 2}]
    config = {"domains": 2, "episodes": 1}
    (run / "evaluation.json").write_text(json.dumps({"tests": tests, "config": config, **more}))
    text = check(study_page(of_folder(tmp_path)).html()).text
    assert "Left out: " in text
    assert "run-1 is damaged" in text or "evaluation.json is damaged" in text


def test_numbers_of_a_journal_that_are_not_finite_are_damage(run: Path) -> None:
    """p2p writes null for them."""
    journal = run / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"approx_kl": 0.01', '"approx_kl": Infinity'))
    with pytest.raises(BadArtefact, match="a record is not as p2p writes it"):
        run_page(run, frames=0)


def test_domains_that_differ_with_the_runs_own_are_not_called_the_same(tmp_path: Path) -> None:
    for seed, factor in enumerate(("mass", "friction")):
        run = make_trained(tmp_path / factor, seed=seed, randomise={factor: {"scale": 0.3}})
        evaluate(run, 0.5, domains=2, workers=1)
    text = check(study_page(of_folder(tmp_path)).html()).text
    assert "2 domains a strength, each run in those of its own training, 1 episode each" in text
    assert "the same for all runs" not in text


def test_strength_0_is_every_seeds(run: Path) -> None:
    """Its domains are nominal, so that their set is one set, whichever seed was last."""
    evaluate(run, [0.0, 1.0], domains=2, workers=1)
    evaluate(run, 0.0, domains=2, workers=1, domain_seed=1)
    kept = kept_evaluations(RunFolder.open(run))
    assert kept.strengths is not None
    assert [one.set.eps for one in kept.strengths.measured] == [0.0, 1.0]
    assert kept.domain_seed == 0


def test_a_value_that_some_seeds_lack_says_how_many_it_stands_on(tmp_path: Path) -> None:
    """Two seeds tested at strengths 0 and 1, one of them at 0.5 too: no point of one seed alone."""
    for seed in (0, 1):
        run = make_trained(tmp_path / f"run-{seed}", seed=seed)
        tests = [
            {"eps_te": eps, "peers": [{"mean": 10.0 + seed, "worst": 0.0}] * 2}
            for eps in (0.0, 0.5, 1.0) if eps != 0.5 or seed == 0
        ]  # fmt: skip
        config = {"domains": 4, "episodes": 1}
        (run / "evaluation.json").write_text(json.dumps({"tests": tests, "config": config}))
    html = study_page(of_folder(tmp_path)).html()
    assert "10 (n = 1)" in check(html).text
    (line,) = re.findall(r'class="line c0" d="([^"]*)"[^/]*/?[^/]*<title>P2PDRL</title>', html)
    assert line.count("L") == 1


def test_a_study_by_name_is_made_from_its_saved_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The committed tables of fig4: five methods on two tasks, tested over the strength."""
    monkeypatch.chdir(tmp_path)
    tables = Path(__file__).parents[1] / "data" / "results"
    done = p2p("fig4", "--tables", tables, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["sections"] == ["results", "comparison", "strength", "curves", "runs"]
    page = check((tmp_path / found["report"]).read_text())
    for said in ("HalfCheetah", "Hopper", "24 domains a strength", "n = 8 seeds",
                 "each group by itself, with its band", "Last trained"):  # fmt: skip
        assert (said in page.text) == (said != "Last trained"), said


STUDY = """
name = "{name}"
folder = "shared"
[settings]
task = "hopper"
hidden_sizes = [8, 8]
total_steps = {steps}
[[grid]]
method = {methods}
learning_rate = {rates}
seed = [0, 1]
[evaluate]
eps_te = 0.5
domains = {domains}
"""


def test_a_study_by_name_is_reported_as_itself_from_a_folder_that_it_shares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of four runs of `two` are among those of `one`; one of them has its tests too."""
    monkeypatch.chdir(tmp_path)
    known = {"one": (["ppo"], [1e-4, 3e-4], 3, 4), "two": (["ppo", "p2pdrl"], [1e-4], 2, 4),
             "long": (["ppo"], [1e-4], 2, 8), "none": (["dnc"], [1e-4], 2, 4)}  # fmt: skip
    for name, (methods, rates, domains, iterations) in known.items():
        text = STUDY.format(name=name, methods=methods, rates=rates, domains=domains,
                            steps=iterations * SIZE)  # fmt: skip
        Path(f"{name}.toml").write_text(text)
    one, two = (read_study(Path(f"{name}.toml")) for name in ("one", "two"))
    for run in plan_study(one, Path("runs/studies/shared")).runs:
        config = run.config
        make_trained(run.path, method="ppo", seed=config.seed, learning_rate=config.learning_rate)
        study = two if config.seed == 0 else one
        assert study.evaluate is not None
        tests = [{"eps_te": 0.5, "peers": [{"mean": 10.0 + config.seed, "worst": 0.0}]}]
        kept = {"config": study.evaluate.model_dump(mode="json"), "steps": 4 * SIZE, "tests": tests}
        (run.path / "evaluation.json").write_text(json.dumps(kept))
    done = p2p("two.toml", "--tables", "nowhere")
    assert done.exit_code == 0, done.output
    text = check(Path("two.html").read_text()).text
    for said in ("Study two", "2 of 4", "2 domains a strength", "10 (n = 1)"):
        assert said in text, said
    assert "lr=0.0003" not in text
    assert p2p("long.toml", "--tables", "nowhere").exit_code == 0  # asks for more steps
    assert "No run is finished yet." in check(Path("long.html").read_text()).text
    done = p2p("none.toml")
    (line,) = done.stderr.splitlines()
    assert done.exit_code == 2
    assert "shared has no run of study none to report; make them with: p2p study none" in line


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["nothing"], 2, "neither a run folder"),
        (["."], 5, "no run folder inside"),
        (["run", "-o", "no/such/folder.html", "--frames", "0"], 6, "name another with -o"),
        (["fig4", "--evaluate"], 2, "tests a run"),
        (["fig4", "--tables", "empty"], 2, "fig4.csv has no run of study fig4 to report"),
        (["run", "--budget", "x", "--tables", "y"], 2, "--budget, --tables have no effect on run"),
        ([".", "--frames", "0"], 2, "--frames has no effect on ., a folder of runs"),
        ([".", "--budget", "paper"], 2, "--budget has no effect on ., a folder of runs"),
        (["fig4", "--frames", "3"], 2, "--frames has no effect on fig4, a study"),
    ],
)
def test_what_cannot_be_reported_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], code: int, said: str
) -> None:
    make_trained(tmp_path / "below" / "run")
    monkeypatch.chdir(tmp_path / "below" if "run" in args else tmp_path)
    Path("empty").mkdir()
    Path("empty/fig4.csv").write_text("run,task,method,seed\n")
    done = p2p(*args)
    assert done.exit_code == code
    (line,) = done.stderr.splitlines()
    assert said in line


def test_without_a_graphics_library_the_page_says_so(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise UsageError("no OpenGL here")

    monkeypatch.setattr(gl, "back_end", fail)
    assert "No pictures: no OpenGL here." in check(run_page(run).html()).text


def test_the_strip_is_small_pictures_of_one_episode(run: Path) -> None:
    """As many as asked for; a fall of the untrained policy may end it earlier."""
    try:
        frames, caption = strip.film_strip(RunFolder.open(run), 3)
    except UsageError as error:
        pytest.skip(str(error))
    assert 2 <= len(frames) <= 3
    assert all(frame.jpeg.startswith(b"\xff\xd8") for frame in frames)
    assert sum(len(frame.jpeg) for frame in frames) < 100_000
    assert frames[0].label == "0.0 s, return 0"
    assert caption.startswith("Peer 1, the one with the highest final score.")
    run_again = evaluate(run, save=False, domain="nominal").runs[0]
    assert f"return {number(run_again.measured[0].episode_return[1, 0, 0])} in" in caption


def test_lines_stand_out_from_both_grounds():
    """Each method's colour, mixed with black or white as far as it must be."""
    for name, look in METHODS.items():
        for ground, colour in GROUND.items():
            made = legible(look.colour, colour, CONTRAST[ground])
            assert contrast(made, colour) >= CONTRAST[ground], name
    assert legible("#0072B2", GROUND["light"], 3.2) == "#0072b2"
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert colours([]).startswith(".c0{")


def test_a_chart_draws_points_where_its_axes_say():
    """From (0, 0) to (10, 5), the span of the axes: corner to corner of the frame."""
    chart = line_chart([Curve("a<b", [(0, 0), (10, 5)])], title="t", x_label="x", span=(0.0, 5.0))
    (path,) = re.findall(r'class="line c0" d="([^"]*)"', chart)
    assert path == "M54.0 196.0L348.0 30.0"
    assert "a&lt;b" in chart
    assert line_chart([], title="t", x_label="x") == ""
    rows = [Row("one", [1.0, 3.0], 2.0, (-10.0, 14.0), 0), Row("two", [2.0], 2.0, None, 1)]
    drawn = interval_chart(rows, title="t", x_label="x")
    assert drawn.count('class="seed"') == 3
    assert drawn.count('class="interval"') == 1  # a single seed has none


def test_numbers_have_the_digits_that_mean_something():
    assert [number(v) for v in (1003520, 34.56, 0.012345, -2.5, 0, None, 12.0)] == [
        "1,003,520", "34.6", "0.0123", "\u22122.50", "0", "\u2013", "12",
    ]  # fmt: skip
    assert plus_minus(1500.0, (1000.0, 2000.0)) == "1,500 \u00b1 500"
    assert [tick(v) for v in (250000, 1e6, 0.25, -2000)] == ["250k", "1M", "0.25", "\u22122000"]
    assert [duration(s) for s in (0.4, 12, 292, 3900)] == [
        "0.4 s",
        "12 s",
        "4 min 52 s",
        "1 h 5 min",
    ]


def test_evaluate_runs_what_is_missing_and_then_nothing_is(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer strengths and episodes than a user gets; untrained policies fall at once."""
    monkeypatch.setattr(report, "STRENGTHS", (0.0, 1.0))
    monkeypatch.setattr(report, "EPISODES", 1)
    assert "adds what is not tested" in p2p(run, "--frames", "0").output
    done = p2p(run, "--frames", "0", "--evaluate")
    assert done.exit_code == 0, done.output
    assert "adds what is not tested" not in done.output
    page = check((run / "report.html").read_text())
    assert "24 domains a strength" in page.text
    assert "9 values a factor, 1 episode each" in page.text
