// Takes a one-time link's token out of the address and puts it into a form. The token stays in the fragment, which
// browsers do not send; it leaves the address bar and the history at once, and is used by a press of the button only.
(() => {
  const alert = document.getElementById("error");
  if (alert) alert.focus();
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  const opened = document.getElementById("with-link");
  if (!token || !opened) return;
  history.replaceState(null, "", location.pathname + location.search);
  opened.querySelector("input[name=token]").value = token;
  for (const id of ["with-password", "with-code", "error"]) {
    const other = document.getElementById(id);
    if (other) other.hidden = true;
  }
  opened.hidden = false;
  document.getElementById("token-button").focus();
})();
