"""The tabs of the page. Whichever is imported first, all of ours are registered in the order they stand in."""

from modules.ui.tabs import builtin as builtin
