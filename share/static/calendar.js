// Draws the month or the week that is shown, with FullCalendar, where the window is wide enough.
//
// The page has the same as a table, which stays where this script, or what it asks for, does not
// load, and on a phone. Then the links to other days and views change what is drawn, the address
// and the title, and keep the focus; the list is a page of its own.

(() => {
  "use strict";

  const VIEWS = { month: "dayGridMonth", week: "timeGridWeek" };
  const WIDE = "(min-width: 768px)"; // as in calendar.css

  const place = document.getElementById("calendar-drawn");
  const table = document.getElementById("calendar-table");
  const heading = document.getElementById("calendar-title");
  const nothing = document.getElementById("nothing");
  const wide = window.matchMedia(WIDE);
  const time = { hour: "2-digit", minute: "2-digit", hour12: false };
  let calendar = null;
  let shown = null; // the last answer
  let asked = 0;

  if (!place || !window.FullCalendar) {
    return;
  }

  async function ask(view, day) {
    const address = new URL(place.dataset.events, window.location.href);
    address.searchParams.set("view", view);
    address.searchParams.set("day", day);
    const answer = await fetch(address, {
      headers: { "X-XSRFToken": place.dataset.xsrf },
      credentials: "same-origin",
      cache: "no-store",
      redirect: "manual", // nobody is signed in any more
      signal: AbortSignal.timeout(20000),
    });
    if (!answer.ok) {
      throw new Error(`${answer.status}`);
    }
    return answer.json();
  }

  function event(one) {
    return {
      title: one.title,
      start: one.start,
      end: one.end,
      url: one.url,
      allDay: Boolean(one.more),
      classNames: [one.more ? "session-more" : `session-${one.state}`],
      last: one.more ? 1 : 0,
    };
  }

  function hours() {
    return {
      slotMinTime: shown.from,
      slotMaxTime: shown.to,
      allDaySlot: shown.events.some((one) => one.more),
    };
  }

  function make() {
    const texts = place.dataset;
    return new window.FullCalendar.Calendar(place, {
      initialView: VIEWS[shown.view],
      initialDate: shown.day,
      now: texts.today,
      timeZone: "UTC", // what the server sends are times as the clocks of the site show them
      locale: texts.locale,
      firstDay: 1,
      fixedWeekCount: false,
      headerToolbar: false,
      height: "auto",
      stickyHeaderDates: false,
      events: (range, done) => done(shown.events.map(event)),
      lazyFetching: false,
      eventDisplay: "block",
      eventOrder: "last,start,title",
      eventTimeFormat: time,
      displayEventEnd: true,
      defaultRangeSeparator: " – ",
      slotLabelFormat: time,
      slotLabelInterval: "01:00",
      slotEventOverlap: false,
      eventMaxStack: 2, // a third would be too narrow to hit
      eventMinHeight: 24,
      allDayText: "",
      moreLinkText: (count) => texts.more.replace("{n}", count),
      moreLinkHint: (count) => texts.more.replace("{n}", count),
      closeHint: texts.close,
      timeHint: texts.hour,
      navLinkHint: (day) => `${texts.week}, ${day}`,
      navLinkDayClick: (day) => {
        const address = new URL(shown.addresses.week, window.location.href);
        address.searchParams.set("day", day.toISOString().slice(0, 10));
        go(address, true);
      },
      views: {
        dayGridMonth: { navLinks: true, dayHeaderFormat: { weekday: "short" } },
        timeGridWeek: { dayHeaderFormat: { weekday: "short", day: "numeric", month: "short" } },
      },
      dayCellDidMount: ({ el }) => {
        el.removeAttribute("aria-labelledby"); // a cell is named by all that is in it
        el.querySelector("[data-navlink]")?.setAttribute("role", "link");
      },
      moreLinkDidMount: ({ el }) => {
        el.setAttribute("role", "button"); // it opens a small window here
      },
      eventDidMount: ({ el }) => {
        el.title = el.textContent; // the whole of what a narrow column cuts
      },
      ...hours(),
      // 1er décembre, as the server writes it
      dayHeaderContent: ({ text }) =>
        texts.locale === "fr" ? text.replace(/\b1 (?=\p{L})/u, "1er ") : text,
    });
  }

  // What is around the calendar says the same as the page at this address would.
  function tell() {
    document.title = document.title.replace(heading.textContent, shown.heading);
    heading.textContent = shown.heading;
    nothing.hidden = !shown.empty;
    for (const link of document.querySelectorAll("[data-goes]")) {
      link.href = shown.addresses[link.dataset.goes];
      if (link.dataset.goes in VIEWS) {
        const current = link.dataset.goes === shown.view;
        link.classList.toggle("active", current);
        link.toggleAttribute("aria-current", current);
        if (current) {
          link.setAttribute("aria-current", "true");
        }
      }
    }
    for (const link of document.querySelectorAll("#languages a")) {
      const address = new URL(link.href);
      address.searchParams.set("next", window.location.pathname + window.location.search);
      link.href = address;
    }
  }

  async function go(address, isNew) {
    const turn = ++asked;
    const query = address.searchParams;
    place.setAttribute("aria-busy", "true");
    try {
      const answer = await ask(query.get("view") || "month", query.get("day") || place.dataset.today);
      if (turn !== asked) {
        return; // somebody went on meanwhile
      }
      shown = answer;
    } catch {
      window.location.assign(address); // the page itself says what is the matter
      return;
    }
    if (isNew) {
      window.history.pushState(null, "", address);
    }
    calendar.batchRendering(() => {
      for (const [name, value] of Object.entries(hours())) {
        calendar.setOption(name, value);
      }
      calendar.changeView(VIEWS[shown.view], shown.day);
      calendar.refetchEvents();
    });
    place.removeAttribute("aria-busy");
    tell();
  }

  async function begin() {
    try {
      shown = await ask(place.dataset.view, place.dataset.day);
    } catch {
      return; // the table stays
    }
    if (!wide.matches || calendar) {
      return;
    }
    calendar = make();
    place.hidden = false;
    table.hidden = true;
    calendar.render();
  }

  document.addEventListener("click", (click) => {
    const link = click.target.closest?.("a[data-goes]");
    const plain = !(click.ctrlKey || click.metaKey || click.shiftKey || click.altKey);
    if (calendar && !place.hidden && link && plain && link.dataset.goes !== "list") {
      click.preventDefault();
      go(new URL(link.href), true);
    }
  });

  window.addEventListener("popstate", () => {
    if (calendar && place.hidden) {
      window.location.reload();
    } else if (calendar) {
      go(new URL(window.location.href), false);
    }
  });

  // A telephone that is turned, a zoom, a print. The table is of the days that the page was loaded
  // with: only where others are drawn it has to be loaded again.
  wide.addEventListener("change", () => {
    if (!calendar) {
      begin();
      return;
    }
    const same = shown.view === place.dataset.view && shown.day === place.dataset.day;
    if (!wide.matches && !same) {
      window.location.reload();
      return;
    }
    place.hidden = !wide.matches;
    table.hidden = wide.matches;
    if (wide.matches) {
      calendar.updateSize();
    }
  });

  if (wide.matches) {
    begin();
  }
})();
