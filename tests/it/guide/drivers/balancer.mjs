const sessions = await (await fetch('/api/sessions', { headers: { 'Authorization': `Bearer ${token}` } })).json();
const balancer = new MessageBalancer(sessions, token);
const used = [];
for (const n of [1, 2, 3, 4]) {
  const answer = await balancer.sendBalanced('6281381393739', `Balanced ${n}`);
  used.push({ status: answer.status, body: await answer.json() });
}
tell({ phones: sessions.map((session) => session.phone), used });
