"""Imports point down: what everything needs imports nothing, and what starts first imports nothing slow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import imbalance_cli

PACKAGE = Path(imbalance_cli.__file__).parent

# A module imports only from lines above its own.
LEVELS = """
__init__ docstrings errors lazy papers advice.__init__ data.__init__ methods.__init__ pages.__init__ \
    studies.__init__ studies.scores
blocks files metrics own_results randomness registry strict_yaml weight_steps data.decode data.image_set \
    methods.cost_table
drawing models own_methods prevalence runs setting_problems data.download data.image_cache data.listing \
    data.manifest data.shapes methods.augment.form methods.augment.operations methods.augment.strength \
    methods.calibration methods.criteria methods.losses.form methods.losses.priors methods.losses.slopes \
    methods.mixing methods.optimizers methods.refits.form methods.resampling.form \
    methods.samplers methods.schedules methods.weights pages.run_scores studies.significance
predictions run_verdict data.order methods.augment.colour methods.augment.geometry methods.augment.occlusion \
    methods.augment.policies methods.losses.blocks methods.losses.odds methods.posthoc methods.resampling.adding \
    methods.resampling.cleaning methods.resampling.cutting methods.resampling.needs pages.page pages.study_plots \
    studies.verdicts
methods.losses.classic methods.losses.spreads methods.refits.found methods.resampling.chosen \
    methods.resampling.combined pages.study_curves studies.comparison studies.paired_runs
methods.losses.focusing methods.losses.influence methods.losses.margins methods.losses.noise methods.losses.ranking \
    methods.losses.rivals methods.losses.smoothing methods.refits.trained
methods.augment.__init__ methods.losses.__init__ methods.refits.__init__ methods.resampling.__init__
conflicts
config loss_curves plots threshold_plots data.batches data.cifar data.folder data.subset
stages training_aids
method_effects own_trials
checkpoints combinations inference data.sources studies.tuning
catalogue evaluation experiment_data streams studies.file studies.study
ways_to_say objectives advice.facts pages.class_effects pages.run_pictures pages.study studies.reading
catalogue_report refitting stopped_runs training advice.rules studies.cell_runs
experiments figures reports advice.advice advice.training_time
advice.report whole_runs cli.output cli.parsing pages.run studies.tables studies.worker
studies.paired_tables
cli.advise cli.progress cli.report cli.stopping cli.study_progress
cli.compare cli.download cli.evaluate cli.make_subset cli.plot_loss cli.refit cli.train
cli.methods
cli.main
cli.__init__
__main__
"""
LEVEL = {module: level for level, line in enumerate(LEVELS.split("\n")) for module in line.split()}

FILES = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported_by(path: Path) -> set[str]:
    """The modules of the package that a file imports, at any place in it, for type checking too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.ImportFrom(module=str(source), names=names, level=0):
                found |= {f"{source}.{name.name}" if named(f"{source}.{name.name}") else source for name in names}
            case ast.Import(names=names):
                found |= {name.name for name in names}
            case ast.Call(func=ast.Name(id="lazy_import"), args=[ast.Constant(value=str(source))]):
                found.add(source)
    return {module for source in found if (module := named(source))}


def named(source: str) -> str | None:
    """`imbalance_cli.data.cifar` as it is listed above; None for what is no module of the package."""
    if source.split(".")[0] != PACKAGE.name:
        return None
    module = source.removeprefix(PACKAGE.name).removeprefix(".")
    return next((name for name in (module, f"{module}.__init__".removeprefix(".")) if name in FILES), None)


def test_every_module_has_its_level():
    assert sorted(LEVEL) == sorted(FILES)


@pytest.mark.parametrize("module", FILES)
def test_imports_point_down(module):
    imported = imported_by(FILES[module])
    not_below = {name for name in imported if LEVEL[name] >= LEVEL[module]}
    assert not not_below, f"{module} imports {not_below}, which must be above it in the table"


def test_the_check_sees_imports_of_every_form(tmp_path):
    (tmp_path / "example.py").write_text(
        "import torch, imbalance_cli.files\n"
        "from imbalance_cli import __version__, runs\n"
        "from imbalance_cli.data import cifar\n"
        "from imbalance_cli.data.cifar import load_cifar\n"
        "blocks = lazy_import('imbalance_cli.blocks')\n"
        "def later():\n    from imbalance_cli.cli import app\n"
    )
    expected = {"files", "__init__", "runs", "data.cifar", "blocks", "cli.__init__"}
    assert imported_by(tmp_path / "example.py") == expected


@pytest.mark.parametrize("module", ["imbalance_cli.cli", "imbalance_cli.config"])
def test_starting_imports_nothing_slow(module):
    slow = {"torch", "torchvision", "matplotlib", "sklearn", "scipy", "numpy", "PIL"}
    code = f"import sys, {module}; print(*sorted({slow!r} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.split() == []


@pytest.mark.parametrize("module", FILES)
def test_files_are_short_enough_for_one_topic(module):
    assert len(FILES[module].read_text(encoding="utf-8").splitlines()) <= 400
