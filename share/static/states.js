// Keeps the states on an open page up to date, and says that a button was heard.
//
// Elements with data-environment (and data-state, data-title, data-state-text) are replaced by
// their newer version from the same address when the state of their environment changed; what had
// the focus keeps it, and an open question stays open. One with data-passing goes when there is no
// newer version of it. Without this script the page shows the
// states of when it was loaded, and all its buttons work.

(() => {
  "use strict";

  const PENDING_SECONDS = 5; // something starts or stops
  const SETTLED_SECONDS = 15;
  const STALE_SECONDS = 60; // “stops in about 5 minutes” becomes wrong by itself

  // A start or a stop takes a moment to be answered: no second click meanwhile.
  document.addEventListener("submit", (event) => {
    const button = event.target.querySelector("button[type=submit]");
    if (!button || event.target.method !== "post") {
      return;
    }
    if (button.getAttribute("aria-busy") === "true") {
      event.preventDefault();
      return;
    }
    button.setAttribute("aria-busy", "true");
    const spinner = document.createElement("span");
    spinner.className = "spinner-border spinner-border-sm me-2";
    spinner.setAttribute("aria-hidden", "true");
    button.prepend(spinner);
  });

  // Back from the next page: the browser may show this one as it was left.
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) {
      for (const button of document.querySelectorAll("button[aria-busy]")) {
        button.removeAttribute("aria-busy");
        button.querySelector(".spinner-border")?.remove();
      }
      look();
    }
  });

  const live = document.getElementById("live");
  if (!live) {
    return;
  }
  const { statesUrl, xsrf, changed } = live.dataset;
  let renderedAt = Date.now();
  let timer;
  let looking = false;

  const regions = (root) => [...root.querySelectorAll("[data-environment]")];

  function get(url) {
    // Nobody is signed in any more: there is a redirect, and nothing to show here.
    return fetch(url, {
      headers: { "X-XSRFToken": xsrf },
      credentials: "same-origin",
      cache: "no-store",
      redirect: "manual",
    });
  }

  async function look() {
    clearTimeout(timer);
    if (document.hidden || looking) {
      return;
    }
    looking = true;
    let goOn = true;
    try {
      const answer = await get(statesUrl);
      goOn = answer.type !== "opaqueredirect";
      if (answer.ok) {
        const states = await answer.json();
        const differs = regions(document).some((region) => {
          const state = states[region.dataset.environment];
          return state === undefined
            ? region.dataset.passing !== undefined
            : state !== region.dataset.state;
        });
        if (differs || Date.now() - renderedAt > STALE_SECONDS * 1000) {
          await render();
        }
      }
    } catch {
      // The network or the service is away for a moment; the next look may succeed.
    } finally {
      looking = false;
    }
    if (goOn && !document.hidden) {
      const pending = regions(document).some((region) =>
        ["starting", "stopping"].includes(region.dataset.state),
      );
      timer = setTimeout(look, (pending ? PENDING_SECONDS : SETTLED_SECONDS) * 1000);
    }
  }

  async function render() {
    const answer = await get(window.location.href);
    if (!answer.ok) {
      return;
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    renderedAt = Date.now();
    const announced = [];
    for (const region of regions(document)) {
      const newer = regions(page).find(
        (other) => other.dataset.environment === region.dataset.environment,
      );
      if (!newer && region.dataset.passing !== undefined) {
        region.remove(); // it was there for as long as it ran
        continue;
      }
      // One that is being sent is left alone: the next page is on its way.
      if (newer && !region.querySelector("[aria-busy]") && !newer.isEqualNode(region)) {
        if (newer.dataset.state !== region.dataset.state) {
          announced.push(
            changed
              .replace("{title}", () => newer.dataset.title)
              .replace("{state}", () => newer.dataset.stateText),
          );
        }
        replace(region, document.adoptNode(newer));
      }
    }
    if (announced.length) {
      live.textContent = announced.join(". ");
    }
  }

  function replace(region, newer) {
    const focused = region.contains(document.activeElement) ? document.activeElement : null;
    for (const details of region.querySelectorAll("details[open]")) {
      newer.querySelector(`#${CSS.escape(details.id)}`)?.setAttribute("open", "");
    }
    region.replaceWith(newer);
    if (focused) {
      const again =
        (focused.id && document.getElementById(focused.id)) ||
        newer.querySelector(".environment-actions :is(a, button, summary)");
      again?.focus({ preventScroll: true });
    }
  }

  document.addEventListener("visibilitychange", look);
  timer = setTimeout(look, PENDING_SECONDS * 1000);
})();
