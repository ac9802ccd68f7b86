// The guide calls sendMessage(sessionId, …) here and defines it elsewhere, as a method of WhatsAppTenant.
const tenant = new WhatsAppTenant('tenant-1', token);
const sendMessage = (...what) => tenant.sendMessage(...what);
await sendBulkMessages('1234567890', ['6281381393739', '6280000000000', '6281381393740'], 'Hello to many!');
tell(exchanges);
