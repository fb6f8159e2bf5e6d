// Calls Postern through the channel of the Node example, with the service config that is shipped: one call for each line
// of standard input, one answer for each of standard output.

import { createInterface } from 'node:readline';

import { connect, credential } from '../../examples/node/postern.js';

const postern = connect();

for await (const line of createInterface({ input: process.stdin })) {
  const { method, message, metadata, seconds } = JSON.parse(line);
  const headers = credential();
  for (const [name, value] of Object.entries(metadata)) headers.set(name, value);
  const deadline = Date.now() + seconds * 1000;
  const answer = await new Promise((resolve) => {
    postern[method](message, headers, { deadline }, (error, reply) => resolve({ code: error?.code ?? 0, reply }));
  });
  console.log(JSON.stringify(answer));
}
process.exit();
