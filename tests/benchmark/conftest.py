"""A small finished run on the embedded cohort, and the command line as a function."""

import pytest

from benchmark.cli import main
from tests.at_hand import choose_data_folder

SMALL = ("n=160", "folds=2", "dataset.draws=16", "bootstrap=50")


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    return tmp_path_factory.mktemp("built")


@pytest.fixture
def cli(built, tmp_path, capsys):
    """Run a command line with a store, reports and built cohorts of the test's own: (status, standard output, standard error)."""

    def run(*argv):
        capsys.readouterr()
        places = [f"store={tmp_path / 'cells'}", f"out={tmp_path / 'out'}", f"built={built}"]
        places = [p for p in places if not any(a.startswith(p.split("=")[0] + "=") for a in argv)]
        if argv[0] == "store":
            places = [p for p in places if p.startswith("store=")]
        status = main([*argv, *(places if argv[0] in ("run", "report", "status", "data", "why", "store") else [])])
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def data_root():
    folder = choose_data_folder()
    if not (folder / "eicu-demo" / "patient.csv.gz").exists():
        pytest.skip("no eicu-demo below CRL_MMNAR_DATA")
    return folder
