// What is live on the pages: parts that changed are put in, a log is followed. Everything else works without it.
"use strict";
(() => {
  const MOST = 6000, KEEP = 4000; // lines of a step in the page
  const live = document.getElementById("live");
  document.documentElement.classList.add("js");
  const byId = (id) => document.getElementById(id);
  const say = (text) => { if (live && live.textContent !== text) live.textContent = text; };

  // Clocks that run. The server's clock counts.
  const skew = live ? Date.now() - Number(live.dataset.now) : 0;
  const duration = (ms) => {
    const s = Math.max(0, ms) / 1000;
    if (s < 59.95) return s.toFixed(1) + "s";
    if (s < 3600) return Math.floor(Math.round(s) / 60) + "m" + String(Math.round(s) % 60).padStart(2, "0") + "s";
    const m = Math.round(s / 60);
    return Math.floor(m / 60) + "h" + String(m % 60).padStart(2, "0") + "m";
  };
  const tick = () => {
    for (const el of document.querySelectorAll("[data-since]")) el.textContent = duration(Date.now() - skew - Number(el.dataset.since));
  };
  if (live) setInterval(tick, 1000);

  // What comes earlier is put where it belongs, without leaving the page.
  document.addEventListener("click", async (event) => {
    const link = event.target.closest(".earlier a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const place = link.parentElement, next = place.nextElementSibling;
    const answer = await fetch(link.href + "&part=1", { credentials: "same-origin" });
    if (!answer.ok) { location.assign(link.href); return; }
    const top = next ? next.getBoundingClientRect().top : 0;
    place.insertAdjacentHTML("afterend", await answer.text());
    const first = place.nextElementSibling;
    place.remove();
    if (next) scrollBy(0, next.getBoundingClientRect().top - top); // what was read stays where it was
    const focus = first && (first.querySelector("a") || first.closest(".log"));
    if (focus) focus.focus({ preventScroll: true });
  });

  if (!live || !window.EventSource) return;

  const waiting = new Map(); // lines of steps that are not in the page yet
  const put = (block) => {
    let el = byId(block.id);
    if (!el && block.into) {
      byId(block.into).insertAdjacentHTML("beforeend", block.whole);
      return;
    }
    if (!el || el.innerHTML === block.html) return;
    const inside = el.contains(document.activeElement) && document.activeElement.getAttribute("href");
    const graph = el.querySelector(".graph"), left = graph && graph.scrollLeft, top = graph && graph.scrollTop;
    el.innerHTML = block.html;
    if (graph && el.querySelector(".graph")) { el.querySelector(".graph").scrollLeft = left; el.querySelector(".graph").scrollTop = top; }
    if (inside) { const same = [...el.querySelectorAll("a")].find((a) => a.getAttribute("href") === inside); if (same) same.focus({ preventScroll: true }); }
  };

  const prune = (log, before) => {
    const lines = log.getElementsByClassName("ln");
    if (lines.length <= MOST) return;
    const drop = [...lines].slice(0, lines.length - KEEP);
    let at = lines.length - KEEP;
    while (at < lines.length && lines[at].dataset.from === undefined) drop.push(lines[at++]);
    const from = at < lines.length ? lines[at].dataset.from : null;
    for (const line of drop) line.remove();
    for (const group of log.querySelectorAll(".grp:not([data-open])")) if (!group.querySelector(".ln")) group.remove();
    for (const gap of log.querySelectorAll(".gap")) if (!gap.previousElementSibling || gap.previousElementSibling.className === "earlier") gap.remove();
    if (from === null) return;
    let place = log.querySelector(".earlier");
    if (!place) { place = document.createElement("p"); place.className = "earlier"; log.prepend(place); }
    place.innerHTML = "<a>Load earlier output</a>";
    place.firstChild.href = before.replace(/before=\d+/, "before=" + from);
  };

  const append = (ev) => {
    const log = byId("step-" + ev.step + "-log");
    if (!log) { waiting.set(ev.step, [...(waiting.get(ev.step) || []), ev].slice(-50)); return; }
    const bottom = innerHeight + scrollY >= document.documentElement.scrollHeight - 80;
    let into = log.querySelector(".grp[data-open]") || log;
    const close = () => { if (into !== log) { into.removeAttribute("data-open"); into.open = false; into = log; } };
    let first = true;
    if (ev.gap) {
      close();
      const p = document.createElement("p");
      p.className = "gap";
      p.innerHTML = "<a>… " + ev.gap + " came too fast to be shown here</a>";
      p.firstChild.href = ev.before.replace(/before=\d+/, "before=" + ev.from);
      log.append(p);
    }
    for (const [kind, html] of ev.lines) {
      if (kind === 1) {
        close();
        into = document.createElement("details");
        into.className = "grp";
        into.open = true;
        into.dataset.open = "";
        into.innerHTML = "<summary>" + html + "</summary>";
        log.append(into);
      } else if (kind === 2) {
        close();
      } else {
        into.insertAdjacentHTML("beforeend", html);
        if (first) { into.lastElementChild.dataset.from = ev.from; first = false; }
      }
    }
    prune(log, ev.before);
    if (bottom) scrollTo(0, document.documentElement.scrollHeight);
  };

  const source = new EventSource(live.dataset.events);
  const heard = (name, f) => source.addEventListener(name, (event) => f(JSON.parse(event.data)));
  source.onopen = () => { live.classList.add("on"); say("Live: the page follows the run."); };
  source.onerror = () => {
    live.classList.remove("on");
    say(source.readyState === EventSource.CLOSED ? "Not live any more: load the page again." : "The connection broke; trying again.");
  };
  heard("blocks", (blocks) => {
    for (const block of blocks) put(block);
    for (const [step, events] of [...waiting]) {
      if (!byId("step-" + step + "-log")) continue;
      waiting.delete(step);
      for (const ev of events) append(ev);
    }
    const mark = document.querySelector("h1 + .lead .mark"), state = document.querySelector("h1 + .lead .state");
    if (mark) document.title = document.title.replace(/^\S+/, mark.textContent);
    if (state) say("Live: " + state.textContent.replace(mark ? mark.textContent : "", "").trim() + ".");
    tick();
  });
  heard("log", append);
  heard("reload", () => { source.close(); location.reload(); });
  heard("end", () => {
    source.close();
    live.classList.remove("on");
    const state = document.querySelector("h1 + .lead .state .mark");
    const word = state ? state.parentElement.textContent.replace(state.textContent, "").trim() : "ended";
    say("Complete: " + word + ".");
    live.dataset.over = word;
  });
})();
