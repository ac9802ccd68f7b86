const tenant = new WhatsAppTenant('tenant-1', token);
const session = await tenant.createSession('Tenant 1', 'https://example.com/never-called');
tell({ session, kept: tenant.sessions.get(session.id) === session, status: exchanges[0].status });
await wordFromTest();
const answer = await tenant.sendMessage(session.id, '6281381393739', 'Hello from a tenant!');
tell({ status: answer.status, body: await answer.json() });
