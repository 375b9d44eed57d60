// Notifications of the browser before an environment stops, for who asked for them.
//
// The page shows each warning by itself (states.js brings it up to date). This asks once a minute,
// also while the page is hidden, and shows each warning once. It is announced to screen readers in
// the live region that states.js has.

(() => {
  "use strict";

  const SECONDS = 60;
  const place = document.getElementById("notifications");
  if (!place || !("Notification" in window)) {
    return;
  }
  const button = document.getElementById("notify");
  const { url, xsrf } = place.dataset;
  const shown = new Set();

  function show() {
    place.hidden = Notification.permission === "denied";
    button.hidden = Notification.permission !== "default";
    document.getElementById("notify-on").hidden = Notification.permission !== "granted";
  }

  async function look() {
    let goOn = true;
    try {
      const answer = await fetch(url, {
        headers: { "X-XSRFToken": xsrf },
        credentials: "same-origin",
        cache: "no-store",
        redirect: "manual",
      });
      goOn = answer.type !== "opaqueredirect"; // nobody is signed in any more
      if (answer.ok) {
        for (const warning of (await answer.json()).items) {
          tell(warning);
        }
      }
    } catch {
      // The network or the service is away for a moment; the next look may succeed.
    }
    if (goOn) {
      setTimeout(look, SECONDS * 1000);
    }
  }

  function tell(warning) {
    const key = `${warning.slug} ${warning.key}`;
    if (shown.has(key)) {
      return;
    }
    shown.add(key);
    const live = document.getElementById("live");
    if (live) {
      live.textContent = `${warning.title}: ${warning.text}`;
    }
    if (Notification.permission === "granted") {
      const notification = new Notification(warning.title, { body: warning.text, tag: key });
      notification.addEventListener("click", () => {
        window.focus();
        notification.close();
        document.getElementById(`extend-${warning.slug}`)?.focus();
      });
    }
  }

  button.addEventListener("click", async () => {
    await Notification.requestPermission();
    show();
  });
  show();
  look();
})();
