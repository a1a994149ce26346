"""The pages of the app: one tab a module, each with `TITLE`, `create()` and `python -m demos.<name>`."""

import os

# read by gradio while it is imported: no page and no server of ours asks anyone outside
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
