// What a page may try on a port of somebody else's. Arguments come from the test; `done` gets what the page was told.
const [prefect, endpoint, key, id, body, done] = arguments;
const run = `${prefect}/api/deployments/${id}/create_flow_run`, chat = `${endpoint}/v1/chat/completions`;
const asked = JSON.stringify({model: "fugu", messages: [{role: "user", content: "What is 17 * 24 + 5?"}]});
const json = {"Content-Type": "application/json"};
const bare = text => new Blob([text]);
const answer = promise => promise.then(async r => `${r.type} ${r.status} ${await r.text()}`, () => "refused");
const fetched = (url, options) => answer(fetch(url, options));
const loaded = (thing, good, bad) => new Promise(resolve => {
    thing.addEventListener(good, () => { resolve("opened"); thing.close?.(); });
    thing.addEventListener(bad, () => { resolve("refused"); thing.close?.(); });
});
const added = (tag, attributes) => {
    const element = Object.assign(document.createElement(tag), attributes);
    document.body.append(element);
    return element;
};
const sent = (action, text) => {
    const frame = added("iframe", {name: `f${Math.random()}`});
    const form = added("form", {action, method: "POST", enctype: "text/plain", target: frame.name});
    const field = document.createElement("input");
    // name=value, which makes JSON of a text/plain form
    [field.name, field.value] = [text.slice(0, -1) + ', "x": "', '"}'];
    form.append(field);
    form.submit();
    return new Promise(resolve => { frame.onload = () => resolve("opened"); });
};
const tries = {
    blob: fetched(run, {method: "POST", body: bare(body)}),
    unread: fetched(run, {method: "POST", body: bare(body), mode: "no-cors"}),
    typed: fetched(run, {method: "POST", body, headers: json}),
    keyed: fetched(run, {method: "POST", body, headers: {...json, ...key}}),
    keyedRead: fetched(`${prefect}/api/flow_runs/filter`, {method: "POST", body: "{}", headers: {...json, ...key}}),
    plainRead: fetched(`${prefect}/api/deployments/filter`, {method: "POST", body: bare("{}")}),
    health: fetched(`${prefect}/api/health`),
    ui: fetched(prefect),
    cookies: fetched(`${prefect}/ui-settings`, {credentials: "include"}),
    chatBlob: fetched(chat, {method: "POST", body: bare(asked)}),
    chatUnread: fetched(chat, {method: "POST", body: bare(asked), mode: "no-cors"}),
    chat: fetched(chat, {method: "POST", body: asked, headers: json}),
    models: fetched(`${endpoint}/v1/models`),
    form: sent(run, body),
    chatForm: sent(chat, asked),
    image: loaded(added("img", {src: `${prefect}/ico/favicon-16x16.png`}), "load", "error"),
    script: loaded(added("script", {src: `${endpoint}/v1/models`}), "load", "error"),
    source: loaded(new EventSource(`${prefect}/api/health`), "open", "error"),
    chatSource: loaded(new EventSource(`${endpoint}/v1/models`), "open", "error"),
    socket: loaded(new WebSocket(`${prefect.replace("http", "ws")}/api/events/out`, ["prefect"]), "open", "error"),
    socketIn: loaded(new WebSocket(`${prefect.replace("http", "ws")}/api/events/in`, ["prefect"]), "open", "error"),
    chatSocket: loaded(new WebSocket(`${endpoint.replace("http", "ws")}/v1/chat/completions`), "open", "error"),
    beacon: Promise.resolve(`${navigator.sendBeacon(run, bare(body))}`),
};
const told = Object.entries(tries).map(async ([name, tried]) => [name, await tried]);
Promise.all(told).then(all => done(Object.fromEntries(all)));
