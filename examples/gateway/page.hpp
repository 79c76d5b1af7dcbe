#pragma once

/// The page of the demonstration. It needs nothing from elsewhere.
inline constexpr char demonstration_page[] = R"html(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>relais</title>
<style>
  :root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 22%, transparent); }
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 0 auto; padding: 2rem 1rem; }
  h1 { margin: 0; letter-spacing: .02em; }
  #state { opacity: .75; }
  #log { border: 1px solid var(--line); border-radius: .5rem; height: 18rem; overflow: auto; padding: .75rem; margin: 1rem 0; }
  #log p { margin: 0 0 .25rem; overflow-wrap: anywhere; }
  form { display: flex; gap: .5rem; }
  input { flex: 1; min-width: 0; font: inherit; padding: .5rem; border: 1px solid var(--line); border-radius: .5rem; }
  button { font: inherit; padding: .5rem 1rem; border: 1px solid var(--line); border-radius: .5rem; cursor: pointer; }
</style>
</head>
<body>
<h1>relais</h1>
<p id="state" role="status">connecting ...</p>
<div id="log" role="log" aria-label="Messages" tabindex="0"></div>
<form><input id="text" aria-label="Message" autocomplete="off" placeholder="Say something to the other tab"><button>Send</button></form>
<script>
  const log = document.getElementById('log'), state = document.getElementById('state'), text = document.getElementById('text');
  const show = line => { const p = document.createElement('p'); p.textContent = line; log.append(p); log.scrollTop = log.scrollHeight; };
  let socket;
  const connect = () => {
    socket = new WebSocket('wss://' + location.host + '/wss');
    socket.onopen = () => state.textContent = 'connected through ' + socket.url;
    socket.onmessage = event => show(event.data);
    socket.onclose = event => { state.textContent = 'closed (' + event.code + '), trying again ...'; setTimeout(connect, 1000); };
  };
  connect();
  document.querySelector('form').onsubmit = event => {
    event.preventDefault();
    if (text.value && socket.readyState === WebSocket.OPEN) { socket.send(text.value); text.value = ''; }
  };
</script>
</body>
</html>
)html";
