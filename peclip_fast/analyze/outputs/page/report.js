
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const video = byId("video"), still = byId("still"), list = byId("now"), timeline = byId("timeline");
  const svg = timeline.querySelector("svg"), head = svg.querySelector(".head");
  const span = data.end - data.start;
  let at = data.start, playable = Boolean(video);
  let asked = null;  // the moment that the video was last sent to: it takes a frame close to that

  const clock = (time) => {
    const tenths = Math.round(10 * Math.abs(time)), seconds = Math.floor(tenths / 10);
    const two = (n) => String(n).padStart(2, "0");
    const minutes = Math.floor(seconds / 60) % 60, hours = Math.floor(seconds / 3600);
    const whole = hours ? `${hours}:${two(minutes)}` : `${minutes}`;
    return `${time < 0 && tenths ? "-" : ""}${whole}:${two(seconds % 60)}.${tenths % 10}`;
  };

  // The last of some spans, sorted by their starts, that has begun; if it still goes on.
  const during = (spans, time) => {
    let low = 0, high = spans.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (spans[middle][0] <= time) low = middle + 1; else high = middle;
    }
    const found = spans[low - 1];
    return found && time < found[1] ? found : null;
  };

  const told = (track) => {
    if (at < track.start || at > track.end) return null;
    const segment = during(track.segments, at);
    const hidden = during(track.hidden, at);
    if (!segment) return { text: hidden ? "hidden" : "not enough frames", share: "", number: -1 };
    return { text: data.classes[segment[2]] + (hidden ? " (hidden)" : ""), number: segment[2],
      share: `${Math.round(100 * segment[3])} %` };
  };

  const swatch = (number) => {
    const box = document.createElement("span");
    box.className = "swatch";
    box.style.background = number < 0 ? "none" : `var(--k${number % data.colours})`;
    return box;
  };

  const show = () => {
    const x = Math.min(Math.max((at - data.start) / span, 0), 1) * data.width;
    head.setAttribute("x1", x);
    head.setAttribute("x2", x);
    byId("clock").textContent = clock(at);
    const lines = [], words = [];
    for (const track of data.tracks) {
      const now = told(track);
      if (!now) continue;
      const line = document.createElement("li"), who = document.createElement("span");
      const what = document.createElement("span"), share = document.createElement("span");
      who.textContent = `Track ${track.track}`;
      what.append(swatch(now.number), now.text);
      share.textContent = now.share;
      line.append(who, what, share);
      lines.push(line);
      words.push(`track ${track.track} ${now.text} ${now.share}`);
    }
    if (data.speech && during(data.speech, at)) words.push("speech");
    if (!lines.length) {
      const line = document.createElement("li");
      line.className = "away";
      line.textContent = "nobody";
      lines.push(line);
    }
    list.replaceChildren(...lines);
    timeline.setAttribute("aria-valuenow", at.toFixed(1));
    timeline.setAttribute("aria-valuetext", `${clock(at)}: ${words.join(", ") || "nobody"}`);
    if (!playable && data.stills.length) {
      const near = data.stills.reduce((a, b) => Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a);
      const source = `data:image/jpeg;base64,${near[1]}`;
      if (still.getAttribute("src") !== source) still.setAttribute("src", source);
      still.alt = `The frame at ${clock(near[0])}`;
    }
  };

  const seek = (time) => {
    at = Math.min(Math.max(time, data.start), data.end);
    asked = at;
    if (playable) video.currentTime = Math.max(0, at);
    show();
  };

  const withoutVideo = () => {
    playable = false;
    if (video) video.hidden = true;
    still.hidden = !data.stills.length;
    byId("missing").hidden = false;
    show();
  };

  const pointed = (event) => {
    const box = svg.getBoundingClientRect();
    seek(data.start + span * (event.clientX - box.left) / box.width);
  };
  timeline.addEventListener("click", pointed);
  timeline.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse" && event.buttons & 1) pointed(event);
  });
  const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
  timeline.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key in steps) seek(at + steps[event.key] * (event.shiftKey ? 0.1 : 1));
    else if (event.key === "Home") seek(data.start);
    else if (event.key === "End") seek(data.end);
    else if ((event.key === " " || event.key === "Enter") && playable) {
      if (video.paused) video.play(); else video.pause();
    } else return;
    event.preventDefault();
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-time]");
    if (!button) return;
    seek(Number(button.dataset.time));
    byId("stage").scrollIntoView({ block: "nearest" });
  });

  if (video) {
    let follows = false;
    const follow = () => {
      at = video.currentTime;
      show();
      if (follows) requestAnimationFrame(follow);
    };
    video.addEventListener("play", () => { follows = true; follow(); });
    video.addEventListener("pause", () => { follows = false; });
    video.addEventListener("ended", () => { follows = false; });
    video.addEventListener("seeked", () => {
      const there = video.currentTime;
      if (!video.paused || (asked !== null && Math.abs(there - asked) < 0.2)) return;
      at = there;
      show();
    });
    video.addEventListener("error", withoutVideo);
    const stored = byId("video-data");
    if (stored) {
      const text = atob(stored.textContent), bytes = new Uint8Array(text.length);
      for (let n = 0; n < text.length; n += 1) bytes[n] = text.charCodeAt(n);
      video.src = URL.createObjectURL(new Blob([bytes], { type: stored.dataset.kind || "video/mp4" }));
      stored.remove();
    } else {
      video.src = data.video;
    }
    show();
  } else withoutVideo();
})();
