// The pages of LTI work without this; with it, forms send themselves and lists filter as one types.
"use strict";

// A choice goes back to the course by itself.
for (const form of document.querySelectorAll("form[data-submit]")) {
  form.submit();
}

// Tell the platform, whose window or frame this is, that its registration is done. Nothing is said
// but that, so that it does not matter who listens.
const done = document.querySelector("[data-close]");
if (done) {
  (window.opener || window.parent).postMessage({ subject: done.dataset.close }, "*");
}

for (const button of document.querySelectorAll("[data-copy]")) {
  if (navigator.clipboard) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).value);
      button.textContent = button.dataset.done;
    });
  }
}

const plain = (text) =>
  text
    .normalize("NFKD")
    .replace(/\p{M}/gu, "")
    .toLowerCase();

for (const field of document.querySelectorAll("[data-filter]")) {
  const items = [...document.getElementById(field.dataset.filter).children];
  field.addEventListener("input", () => {
    const words = plain(field.value).split(/\s+/);
    for (const item of items) {
      const chosen = item.querySelector("input:checked");
      item.hidden = !chosen && !words.every((word) => item.dataset.text.includes(word));
    }
  });
}
