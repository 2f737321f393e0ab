"""A person at their desk: signed in, a workspace open in the frame, and code run in its kernel by the page itself."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Browser, Frame, Page, expect

from tests.e2e.conftest import RunningTre, new_context, sign_in
from tests.e2e.lab import frame_of, lab_frame

_SHOWN_MS = 120_000

_RUN = """async ([code, id, seconds]) => {
  const json = { "Content-Type": "application/json" };
  if (!id) {
    const made = await fetch("/api/kernels", { method: "POST", headers: json, body: '{"name": "python3"}' });
    if (!made.ok) throw new Error(`no kernel: ${made.status} ${await made.text()}`);
    id = (await made.json()).id;
  }
  const printed = await new Promise((done, fail) => {
    const socket = new WebSocket(`${location.origin.replace("http", "ws")}/api/kernels/${id}/channels`);
    const number = crypto.randomUUID();
    let text = "";
    const late = setTimeout(() => over(fail, new Error(`no answer in ${seconds} s: ${text}`)), seconds * 1000);
    const over = (act, value) => { clearTimeout(late); socket.onclose = null; socket.close(); act(value); };
    socket.onclose = () => over(fail, new Error(`the connection ended: ${text}`));
    socket.onopen = () => socket.send(JSON.stringify({
      header: { msg_id: number, msg_type: "execute_request", username: "", session: number, version: "5.3" },
      parent_header: {}, metadata: {}, channel: "shell",
      content: { code, silent: false, store_history: false, allow_stdin: false },
    }));
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      const kind = message.header.msg_type, content = message.content;
      if (kind === "status" && ["restarting", "dead"].includes(content.execution_state)) over(done, text + "<died>");
      if (message.parent_header.msg_id !== number) return;
      if (kind === "stream") text += content.text;
      if (kind === "error") text += `${content.ename}: ${content.evalue}`;
      if (kind === "status" && content.execution_state === "idle") over(done, text);
    };
  });
  return [id, printed];
}"""


def at_desk(tre: RunningTre, browser: Browser, name: str) -> Page:
    """A browser of this person's own, signed in by a fresh link."""
    return sign_in(new_context(browser), tre.fresh_links()[name], tre.origin)


def open_workspace(tre: RunningTre, page: Page, project: str) -> Frame:
    """Start the project's workspace if it does not run, and open it in the page's frame as a person does."""
    page.goto(f"{tre.origin}/projects/{project}/workspace")
    start = page.get_by_role("button", name=re.compile("^start", re.I))
    ready = frame_of(page).locator(".jp-Launcher, .jp-NotebookPanel").first
    expect(start.first.or_(page.locator("iframe[name=lab]"))).to_be_visible(timeout=_SHOWN_MS)
    if start.count():
        start.first.click()
    expect(ready).to_be_visible(timeout=_SHOWN_MS)
    return lab_frame(page)


class PageKernel:
    """A kernel started by the workspace's own page: browser, gate, Lab's server, kernel."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self.id = ""

    def run(self, code: str, seconds: float = 90) -> str:
        """What the code printed; ends with `<died>` when the kernel did."""
        answer: list[Any] = self._frame.evaluate(_RUN, [code, self.id, seconds])
        self.id, printed = answer
        return str(printed)
