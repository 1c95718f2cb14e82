"""Draw the README's picture: what a study's methods reach at each operating point.

python benchmarks/picture.py benchmarks/results/losses.json losses.png
"""

import argparse
import json
from pathlib import Path

from imbalance_cli.drawing import save_figure
from imbalance_cli.pages.study_plots import operating_points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", type=Path, help="the comparison.json of a study")
    parser.add_argument("output", type=Path, help="the figure: .png, .svg or .pdf")
    options = parser.parse_args()
    (condition,) = json.loads(options.comparison.read_text())["conditions"]
    save_figure(operating_points(condition["rows"], len(condition["data"]["classes"])), options.output)


if __name__ == "__main__":
    main()
