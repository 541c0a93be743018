"""Draw what `rlx compare` found: a page for `rlx report`, learning curves for `rlx plot`.

It reads files only; nothing here needs Ray or torch. A figure is a `Scene` of shapes, from which SVG and PNG
are written. `rlx/report/report.py` puts the page together, `rlx/report/plot.py` the picture.
"""
