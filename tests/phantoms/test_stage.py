import subprocess
import sys
from pathlib import Path

STAGE = Path(__file__).resolve().parents[2] / "scripts" / "phantom.py"


def test_the_command_says_in_one_line_why_it_draws_nothing(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    flags = [
        "--folder",
        str(tmp_path),
        "--settings",
        '{"images_per_class": 12}',
        "--manifest",
        str(tmp_path / "m.json"),
    ]
    done = subprocess.run([sys.executable, STAGE, *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
