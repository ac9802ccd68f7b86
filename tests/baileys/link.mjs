// Baileys, an independent WhatsApp Web client, driven by JSON lines: commands on stdin, events on stdout.
//
//   node link.mjs ws://127.0.0.1:PORT/ws/chat [push name]
//
// Commands: {"cmd":"send","to":"…","text":"…"} {"cmd":"groups"} {"cmd":"check","number":"…"} {"cmd":"quit"}
// Events:   qr{qr} open{id,lid,name} close{code} message{id,chat,from,from_me,text} receipt{id,status}
//           sent{id} groups{groups} checked{number,exists} error{message}
//
// Keys live in memory only. Logs go nowhere unless LOG_LEVEL is set; they go to stderr then.
import { createInterface } from 'node:readline';
import makeWASocket, { BufferJSON, initAuthCreds, makeCacheableSignalKeyStore, proto } from 'baileys';
import P from 'pino';

const [url, pushName] = process.argv.slice(2);
if (!url) {
  process.stderr.write('usage: node link.mjs ws://127.0.0.1:PORT/ws/chat [push name]\n');
  process.exit(2);
}

const RESTART_REQUIRED = 515;
const logger = P({ level: process.env.LOG_LEVEL ?? 'silent' }, P.destination(2));
const emit = (event, fields = {}) => process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);
const creds = initAuthCreds();
const kept = new Map();
const auth = { creds, keys: makeCacheableSignalKeyStore(memoryKeys(), logger) };
const sentMessages = new Map();
let socket;

/** A key store in memory; values take the round trip through JSON that a store on disk would give them. */
function memoryKeys() {
  const revive = (type, value) => (type === 'app-state-sync-key' ? proto.Message.AppStateSyncKeyData.fromObject(value) : value);
  return {
    get: async (type, ids) => Object.fromEntries(ids.flatMap((id) => {
      const value = kept.get(`${type}/${id}`);
      return value === undefined ? [] : [[id, revive(type, JSON.parse(value, BufferJSON.reviver))]];
    })),
    set: async (data) => {
      for (const [type, values] of Object.entries(data)) {
        for (const [id, value] of Object.entries(values)) {
          if (value) kept.set(`${type}/${id}`, JSON.stringify(value, BufferJSON.replacer));
          else kept.delete(`${type}/${id}`);
        }
      }
    },
  };
}

function connect() {
  socket = makeWASocket({
    auth,
    logger,
    pushName,
    waWebSocketUrl: url,
    version: [2, 3000, 1035194821],
    browser: ['wagate', 'Chrome', '1.0'],
    syncFullHistory: false,
    shouldSyncHistoryMessage: () => false,
    fireInitQueries: true,
    markOnlineOnConnect: true,
    getMessage: async ({ id }) => sentMessages.get(id),
  });
  socket.ev.on('creds.update', (update) => Object.assign(creds, update));
  socket.ev.on('connection.update', ({ connection, qr, lastDisconnect }) => {
    if (qr) emit('qr', { qr });
    if (connection === 'open') emit('open', { id: creds.me?.id, lid: creds.me?.lid, name: creds.me?.name });
    if (connection === 'close') {
      const code = lastDisconnect?.error?.output?.statusCode;
      if (code === RESTART_REQUIRED) connect();
      else emit('close', { code });
    }
  });
  socket.ev.on('messages.upsert', ({ messages }) => {
    for (const { key, message, messageStubType } of messages) {
      const text = message?.conversation ?? message?.extendedTextMessage?.text;
      if (messageStubType && !message) emit('undecryptable', { id: key.id, chat: key.remoteJid });
      else if (text) {
        emit('message', { id: key.id, chat: key.remoteJid, from: key.participant ?? key.remoteJid, from_me: key.fromMe, text });
      }
    }
  });
  socket.ev.on('messages.update', (updates) => {
    for (const { key, update } of updates) if (update.status) emit('receipt', { id: key.id, status: update.status });
  });
}

const commands = {
  send: async ({ to, text }) => {
    const sent = await socket.sendMessage(to.includes('@') ? to : `${to}@s.whatsapp.net`, { text });
    sentMessages.set(sent.key.id, sent.message);
    emit('sent', { id: sent.key.id });
  },
  groups: async () => {
    const groups = Object.values(await socket.groupFetchAllParticipating());
    emit('groups', { groups: groups.map(({ id, subject, desc, size, participants }) => ({ id, subject, desc, size, participants })) });
  },
  check: async ({ number }) => {
    const [found] = await socket.onWhatsApp(number);
    emit('checked', { number, exists: Boolean(found?.exists), jid: found?.jid });
  },
  quit: async () => {
    await socket.end(undefined);
    process.exit(0);
  },
};

createInterface({ input: process.stdin }).on('line', async (line) => {
  try {
    const command = JSON.parse(line);
    await commands[command.cmd](command);
  } catch (error) {
    emit('error', { message: String(error?.message ?? error), line });
  }
}).on('close', () => process.exit(0));

connect();
