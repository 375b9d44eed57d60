// The sign-in page: finds institutions while somebody types, and looks at this computer's clock.
// Without it the page works: the search is a form, the institutions are links.
"use strict";

// ---------------------------------------------------------------- the clock of this computer

function spelled(minutes, words) {
  const [n, text] =
    minutes < 120 ? [minutes, words.minutes]
      : minutes < 48 * 60 ? [Math.round(minutes / 60), words.hours]
        : [Math.round(minutes / 1440), words.days];
  return text.replace("{n}", n);
}

function lookAtClock() {
  const warning = document.getElementById("clock-warning");
  // When this page was asked for, by this computer's clock; a page from the cache tells nothing.
  const asked = performance.timeOrigin;
  const [navigation] = performance.getEntriesByType("navigation");
  if (!warning || !navigation || navigation.type === "back_forward") return;
  const minutes = Math.round((asked + navigation.responseStart - warning.dataset.now) / 60000);
  if (Math.abs(minutes) < 2) return;
  const text = minutes > 0 ? warning.dataset.ahead : warning.dataset.behind;
  warning.textContent = text.replace("{time}", spelled(Math.abs(minutes), warning.dataset));
  warning.hidden = false;
}

// ---------------------------------------------------------------- the institutions

function entry(institution, login, language) {
  const address = new URL(login, window.location);
  address.searchParams.set("idp", institution.entity_id);
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.className = "btn btn-outline-contrast w-100 text-start way";
  link.href = address;
  const picture = document.createElement(institution.logo ? "img" : "i");
  picture.className = "institution-logo";
  if (institution.logo) {
    Object.assign(picture, {
      src: institution.logo, alt: "", width: 32, height: 32, referrerPolicy: "no-referrer",
    });
  } else {
    picture.classList.add("fa", "fa-university", "text-body-secondary");
    picture.setAttribute("aria-hidden", "true");
  }
  const name = document.createElement("span");
  name.textContent = institution.name[language] || institution.name.fr;
  link.append(picture, " ", name);
  item.append(link);
  return item;
}

function searchWhileTyping(form) {
  const field = form.querySelector("input[type=search]");
  const list = document.getElementById("institutions");
  const status = document.getElementById("institutions-status");
  let asked = null;
  let timer = 0;

  async function search() {
    asked?.abort();
    const text = field.value.trim();
    if (!text) {
      list.replaceChildren();
      status.textContent = "";
      return;
    }
    asked = new AbortController();
    const address = new URL(form.dataset.url, window.location);
    address.searchParams.set("q", text);
    try {
      const answer = await fetch(address, { signal: asked.signal });
      if (!answer.ok) return; // the form's own button still works
      const found = await answer.json();
      list.replaceChildren(
        ...found.items.map((one) => entry(one, form.dataset.login, form.dataset.language)),
      );
      status.textContent =
        found.total === 0 ? form.dataset.none
          : found.total > found.items.length ? form.dataset.more
            : form.dataset.found.replace("{n}", found.total);
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    }
  }

  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, 120);
  });
  form.addEventListener("submit", (event) => {
    const first = list.querySelector("a");
    if (first && list.children.length === 1) {
      event.preventDefault();
      first.click();
    }
  });
  // Down from the field into the list, and up and down in it.
  form.parentElement.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const stops = [field, ...list.querySelectorAll("a")];
    const here = stops.indexOf(document.activeElement);
    const next = stops[here + (event.key === "ArrowDown" ? 1 : -1)];
    if (here < 0 || !next) return;
    event.preventDefault();
    next.focus();
  });
}

// ----------------------------------------------------------------

lookAtClock();
const searchForm = document.getElementById("institution-search");
if (searchForm) searchWhileTyping(searchForm);

const insecure = document.getElementById("insecure-login-warning");
if (insecure && !window.isSecureContext) insecure.hidden = false;

// No second start by an impatient second press; back from the next page all is as before.
const buttons = document.querySelectorAll(".sign-in form[method=post] button[type=submit]");
for (const form of document.querySelectorAll(".sign-in form[method=post]")) {
  form.addEventListener("submit", () => buttons.forEach((button) => { button.disabled = true; }));
}
window.addEventListener("pageshow", () => buttons.forEach((button) => { button.disabled = false; }));
