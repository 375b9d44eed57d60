// The pages of images work without this; with it, the Dockerfile follows what is typed, files are
// dropped and sent with a progress bar, and the log of a build comes as it is written.

(() => {
  "use strict";

  const xsrf = () => document.querySelector("input[name=_xsrf]").value;

  // --- the form ----------------------------------------------------------------------------------

  const form = document.getElementById("image-form");
  if (form) {
    const generated = document.getElementById("generated");
    const note = document.getElementById("preview-note");
    const frame = generated.closest(".preview");
    let timer;
    let asked = 0;
    document.getElementById("refresh-preview").hidden = true;

    // Only what is wrong with what was typed so far; a field that is still empty is no fault yet.
    const show = (problems) => {
      for (const place of form.querySelectorAll("[id^=problem-]")) {
        const name = place.id.slice("problem-".length);
        const field = form.elements[name];
        const found = field?.value ? problems[name] || [] : [];
        place.replaceChildren(
          ...found.map((text) => Object.assign(document.createElement("div"), { textContent: text })),
        );
        place.hidden = !found.length;
        field?.classList?.toggle("is-invalid", Boolean(found.length));
        if (found.length) {
          field.setAttribute("aria-invalid", "true");
        } else {
          field?.removeAttribute?.("aria-invalid");
        }
      }
    };

    const preview = async () => {
      if (form.elements.source.value !== "packages") {
        return;
      }
      const number = ++asked;
      try {
        const answer = await fetch(form.dataset.preview, {
          method: "POST",
          body: new URLSearchParams(new FormData(form)),
          headers: { "X-XSRFToken": xsrf() },
          redirect: "manual",
        });
        if (!answer.ok || number !== asked) {
          return;
        }
        const { dockerfile, problems } = await answer.json();
        if (number !== asked) {
          return;
        }
        show(problems);
        if (dockerfile) {
          generated.textContent = dockerfile;
        }
        frame.toggleAttribute("data-stale", !dockerfile);
        note.textContent = dockerfile ? note.dataset.fine : note.dataset.broken;
      } catch {
        // The service is away for a moment: the next letter asks again.
      }
    };
    form.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(preview, 400);
    });

    // What is left of a page with unsaved words is asked about by the browser.
    let changed = Boolean(document.querySelector("#note, #problems, #conflict"));
    form.addEventListener("input", () => (changed = true));
    form.addEventListener("submit", () => (changed = false));
    window.addEventListener("beforeunload", (event) => {
      if (changed) {
        event.preventDefault();
      }
    });
    document.querySelector("#conflict, #problems")?.scrollIntoView({ block: "nearest" });
  }

  for (const area of document.querySelectorAll("textarea[data-numbered]")) {
    const numbers = document.createElement("pre");
    numbers.className = "line-numbers font-monospace";
    numbers.setAttribute("aria-hidden", "true");
    area.before(numbers);
    const count = () => {
      const lines = area.value.split("\n").length;
      numbers.textContent = Array.from({ length: lines }, (_, index) => index + 1).join("\n");
      numbers.style.height = `${area.offsetHeight || 400}px`;
      numbers.scrollTop = area.scrollTop;
    };
    area.addEventListener("input", count);
    area.addEventListener("scroll", () => (numbers.scrollTop = area.scrollTop));
    new ResizeObserver(count).observe(area);
  }

  // --- a build -----------------------------------------------------------------------------------

  const log = document.getElementById("log");
  if (log) {
    const toTheEnd = document.getElementById("to-the-end");
    let follows = true;
    const isAtTheEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 24;
    log.addEventListener("scroll", () => {
      follows = isAtTheEnd();
      toTheEnd.hidden = follows;
    });
    toTheEnd.addEventListener("click", () => {
      log.scrollTop = log.scrollHeight;
      log.focus({ preventScroll: true });
    });
    log.scrollTop = log.scrollHeight;

    if (log.dataset.events) {
      follow(log, () => {
        if (follows) {
          log.scrollTop = log.scrollHeight;
        }
      });
    }
  }

  function follow(log, written) {
    const said = document.getElementById("build-said");
    const query = new URLSearchParams({ after: log.dataset.after, _xsrf: log.dataset.xsrf });
    const events = new EventSource(`${log.dataset.events}?${query}`);
    let state = document.getElementById("build-state").dataset.state;
    let position;
    let cancel;

    events.addEventListener("log", (event) => {
      log.append(JSON.parse(event.data));
      written();
    });
    events.addEventListener("state", async (event) => {
      const news = JSON.parse(event.data);
      const known = position !== undefined;
      const differs = news.state !== state || (known && (news.position !== position || news.cancel !== cancel));
      ({ state, position, cancel } = news);
      if (differs) {
        await renew();
      }
    });
    events.addEventListener("end", () => events.close());
    // Not a break, which the browser mends by itself: the service refuses. The page is asked instead.
    events.addEventListener("error", () => {
      if (events.readyState === EventSource.CLOSED) {
        setTimeout(() => window.location.reload(), 5000);
      }
    });

    async function renew() {
      const answer = await fetch(window.location.href, {
        headers: { "X-XSRFToken": log.dataset.xsrf },
        cache: "no-store",
        redirect: "manual",
      });
      if (!answer.ok) {
        return;
      }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const id of ["build-state", "build-facts"]) {
        const before = document.getElementById(id);
        const after = page.getElementById(id);
        const focused = before.contains(document.activeElement);
        before.replaceWith(document.adoptNode(after));
        if (focused) {
          (after.querySelector("a, button, select") ?? log).focus({ preventScroll: true });
        }
        if (id === "build-state") {
          said.textContent = after.dataset.said;
        }
      }
    }
  }

  // --- files -------------------------------------------------------------------------------------

  const zone = document.getElementById("drop-zone");
  if (zone) {
    uploads(zone);
  }

  function uploads(zone) {
    const words = zone.dataset;
    const bar = document.getElementById("progress");
    const failures = document.getElementById("upload-failures");
    const said = document.getElementById("upload-said");
    const input = (id) => document.getElementById(id);

    for (const element of document.querySelectorAll("[data-needs-script]")) {
      element.hidden = false;
    }
    document.getElementById("plain-upload").hidden = true;
    for (const id of ["choose-files", "choose-folder", "choose-zip"]) {
      const field = input(`${id}-field`);
      input(id).addEventListener("click", () => field.click());
      field.addEventListener("change", () => {
        const chosen = [...field.files].map((file) => [file.webkitRelativePath || file.name, file]);
        field.value = "";
        send(chosen, id === "choose-zip");
      });
    }

    let inside = 0;
    zone.addEventListener("dragenter", (event) => {
      event.preventDefault();
      inside += 1;
      zone.classList.add("over");
    });
    zone.addEventListener("dragover", (event) => event.preventDefault());
    zone.addEventListener("dragleave", () => {
      inside -= 1;
      zone.classList.toggle("over", inside > 0);
    });
    zone.addEventListener("drop", async (event) => {
      event.preventDefault();
      inside = 0;
      zone.classList.remove("over");
      // The items are gone once this function has waited for anything.
      const entries = [...event.dataTransfer.items]
        .map((item) => item.webkitGetAsEntry?.())
        .filter(Boolean);
      const files = [...event.dataTransfer.files];
      const found = entries.length
        ? (await Promise.all(entries.map((entry) => walk(entry, "")))).flat()
        : files.map((file) => [file.name, file]);
      const zip = found.length === 1 && /\.zip$/i.test(found[0][0]);
      send(found, zip && window.confirm(words.askUnpack));
    });

    async function walk(entry, folder) {
      const path = folder + entry.name;
      if (entry.isFile) {
        const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
        return [[path, file]];
      }
      const reader = entry.createReader();
      const children = [];
      for (;;) {
        // At most a hundred at a time.
        const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
        if (!some.length) {
          break;
        }
        children.push(...some);
      }
      return (await Promise.all(children.map((child) => walk(child, `${path}/`)))).flat();
    }

    async function send(chosen, zip) {
      if (!chosen.length) {
        return;
      }
      failures.replaceChildren();
      failures.hidden = true;
      const total = chosen.reduce((sum, [, file]) => sum + file.size, 0) || 1;
      const before = refused(chosen, zip);
      if (before.length) {
        tell(before);
        return;
      }
      bar.hidden = false;
      zone.setAttribute("aria-busy", "true");
      let sent = 0;
      let arrived = 0;
      const failed = [];
      for (const [path, file] of chosen) {
        try {
          await put(path, file, zip, (part) => progress((sent + part) / total, path));
          arrived += 1;
        } catch (error) {
          failed.push([path, error.message]);
        }
        sent += file.size;
        progress(sent / total, path);
      }
      zone.removeAttribute("aria-busy");
      bar.hidden = true;
      if (arrived) {
        await renew();
        said.textContent = words.saidDone;
      }
      tell(failed);
    }

    // The service checks the same, and more; here it is told before anything is sent.
    function refused(chosen, zip) {
      const found = [];
      if (!zip) {
        for (const [path, file] of chosen) {
          if (file.size > Number(words.maxFile)) {
            found.push([path, words.saidTooLarge]);
          }
        }
        if (chosen.length > Number(words.maxFiles)) {
          found.push(["", words.saidTooMany]);
        }
      }
      if (chosen.reduce((sum, [, file]) => sum + file.size, 0) > Number(words.maxTotal)) {
        found.push(["", words.saidAllTooLarge]);
      }
      return found;
    }

    function progress(part, path) {
      const percent = Math.min(100, Math.round(part * 100));
      const inner = bar.querySelector(".progress-bar");
      bar.querySelector(".progress").setAttribute("aria-valuenow", percent);
      inner.style.width = `${percent}%`;
      bar.querySelector(".progress-path").textContent = path;
    }

    // XMLHttpRequest: fetch does not say how much was sent.
    function put(path, file, zip, told) {
      return new Promise((resolve, reject) => {
        const request = new XMLHttpRequest();
        const query = zip ? "" : `?${new URLSearchParams({ path })}`;
        request.open(zip ? "POST" : "PUT", (zip ? words.zipUrl : words.fileUrl) + query);
        request.setRequestHeader("X-XSRFToken", words.xsrf);
        request.setRequestHeader("Content-Type", "application/octet-stream");
        request.setRequestHeader("Accept-Language", document.documentElement.lang);
        request.upload.addEventListener("progress", (event) => told(event.loaded));
        request.addEventListener("error", () => reject(new Error(words.saidBroken)));
        request.addEventListener("load", () => {
          if (request.status < 300) {
            resolve();
            return;
          }
          let why = words.saidBroken;
          try {
            why = JSON.parse(request.responseText).detail;
          } catch {
            // A proxy's own page: there is nothing to say of it.
          }
          reject(new Error(why));
        });
        request.send(file);
      });
    }

    function tell(failed) {
      failures.hidden = !failed.length;
      failures.replaceChildren(
        ...failed.slice(0, 20).map(([path, why]) => {
          const line = document.createElement("li");
          if (path) {
            line.append(Object.assign(document.createElement("code"), { textContent: path }), ": ");
          }
          line.append(why);
          return line;
        }),
      );
    }

    async function renew() {
      const answer = await fetch(window.location.pathname, {
        headers: { "X-XSRFToken": words.xsrf },
        cache: "no-store",
      });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.getElementById("file-list").replaceWith(
        document.adoptNode(page.getElementById("file-list")),
      );
    }
  }
})();
