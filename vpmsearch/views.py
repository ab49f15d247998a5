"""How results and stores are shown, without knowing it: the package names a view here, which they ask when shown.

So results and stores know neither pictures nor pandas, and a view is imported when something is first shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pandas import DataFrame
    from PIL.Image import Image


class ResultView(Protocol):
    """What shows search results, stores and selections; the module `vpmsearch.report.notebook` is one."""

    def result_picture(self, result: Any, query: Image | None, *, top: int, pid: int | str | None) -> Image:
        """The ranks as a picture; see `SearchResult.show`."""

    def result_frame(self, result: Any) -> DataFrame:
        """One row a match; see `SearchResult.to_pandas`."""

    def result_html(self, result: Any) -> str:
        """The first matches as an HTML table."""

    def store_html(self, store: Any) -> str:
        """What a store holds, as an HTML table."""

    def selection_html(self, selection: Any) -> str:
        """The first images of a selection as an HTML table."""

    def selection_frame(self, selection: Any) -> DataFrame:
        """One row an image; see `Selection.to_pandas`."""

    def selection_arrow(self, selection: Any) -> Any:
        """A `pyarrow.Table`; see `Selection.to_arrow`."""

    def selection_faiss(self, image_ids: Any, vectors: Any) -> Any:
        """A flat FAISS index; see `Selection.to_faiss`."""


_load: Callable[[], ResultView] | None = None


def show_results_by(load: Callable[[], ResultView]) -> None:
    """Set who shows results; `load` is called whenever one is shown. `import vpmsearch` does this."""
    global _load
    _load = load


def result_view() -> ResultView:
    """Who shows results."""
    assert _load is not None, "`import vpmsearch` sets the view"
    return _load()
