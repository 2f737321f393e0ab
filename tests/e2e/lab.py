"""Using JupyterLab as an analyst does: in the frame on the project's page, with mouse and keyboard."""

from __future__ import annotations

import contextlib
import re
import time

from playwright.sync_api import Frame, FrameLocator, Page, expect

_READY_MS = 90_000
_TRIES = 5
_SHOWN = ".jp-NotebookPanel:not(.lm-mod-hidden)"


def frame_of(page: Page) -> FrameLocator:
    return page.frame_locator("iframe[name=lab]")


def lab_frame(page: Page) -> Frame:
    """The frame itself, for what a script in the workspace's own page could do."""
    found = page.frame(name="lab")
    assert found is not None
    return found


def open_notebook(page: Page) -> None:
    """Open a new notebook from the launcher and wait for its kernel."""
    lab = frame_of(page)
    lab.locator("[data-command='launcher:create']").first.click(timeout=_READY_MS)
    before = lab.locator(".jp-NotebookPanel").count()
    lab.locator(".jp-LauncherCard[data-category=Notebook]").last.click(timeout=_READY_MS)
    expect(lab.locator(".jp-NotebookPanel")).to_have_count(before + 1, timeout=_READY_MS)
    expect(lab.locator(f"{_SHOWN} .jp-Cell").first).to_be_visible(timeout=_READY_MS)
    expect(lab.locator(f"{_SHOWN} .jp-Notebook-ExecutionIndicator[data-status=idle]")).to_be_visible(timeout=_READY_MS)


def run_cell(page: Page, code: str, seconds: float = 60) -> str:
    """Type `code` into the last cell, run it, and give what it printed once it has finished."""
    lab = frame_of(page)
    cells = lab.locator(f"{_SHOWN} .jp-CodeCell")
    cell = cells.nth(cells.count() - 1)
    editor = cell.locator(".cm-content")
    editor.click()
    expect(cell).to_have_class(re.compile("jp-mod-active"))
    page.keyboard.insert_text(code)
    expect(editor).to_contain_text(code.strip().splitlines()[-1][:40])
    prompt = cell.locator(".jp-InputPrompt")
    for _ in range(_TRIES):  # Lab drops a run silently while it is still connecting to the kernel
        editor.click()
        lab.locator(f"{_SHOWN} [data-command='notebook:run-cell-and-select-next']").first.click()
        with contextlib.suppress(AssertionError):
            expect(prompt).not_to_have_text("[ ]:", timeout=3000)
            break
    expect(prompt).to_have_text(re.compile(r"\[\d+\]:"), timeout=seconds * 1000)
    time.sleep(0.2)
    return "\n".join(cell.locator(".jp-OutputArea-output").all_inner_texts())
