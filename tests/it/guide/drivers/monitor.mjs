tell({ stats: await monitorSessions(), logged, intervals });
