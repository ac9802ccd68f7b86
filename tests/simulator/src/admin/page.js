// The page of phones: a thin face on the admin API. It keeps only what it sent itself, to show its ticks.
const $ = (id) => document.getElementById(id);
const sent = new Map();
let current = null;
let phones = [];
let groups = [];

async function api(method, path, body) {
  const answer = await fetch(path, { method, body: body === undefined ? undefined : JSON.stringify(body) });
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.message);
  return value;
}

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

const guarded = (action) => async (event) => {
  event?.preventDefault();
  try {
    $('notice').textContent = '';
    await action(event);
    await refresh();
  } catch (error) {
    $('notice').textContent = error.message;
  }
};

const phone = () => phones.find((one) => one.number === current);

function showPhones() {
  $('phones').replaceChildren(...phones.map((one) => {
    const button = element('button', one.name);
    button.append(element('small', `+${one.number} · ${one.online.length} of ${one.devices.length} devices online`));
    button.setAttribute('aria-current', String(one.number === current));
    button.addEventListener('click', guarded(() => { current = one.number; $('chat-with').replaceChildren(); }));
    const item = element('li');
    item.append(button);
    return item;
  }));
}

function showPhone() {
  const one = phone();
  $('phone').hidden = !one;
  if (!one) return;
  $('phone-name').textContent = one.name;
  $('phone-facts').textContent = `+${one.number}${one.business ? ` · ${one.business}` : ''} · ${one.unacked} stanzas wait for its devices`;
  $('devices').replaceChildren(...one.devices.map((device) => {
    const item = element('li', `Device ${device}, ${one.online.includes(device) ? 'online' : 'offline'}`);
    const button = element('button', 'Unlink');
    button.setAttribute('aria-label', `Unlink device ${device}`);
    button.addEventListener('click', guarded(() => api('POST', `/admin/phones/${current}/unlink`, { device })));
    item.append(button);
    return item;
  }));
  const chats = [...phones.filter((other) => other.number !== current).map((other) => [other.jid, other.name]),
    ...groups.filter((group) => group.members.some((member) => member.number === current)).map((group) => [group.jid, `${group.subject} (group)`])];
  const select = $('chat-with');
  if (select.options.length !== chats.length) {
    const chosen = select.value;
    select.replaceChildren(...chats.map(([jid, name]) => new Option(name, jid)));
    if (chats.some(([jid]) => jid === chosen)) select.value = chosen;
  }
}

async function showMessages() {
  if (!phone()) return;
  const chat = $('chat-with').value;
  const received = (await api('GET', `/admin/phones/${current}/inbox`)).filter((message) => message.chat === chat);
  const own = [...sent.values()].filter((message) => message.by === current && message.chat === chat);
  for (const message of own) message.ticks = (await api('GET', `/admin/phones/${current}/ticks/${message.id}`)).ticks;
  const all = [...received, ...own].sort((a, b) => a.at_ms - b.at_ms);
  const list = $('messages');
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const names = new Map(phones.map((one) => [one.jid, one.name]));
  list.replaceChildren(...all.map((message) => {
    const mine = message.from_me || message.by === current;
    const item = element('li', message.text ?? `(${message.kind})`, mine ? 'mine' : '');
    if (!mine && chat.endsWith('@g.us')) item.prepend(element('small', names.get(message.from) ?? message.from));
    if (message.ticks) {
      const marks = element('span', message.ticks === 'sent' ? '✓' : '✓✓', `ticks ${message.ticks}`);
      marks.setAttribute('role', 'img');
      marks.setAttribute('aria-label', message.ticks);
      item.append(marks);
    }
    return item;
  }));
  if (atEnd) list.scrollTop = list.scrollHeight;
  const unread = received.filter((message) => !message.from_me && !sent.has(`read ${message.id}`));
  for (const message of unread) {
    sent.set(`read ${message.id}`, {});
    await api('POST', `/admin/phones/${current}/read`, { chat, id: message.id }).catch(() => {});
  }
}

async function refresh() {
  const [health, list, rooms] = await Promise.all([api('GET', '/admin/health'), api('GET', '/admin/phones'), api('GET', '/admin/groups')]);
  [phones, groups] = [list, rooms];
  $('health').textContent = `${health.ws_url} · ${health.online} of ${health.devices} devices online`;
  showPhones();
  showPhone();
  await showMessages();
}

$('new-phone').addEventListener('submit', guarded(async () => {
  current = (await api('POST', '/admin/phones', { name: $('new-name').value })).number;
  $('new-name').value = '';
}));
$('link').addEventListener('submit', guarded(async () => {
  const text = $('qr').value.trim();
  if (/^[0-9a-z]{4}-?[0-9a-z]{4}$/i.test(text)) await api('POST', `/admin/phones/${current}/enter-code`, { code: text });
  else await api('POST', `/admin/phones/${current}/scan`, { qr: text });
  $('qr').value = '';
}));
$('write').addEventListener('submit', guarded(async () => {
  const [chat, text] = [$('chat-with').value, $('text').value];
  const { id } = await api('POST', `/admin/phones/${current}/send`, { to: chat, text });
  sent.set(id, { id, chat, text, by: current, at_ms: Date.now() });
  $('text').value = '';
}));
let typed = 0;
$('text').addEventListener('input', () => {
  if (Date.now() - typed < 4000) return;
  typed = Date.now();
  api('POST', `/admin/phones/${current}/typing`, { chat: $('chat-with').value }).catch(() => {});
});
$('chat-with').addEventListener('change', guarded(() => {}));
setInterval(() => refresh().catch((error) => { $('health').textContent = `Not reachable: ${error.message}`; }), 1500);
guarded(() => {})();
