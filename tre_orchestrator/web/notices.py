"""What the page says after something was done: the address carries a code, never words of its own."""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import RedirectResponse

NOTICES = {
    "approved": "Approved. The ledger has your decision; members can see it now.",
    "refused": "Refused. The project's members can read your reason.",
    "granted": "Granted. Workspaces of the project may use the data from now on.",
    "revoked": "Revoked. No new workspace starts; running ones end within the grant's grace.",
    "copies-delete": "Decided: the copies are deleted. The hold ends when the deletion is verified.",
    "copies-release-hold": "Decided: the copies stay, and the project's workspaces may start again.",
    "draft-made": "Draft saved. Add what the checkers need to know, then submit it.",
    "draft-saved": "Saved.",
    "submitted": "Submitted. The files were copied and are being checked; nothing you change now alters them.",
    "contested": "Sent to the checkers, with your reason.",
    "withdrawn": "Withdrawn. Nothing of it will leave.",
    "voted": "Vote recorded.",
    "review-in": "Your review is in. Votes are shown once enough reviews are in.",
    "returned": "Returned to the author with your comments.",
    "rejected": "Rejected. The author can read your reason.",
    "release-revoked": "Revoked. The bundle can no longer be downloaded.",
    "rechecked": "Sent back to the checks, under the policy as it is now.",
    "claimed": "Claimed. Other checkers see that you are on it.",
    "commented": "Comment added.",
    "workspace-ended": "The workspace was stopped. Your home folder and outputs are kept.",
    "token-revoked": "Token revoked.",
    "session-closed": "That session was signed out.",
    "password-set": "Your password is set. Your other sessions were signed out.",
    "sessions-closed": "All your other sessions were signed out.",
}


def go(path: str, done: str = "") -> RedirectResponse:
    """After a write: look at `path`, with the notice `done`."""
    return RedirectResponse(f"{path}?done={quote(done)}" if done else path, status_code=303)
