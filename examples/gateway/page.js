// The chat, the round trips and the requests of the demonstration. What others say becomes text, never markup.

const at = id => document.getElementById(id);

function element(name, text = '', properties = {}) {
    const made = document.createElement(name);
    made.textContent = text;
    return Object.assign(made, properties);
}

const milliseconds = time => `${time.toFixed(time < 10 ? 2 : time < 100 ? 1 : 0)} ms`;

// Round trips

const times = [];       // the last ones, in milliseconds
const timesShown = 60;
let timesCounted = 0;
const bars = Array.from({length: timesShown}, (_, i) => {
    const bar = document.createElementNS(at('chart').namespaceURI, 'rect');
    bar.setAttribute('x', i * 4);
    bar.setAttribute('width', 3);
    at('chart').append(bar);
    return bar;
});

/** The next of 1, 2, 5, 10, 20, 50 ... */
function roundUp(value) {
    const power = 10 ** Math.floor(Math.log10(value));
    return [1, 2, 5, 10].find(step => step * power >= value) * power;
}

function showRoundTrip(time) {
    times.push(time);
    times.splice(0, times.length - timesShown);
    const sorted = [...times].sort((a, b) => a - b);
    const slowest = sorted.at(-1);
    const scale = roundUp(Math.max(slowest, 0.1));
    bars.forEach((bar, i) => {
        const value = times[i - timesShown + times.length];
        const height = value === undefined ? 0 : Math.max(1.5, value / scale * 72);
        bar.setAttribute('y', 72 - height);
        bar.setAttribute('height', height);
    });
    at('scale').textContent = `${+scale.toPrecision(1)} ms`;
    at('last').textContent = milliseconds(time);
    at('median').textContent = milliseconds(sorted[sorted.length >> 1]);
    at('slowest').textContent = milliseconds(slowest);
    at('count').textContent = ++timesCounted;
    walkThePipeline();
}

/** Lights the stages one after the other, and back. */
function walkThePipeline() {
    if (document.hidden || matchMedia('(prefers-reduced-motion: reduce)').matches)
        return;
    const stages = document.querySelectorAll('#pipeline svg');
    const colour = getComputedStyle(document.body).getPropertyValue('--accent');
    stages.forEach((stage, i) => {
        for (const turn of [i, 2 * stages.length - 1 - i])
            stage.animate([{}, {borderColor: colour, color: colour, offset: 0.3}, {}], {delay: turn * 60, duration: 300});
    });
}

// The connection

const firstDelay = 500, longestDelay = 15000, pingEvery = 1000, pingsUnansweredAtMost = 10;
let socket = null, failures = 0, pingsUnanswered = 0, retryTimer = 0, retryAt = 0;
const messages = {sent: 0, received: 0};

function showState(state, text) {
    at('link').dataset.state = state;
    at('state').textContent = text;
    at('retry').hidden = state !== 'lost';
    at('countdown').textContent = '';
}

function connect() {
    clearTimeout(retryTimer);
    retryAt = 0;
    socket?.close();
    const mine = socket = new WebSocket(`wss://${location.host}/wss`);
    const isOld = () => mine !== socket;
    mine.binaryType = 'arraybuffer';
    pingsUnanswered = 0;
    mine.onopen = () => isOld() || showState('connected', 'Connected');
    mine.onmessage = event => isOld() || receive(event.data);
    mine.onclose = event => isOld() || lose(event.code);
}

/** Tries again: soon, and after each failure twice as late. */
function lose(code) {
    socket = null;
    unechoed.length = 0;
    const delay = Math.min(longestDelay, firstDelay * 2 ** failures++) * (0.75 + Math.random() / 2);
    let why = code === 1001 ? 'The gateway is going away' : failures > 1 ? 'The gateway does not answer' : 'Connection lost';
    if (failures > 3)
        why += '. If it was restarted, its certificate is a new one: reload this page to accept it';
    showState('lost', why);
    retryAt = performance.now() + delay;
    retryTimer = setTimeout(connect, delay);
}

function receive(data) {
    failures = 0;
    count('received');
    if (typeof data === 'string') {
        hear(data);
    } else if (data.byteLength === 8) {
        pingsUnanswered = 0;
        showRoundTrip(performance.now() - new Float64Array(data)[0]);
    }
}

function send(data) {
    socket.send(data);
    count('sent');
}

function count(direction) {
    ++messages[direction];
    at('relay').textContent = `${messages.sent} out, ${messages.received} in`;
}

function tick() {
    if (socket?.readyState === WebSocket.OPEN) {
        if (++pingsUnanswered > pingsUnansweredAtMost) {
            const silent = socket;
            lose(1006);
            silent.close();
        } else {
            send(new Float64Array([performance.now()]));
        }
    }
    if (retryAt)
        at('countdown').textContent = `again in ${Math.max(1, Math.ceil((retryAt - performance.now()) / 1000))} s`;
}

// The chat: "name: text", and "(what happened)" from the server

const unechoed = [];    // what was said here and has not come back: {line, since}
const linesKept = 200;
const log = at('log');
let atItsEnd = true;    // until somebody scrolls back to read

function followLog() {
    if (atItsEnd)
        log.scrollTop = log.scrollHeight;
}

