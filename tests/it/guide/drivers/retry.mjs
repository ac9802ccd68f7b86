const statuses = () => exchanges.splice(0).map(({ path, status }) => ({ path, status }));
const plain = await sendMessageWithRetry('1234567890', '6281381393739', 'Sent at once');
const atOnce = statuses();

token = 'expired';
const refreshed = await sendMessageWithRetry('1234567890', '6281381393739', 'Sent after a new login');
const afterLogin = statuses();

// The sample throws for a 404 inside its own try, so it repeats even that, and throws the same at its last try.
const message = await sendMessageWithRetry('not_linked', '6281381393739', 'Never sent').then(
  () => 'it was sent',
  (error) => error.message,
);
tell({ plain, atOnce, refreshed, afterLogin, message, refused: statuses() });
