const answers = {};
for (const department of Object.keys(departments)) {
  const answer = await routeMessage(department, '6281381393739', `Hello from ${department}!`);
  answers[department] = { status: answer.status, body: await answer.json() };
}
tell(answers);