log.onscroll = () => atItsEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
new ResizeObserver(followLog).observe(log);

function hear(line) {
    log.querySelector('.empty')?.remove();
    const entry = element('p');
    const said = /^([^:()]{1,20}): (.*)$/s.exec(line);
    if (unechoed[0]?.line === line) {
        const time = performance.now() - unechoed.shift().since;
        entry.className = 'own';
        entry.append(element('b', said[1]), ' ', element('span', said[2]), ' ', element('small', milliseconds(time)));
        showRoundTrip(time);
    } else if (said) {
        entry.append(element('b', said[1]), ' ', element('span', said[2]));
    } else {
        const happened = /^\((.*)\)$/s.exec(line);
        if (happened)
            entry.className = 'event';
        entry.append(element('span', happened ? happened[1] : line));
    }
    log.append(entry);
    while (log.children.length > linesKept)
        log.firstElementChild.remove();
    followLog();
}

const birds = ['Avocet', 'Bittern', 'Curlew', 'Dunlin', 'Egret', 'Fulmar', 'Grebe', 'Heron', 'Ibis', 'Kite', 'Lapwing',
    'Merlin', 'Osprey', 'Plover', 'Redshank', 'Siskin', 'Tern', 'Wagtail'];
at('name').value = `${birds[Math.floor(Math.random() * birds.length)]} ${Math.floor(Math.random() * 90) + 10}`;

at('say').onsubmit = event => {
    event.preventDefault();
    const text = at('text').value.trim();
    if (!text || socket?.readyState !== WebSocket.OPEN)
        return at('text').focus();      // what was written stays until there is a connection
    const line = `${at('name').value.replace(/[:()]/g, '').trim() || 'Somebody'}: ${text}`;
    unechoed.push({line, since: performance.now()});
    send(line);
    at('text').value = '';
};

// Requests

const setByTheGateway = /^(x-forwarded-.*|x-real-ip|forwarded|via)$/i;

async function ask(path) {
    const url = new URL(path, location.origin);
    if (url.origin !== location.origin)
        throw new TypeError('write a path of this gateway, such as /api/hello');
    const began = performance.now();
    const answer = await fetch(url.pathname + url.search, {cache: 'no-store'});
    const text = await answer.text();
    const time = performance.now() - began;
    const explained = await fetch(`/explain?${url.pathname}`, {cache: 'no-store'});
    showRoute(await explained.text());
    showFields(at('added'), [...answer.headers].filter(([name]) => name.startsWith('x-')));
    showReceived(text, url.pathname.startsWith('/api/'));
    at('tls').textContent = (answer.headers.get('X-TLS-Version') ?? 'encrypted').replace('TLSv', 'version ');
    at('answer').textContent = `${answer.status} ${answer.statusText} in ${milliseconds(time)}`;
    at('outcome').hidden = false;
}

const winningRule = /^.*?: (.*?)( wins)?: (.*)$/m;

/** `GET "/x" at "localhost": at("/") wins: why`, and a line for each of the other rules. */
function showRoute(text) {
    const [first, ...others] = text.trim().split('\n');
    const won = winningRule.exec(first);
    const winner = element('li', '', {className: 'winner'});
    if (won)
        winner.append(element('code', won[1]), `${won[2] ?? ''}: ${won[3]}`);
    else
        winner.append(first);
    at('explained').replaceChildren(winner, ...others.map(line => {
        const [, rule, why] = /^\s*(\w+\(.*?\)) (.*)$/.exec(line) ?? [, '', line];
        const other = element('li');
        other.append(element('code', rule), ` ${why}`);
        return other;
    }));
}

/** Below /api/ the server tells what it received: a request line, fields, an empty line. */
function showReceived(text, isEcho) {
    const [request, ...lines] = text.split('\n\n')[0].split('\n');
    const fields = isEcho ? lines.map(line => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]) : [];
    at('line').textContent = isEcho ? request : `The server tells that below /api/. Here it answered:\n\n${text.slice(0, 2000)}`;
    showFields(at('set'), fields.filter(([name]) => setByTheGateway.test(name)));
    showFields(at('passed'), fields.filter(([name]) => !setByTheGateway.test(name)));
}

function showFields(table, fields) {
    table.replaceChildren();
    for (const [name, value] of fields)
        table.insertRow().append(element('th', name, {scope: 'row'}), element('td', value));
}

at('ask').onsubmit = async event => {
    event?.preventDefault();
    try {
        await ask(at('path').value);
    } catch (error) {
        at('answer').textContent = `No answer: ${error.message}`;
        at('outcome').hidden = true;
    }
};

// The start

at('accept').textContent = location.host;
at('http').textContent = (performance.getEntriesByType('navigation')[0]?.nextHopProtocol || 'http/1.1').toUpperCase();
at('commands').textContent = ['/api/hello', '/stream', '/explain?/wss']
    .map(path => `curl -k ${location.origin}${path}`).join('\n');
at('retry').onclick = () => { connect(); at('text').focus(); };
addEventListener('online', () => retryAt && connect());
fetch('/explain?/wss').then(answer => answer.text()).then(text => at('route').textContent = winningRule.exec(text)[1]);
setInterval(tick, pingEvery);
connect();
at('ask').onsubmit();
