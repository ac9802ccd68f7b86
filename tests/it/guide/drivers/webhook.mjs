// The sample has set up its handler; once the test knows the port, a message comes.
tell({ port: await listen() });
await until(() => processed.length);
tell({ processed, logged: logged.map(([words]) => words) });
await wordFromTest();
