// The form of an environment: a preview while typing, what is known of the image, rows that come
// and go, what an image proposes. Without this script the form does the same with its buttons.

(() => {
  "use strict";

  const PREVIEW_MILLISECONDS = 500;
  const FACTS_MILLISECONDS = 600;
  const SPINNER_MILLISECONDS = 1000;

  const form = document.getElementById("environment-form");
  if (!form) {
    return;
  }
  const live = document.getElementById("form-live");
  const language = document.documentElement.lang;
  const xsrf = form.querySelector("[name=_xsrf]").value;
  const field = (name) => form.elements.namedItem(name);
  const debounce = (run, milliseconds) => {
    let timer;
    return () => {
      clearTimeout(timer);
      timer = setTimeout(run, milliseconds);
    };
  };
  const say = (text) => {
    live.textContent = "";
    setTimeout(() => {
      live.textContent = text;
    }, 50);
  };

  // ------------------------------------------------------------ nothing is lost by leaving

  let changed = Boolean(document.querySelector("#problems, #meeting"));
  let leaving = false;
  form.addEventListener("submit", () => {
    leaving = true;
  });
  window.addEventListener("pageshow", () => {
    leaving = false;
  });
  window.addEventListener("beforeunload", (event) => {
    if (changed && !leaving) {
      event.preventDefault();
    }
  });

  // ------------------------------------------------------------ the preview

  const preview = document.getElementById("preview");
  let asked = null;

  async function showPreview() {
    asked?.abort();
    asked = new AbortController();
    const sent = new URLSearchParams();
    for (const [name, value] of new FormData(form)) {
      if (!name.startsWith("secrets.")) {
        sent.append(name, value);
      }
    }
    try {
      const answer = await fetch(form.dataset.preview, {
        method: "POST",
        body: sent,
        credentials: "same-origin",
        redirect: "manual",
        signal: AbortSignal.any([asked.signal, AbortSignal.timeout(15000)]),
      });
      if (!answer.ok) {
        throw new Error(String(answer.status));
      }
      preview.innerHTML = await answer.text();
      preview.removeAttribute("title");
      preview.classList.remove("stale");
    } catch (error) {
      if (error.name !== "AbortError") {
        preview.classList.add("stale");
        preview.title = preview.dataset.stale;
      }
    }
  }
  const previewSoon = debounce(showPreview, PREVIEW_MILLISECONDS);

  // ------------------------------------------------------------ the short name

  const slug = field("slug");
  function proposedSlug(title) {
    return title
      .normalize("NFKD")
      .replace(/\p{M}/gu, "")
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, "-")
      .replace(/^[0-9-]+/, "")
      .slice(0, 30)
      .replace(/-+$/, "");
  }
  function proposeSlug() {
    if (slug && slug.type !== "hidden") {
      slug.placeholder = proposedSlug(field("title.en").value.trim() || field("title.fr").value);
    }
  }

  // ------------------------------------------------------------ rows

  const rowsOf = (part) => form.querySelector(`[data-rows="${part}"]`);

  function addRow(part, values = {}) {
    const box = rowsOf(part);
    const numbers = [...form.elements]
      .map((element) => element.name)
      .filter((name) => name.startsWith(`${part}.`))
      .map((name) => Number(name.slice(part.length + 1).split(".")[0]));
    const number = Math.max(-1, ...numbers.filter(Number.isInteger)) + 1;
    const template = document.getElementById(`row-${part}`);
    const holder = document.createElement("template");
    holder.innerHTML = template.innerHTML.replaceAll("NUMBER", String(number));
    const row = holder.content.firstElementChild;
    for (const [name, value] of Object.entries(values)) {
      const input = row.querySelector(`[name="${part}.${number}.${name}"]`);
      if (input) {
        input.value = value;
      }
    }
    box.append(row);
    return row;
  }

  function readRows(part) {
    return [...rowsOf(part).children].map((row) => {
      const values = {};
      for (const input of row.querySelectorAll("input, select, textarea")) {
        values[input.name.slice(part.length + 1).replace(/^\d+\./, "")] = input.value.trim();
      }
      return values;
    });
  }

  form.addEventListener("click", (event) => {
    const button = event.target.closest("[data-add], [data-remove]");
    if (!button) {
      return;
    }
    event.preventDefault();
    changed = true;
    if (button.dataset.add) {
      addRow(button.dataset.add).querySelector("input").focus();
      say(live.dataset.added);
    } else {
      const row = button.closest("[data-row]");
      const add = form.querySelector(`[data-add="${row.dataset.row}"]`);
      row.remove();
      add.focus();
      say(live.dataset.removed);
    }
    previewSoon();
  });

  // ------------------------------------------------------------ what an image proposes

  const source = () => form.querySelector("[name='image.source']:checked")?.value || "reference";
  const NOTHING = { command: "", home: "", kind: "", interfaces: [] };

  function chosenOption() {
    const select = field(`image.${source()}`);
    return select?.tagName === "SELECT" ? select.selectedOptions[0] : null;
  }
  function chosenImage() {
    return chosenOption()?.value ?? (source() === "reference" ? field("image").value.trim() : "");
  }
  function proposalOf(reference) {
    const option = [...form.querySelectorAll("option[data-proposal]")].find(
      (one) => one.value === reference,
    );
    return option ? JSON.parse(option.dataset.proposal) : NOTHING;
  }

  const filled = (rows) =>
    JSON.stringify(
      rows
        .map((row) => {
          const defaults = { port: "8888", path: "/" };
          return Object.entries(row)
            .filter(([name, value]) => value && value !== defaults[name])
            .sort(([one], [other]) => (one < other ? -1 : 1));
        })
        .filter((row) => row.some(([name]) => name === "name" || name.startsWith("title"))),
    );

  let proposed = proposalOf(field("proposed").value);
  function proposeFields() {
    const option = chosenOption();
    const says = document.getElementById(`${source()}-says`);
    if (option && says) {
      says.textContent = option.dataset.says;
    }
    if (!option && chosenImage()) {
      // Nothing is known of it; the command of the image before it would not be in this one.
      const command = field("command");
      if (proposed.command && command.value.trim() === proposed.command) {
        command.value = "";
      }
      proposed = { ...proposed, command: "" };
      field("proposed").value = chosenImage();
    }
    if (!option || option.value === field("proposed").value) {
      return;
    }
    const wanted = JSON.parse(option.dataset.proposal);
    let did = false;
    const command = field("command");
    if (["", proposed.command].includes(command.value.trim())) {
      did ||= command.value !== wanted.command;
      command.value = wanted.command;
    }
    const used = form.querySelector("[name='storage.choice']:checked")?.value;
    const folder = field(used === "global" ? "storage.global" : "storage.dedicated");
    if (wanted.home && ["", proposed.home].includes(folder.value.trim())) {
      did ||= folder.value !== wanted.home;
      folder.value = wanted.home;
    }
    const present = filled(readRows("interfaces"));
    if (wanted.interfaces.length && ["[]", filled(proposed.interfaces)].includes(present)) {
      did ||= present !== filled(wanted.interfaces);
      rowsOf("interfaces").replaceChildren();
      for (const one of wanted.interfaces) {
        addRow("interfaces", one);
      }
      for (const radio of form.querySelectorAll("[name='interfaces.kind']")) {
        radio.checked = radio.value === wanted.kind;
      }
    }
    proposed = wanted;
    field("proposed").value = option.value;
    if (did) {
      say(live.dataset.proposed);
    }
  }

  // ------------------------------------------------------------ what is known of the image

  const facts = document.getElementById("image-facts");
  const words = JSON.parse(facts.dataset.words);
  const put = (sentence, values) =>
    Object.entries(values).reduce((text, [name, value]) => text.replace(`{${name}}`, () => value),
      sentence);
  let looked = "";
  let looking = null;

  function spelledSize(bytes) {
    const [amount, unit] = bytes >= 1e9 ? [bytes / 1e9, "gigabyte"] : [bytes / 1e6, "megabyte"];
    return new Intl.NumberFormat(language, {
      style: "unit", unit, unitDisplay: "short", maximumFractionDigits: 1,
    }).format(amount);
  }

  function spelled(image) {
    const size = image.size_bytes &&
      put(words[image.found === "engine" ? "disk" : "download"],
        { size: spelledSize(image.size_bytes) });
    const starts = [...image.entrypoint, ...image.command].join(" ");
    const root = ["", "0", "root", "0:0", "root:root"].includes(image.user);
    return [
      size,
      root ? words.root : put(words.user, { user: image.user }),
      image.ports.length ? put(words.ports, { ports: image.ports.join(", ") }) : words.no_ports,
      starts ? put(words.starts, { command: starts }) : words.nothing,
      image.has_healthcheck ? words.health : words.no_health,
    ].filter(Boolean);
  }

  function showFacts(state, sentence, items = []) {
    facts.dataset.state = state;
    facts.replaceChildren();
    if (!sentence) {
      return;
    }
    const line = document.createElement("p");
    const icon = document.createElement(state === "asking" ? "span" : "i");
    icon.className = {
      asking: "spinner-border spinner-border-sm",
      good: "fa fa-circle-check",
      bad: "fa fa-triangle-exclamation",
    }[state];
    icon.setAttribute("aria-hidden", "true");
    line.append(icon, " ", sentence);
    facts.append(line);
    if (items.length) {
      const list = document.createElement("ul");
      list.className = "facts";
      for (const item of items) {
        const entry = document.createElement("li");
        entry.textContent = item.length > 160 ? `${item.slice(0, 160)}…` : item;
        list.append(entry, " ");
      }
      facts.append(list);
    }
  }

  async function lookAtImage() {
    const reference = chosenImage();
    if (reference === looked || !facts.dataset.url) {
      return;
    }
    looked = reference;
    looking?.abort();
    if (!reference) {
      showFacts("", "");
      return;
    }
    const mine = new AbortController();
    looking = mine;
    const slow = setTimeout(() => showFacts("asking", words.asking), SPINNER_MILLISECONDS);
    try {
      const url = `${facts.dataset.url}?${new URLSearchParams({ reference })}`;
      const answer = await fetch(url, {
        headers: { "X-XSRFToken": xsrf, Accept: "application/json" },
        credentials: "same-origin",
        cache: "no-store",
        signal: AbortSignal.any([mine.signal, AbortSignal.timeout(30000)]),
      });
      const said = await answer.json();
      if (mine.signal.aborted) {
        return;
      }
      if (answer.ok) {
        const floating = /(^[^:@]+|:latest)$/.test(reference.split("/").pop());
        const items = spelled(said);
        showFacts("good", words[said.found] || words.registry,
          floating ? [...items, words.latest] : items);
        proposeFolder(said.working_dir);
      } else {
        const first = said.errors?.[0]?.message;
        showFacts("bad", (answer.status === 422 && first) || said.detail || words.failed);
      }
    } catch (error) {
      if (error.name !== "AbortError") {
        looked = ""; // asked again with the next change
        showFacts("bad", words.failed);
      }
    } finally {
      clearTimeout(slow);
    }
  }
  const lookSoon = debounce(lookAtImage, FACTS_MILLISECONDS);

  // The home folder of an image nobody has told us of is where it starts.
  function proposeFolder(folder) {
    const dedicated = field("storage.dedicated");
    if (folder.startsWith("/home/") && dedicated && !dedicated.value) {
      dedicated.value = folder;
    }
  }

  // ------------------------------------------------------------ together

  form.addEventListener("input", (event) => {
    changed = true;
    if (event.target.name?.startsWith("title.")) {
      proposeSlug();
    }
    if (event.target.name?.startsWith("image")) {
      proposeFields();
      lookSoon();
    }
    previewSoon();
  });

  proposeSlug();
  proposeFields();
  lookAtImage();
  const { focus } = form.dataset;
  const problem = document.getElementById("problems") || document.getElementById("meeting");
  const added = focus && form.querySelector(`[name^="${CSS.escape(focus)}."]`);
  const target = problem || added || (focus && document.getElementById(focus)) ||
    (focus === "preview" ? document.getElementById("preview-title") : null);
  if (target) {
    target.focus();
  }
})();
