// The guide calls sendMessage(sessionId, …) here and defines it elsewhere, as a method of WhatsAppTenant.
const tenant = new WhatsAppTenant('tenant-1', token);
const sendMessage = (...what) => tenant.sendMessage(...what);
await broadcastToGroups('1234567890', 'Hello to my own!', true);
await broadcastToGroups('1234567890', 'Hello to all!');
tell(exchanges);
