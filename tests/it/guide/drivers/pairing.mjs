// The sample has opened its socket; once a code is displayed, the test scans it.
const picture = document.getElementById('qr-image');
await until(() => picture.src || drawn.length || complained.length);
tell({ picture: picture.src ?? null, drawn: drawn[0] ?? null, complained });
await until(() => complained.length || logged.some(([words]) => words === 'Authentication successful!'));
ws.close();
tell({ logged: logged.map(([words]) => words), complained });
