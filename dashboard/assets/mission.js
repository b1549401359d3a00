// What a browser adds to pages that work without it: they keep themselves up to date, and they obey the keyboard.
// Nothing of anybody's is ever made into markup here: the server's pages, which escape everything, are put in as they come.
"use strict";
(() => {
  const main = document.getElementById("main");
  if (!main) return;
  const say = document.getElementById("live");

  // --- live: one stream for the tab that is looked at --------------------------------------------------------------
  const RETRY_MS = 5000;
  const shown = new WeakMap();
  let stream = null, asking = false, again = false, waiting = false, retry = 0;

  function told(text) {
    if (say && say.textContent !== text) say.textContent = text;
  }

  function open() {
    if (stream || document.hidden || !main.dataset.live) return;
    const about = new URLSearchParams();
    if (main.dataset.saga) about.set("saga", main.dataset.saga);
    about.set("seq", main.dataset.seq || "0");
    stream = new EventSource("/live?" + about);
    stream.onopen = () => told(waiting ? say.textContent : "● live");
    stream.addEventListener("changed", refresh);
    stream.addEventListener("over", () => location.reload());
    stream.onerror = () => {
      told("○ not connected: trying again");
      // The browser goes on by itself, unless the server said no.
      if (stream && stream.readyState === EventSource.CLOSED) {
        close();
        clearTimeout(retry);
        retry = setTimeout(open, RETRY_MS);
      }
    };
  }

  function close() {
    if (stream) stream.close();
    stream = null;
  }

  // Somebody reads, points at or selects something here: it stays as it is until they are done.
  const REGIONS = "body, .wide, pre";
  function held(part) {
    const focus = document.activeElement, chosen = getSelection();
    return part.contains(focus) && !focus.matches(REGIONS)
      || part.hasAttribute("data-hold") && part.matches(":hover")
      || chosen && !chosen.isCollapsed && chosen.containsNode(part, true);
  }

  function put(old, fresh) {
    const opened = [...old.querySelectorAll("details")].map(details => details.open);
    const region = [...old.querySelectorAll(REGIONS)].indexOf(document.activeElement);
    const scrolled = [...old.querySelectorAll(".wide")].map(wide => wide.scrollLeft);
    const ticked = new Set([...old.querySelectorAll("input:checked")].map(input => input.value));
    const made = document.importNode(fresh, true);
    made.querySelectorAll("details").forEach((details, place) => { if (opened[place]) details.open = true; });
    made.querySelectorAll("input[type=checkbox]").forEach(input => { input.checked = ticked.has(input.value); });
    old.replaceWith(made);
    shown.set(made, fresh.innerHTML);
    made.querySelectorAll(".wide").forEach((wide, place) => { wide.scrollLeft = scrolled[place] || 0; });
    if (region >= 0) { const again = made.querySelectorAll(REGIONS)[region]; if (again) again.focus({ preventScroll: true }); }
  }

  async function refresh() {
    if (asking) { again = true; return; }
    asking = true;
    try {
      const answer = await fetch(location.href, { headers: { "x-live": "1" }, redirect: "manual", cache: "no-store" });
      if (answer.type === "opaqueredirect") { location.reload(); return; }
      if (!answer.ok) { told("○ out of date: the server is busy"); return; }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      waiting = false;
      for (const old of document.querySelectorAll("[data-part]")) {
        const fresh = page.querySelector(`[data-part="${CSS.escape(old.dataset.part)}"]`);
        if (!fresh || fresh.innerHTML === shown.get(old) || fresh.isEqualNode(old)) continue;
        if (held(old)) { waiting = true; continue; }
        put(old, fresh);
      }
      const fresh = page.getElementById("main");
      if (fresh) main.dataset.seq = fresh.dataset.seq || "";
      document.title = page.title || document.title;
      told(waiting ? "● live: newer ones are shown when you move away" : "● live");
    } catch (_offline) {
      told("○ not connected: trying again");
    } finally {
      asking = false;
      if (again) { again = false; refresh(); }
    }
  }

  const released = () => { if (waiting) setTimeout(() => { if (waiting && !document.hidden) refresh(); }, 50); };
  main.addEventListener("mouseout", released);
  main.addEventListener("focusout", released);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { close(); told("○ paused"); } else { open(); if (main.dataset.live) refresh(); }
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", event => { if (event.persisted) open(); });
  open();

  // --- completion: the word that is being typed, from those the page knows ------------------------------------------
  const search = document.querySelector("input[data-words]"), list = document.getElementById("words");
  if (search && list) {
    const words = search.dataset.words.split("\n");
    search.addEventListener("input", () => {
      const begin = search.value.lastIndexOf(" ") + 1, before = search.value.slice(0, begin), typed = search.value.slice(begin);
      const found = typed ? words.filter(word => word.startsWith(typed) && word !== typed).slice(0, 12) : [];
      list.replaceChildren(...found.map(word => {
        const option = document.createElement("option");
        option.value = before + word;
        return option;
      }));
    });
  }

  // --- keyboard ----------------------------------------------------------------------------------------------------
  function make(tag, text, attributes) {
    const element = document.createElement(tag);
    element.textContent = text || "";
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    return element;
  }

  const places = [...document.querySelectorAll("header nav a")].map(link => ({ name: link.textContent.trim(), href: link.getAttribute("href") }));
  const KEYS = [
    ["j, k", "the next row, the one before"], ["Enter", "open it"], ["x", "choose it"], ["/", "search"],
    ["Ctrl K", "go anywhere, do anything on this page"], ["g and a page's first letter", "go there: g s to the sagas, g t to what is stuck"],
    ["?", "this"],
  ];

  function dialog(label, fill) {
    const box = make("dialog", "", { "aria-label": label });
    fill(box);
    box.addEventListener("close", () => box.remove());
    box.addEventListener("click", event => { if (event.target === box) box.close(); });
    document.body.append(box);
    box.showModal();
    return box;
  }

  function help() {
    dialog("Keys", box => {
      const list = make("dl");
      const choosing = main.querySelector("tbody input[type=checkbox]");
      for (const [key, what] of KEYS.filter(([key]) => key !== "x" || choosing)) {
        const term = make("dt");
        term.append(make("kbd", key));
        list.append(term, make("dd", what));
      }
      const done = make("button", "Close");
      done.addEventListener("click", () => box.close());
      box.append(make("h2", "Keys"), list, done);
    });
  }

  function palette() {
    const actions = [...document.querySelectorAll(".actions a")].map(link => ({ name: link.textContent.trim(), href: link.getAttribute("href") }));
    const all = [...actions, ...places];
    dialog("Go to", box => {
      const input = make("input", "", { "aria-label": "Go to, or search for", "aria-controls": "found", autocomplete: "off", placeholder: "a page, an action, or words to search for" });
      const list = make("ul", "", { id: "found" });
      let at = 0;
      const show = () => {
        const words = input.value.trim().toLowerCase();
        const found = all.filter(place => place.name.toLowerCase().includes(words)).slice(0, 12);
        if (words) found.push({ name: "Search sagas: " + input.value.trim(), href: "/sagas?" + new URLSearchParams({ q: input.value.trim() }) });
        at = Math.min(at, Math.max(found.length - 1, 0));
        list.replaceChildren(...found.map((place, number) => {
          const item = make("li"), link = make("a", place.name, { href: place.href });
          if (number === at) link.setAttribute("class", "at");
          item.append(link);
          return item;
        }));
      };
      input.addEventListener("input", () => { at = 0; show(); });
      input.addEventListener("keydown", event => {
        const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
        if (move) { at = Math.max(at + move, 0); show(); event.preventDefault(); }
        if (event.key === "Enter") { const link = list.querySelector(".at"); if (link) link.click(); event.preventDefault(); }
      });
      box.append(input, list);
      show();
      setTimeout(() => input.focus());
    });
  }

  const rows = () => [...main.querySelectorAll("tbody tr")].filter(row => row.querySelector("a"));
  function step(by) {
    const all = rows(), here = all.findIndex(row => row.contains(document.activeElement));
    const row = all[here < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(here + by, 0), all.length - 1)];
    if (row) row.querySelector("a").focus();
  }

  let going = 0;
  document.addEventListener("keydown", event => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      if (!document.querySelector("dialog[open]")) palette();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.closest && event.target.closest("input:not([type=checkbox]), textarea, select")) return;
    if (going && Date.now() - going < 1500) {
      going = 0;
      const letter = event.key.toLowerCase();
      const place = letter === "t" ? places.find(place => place.href === "/stuck")
        : places.find(place => place.name.toLowerCase().startsWith(letter));
      if (place) { event.preventDefault(); location.assign(place.href); }
      return;
    }
    switch (event.key) {
      case "j": step(1); break;
      case "k": step(-1); break;
      case "x": {
        const row = document.activeElement.closest("tbody tr"), box = row && row.querySelector("input[type=checkbox]");
        if (box) { box.checked = !box.checked; box.dispatchEvent(new Event("change", { bubbles: true })); }
        break;
      }
      case "/": {
        const search = document.querySelector("[role=search] input");
        if (search) search.focus(); else location.assign("/sagas#search"); // which focuses it
        event.preventDefault();
        break;
      }
      case "?": help(); break;
      case "g": going = Date.now(); break;
    }
  });
})();
